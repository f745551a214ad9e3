"""The emulated push services of a run, in a process that is never killed: each request that arrives is noted.

The first line on standard input says where the notes go; a line on standard output has the ports and the credentials.
It ends with its standard input.
"""

import asyncio
import re
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import msgspec

from emulators.apns import ApnsEmulator
from emulators.exchange import PUSH, Answer, Request
from emulators.faults import Action
from emulators.fcm import FcmEmulator

_UID = re.compile(rb'"chaos":\s*"([^"]+)"')


class Arrival(msgspec.Struct, array_like=True):
    """A push that an emulator accepted; `told` is False when a fault kept the answer from the client."""

    at: float
    provider: str
    uid: str
    token: str
    message_id: str
    told: bool


class Side(msgspec.Struct):
    """Control ports by provider, and credentials to write."""

    control: dict[str, str]
    credentials: list[dict[str, Any]]


class _Noting:
    """Notes what an emulator accepts, one line of JSON each."""

    def __init__(self, provider: str, notes: TextIOWrapper) -> None:
        self._provider = provider
        self._notes = notes

    def note(self, request: Request, answer: Answer, untold: str) -> None:
        if request.kind != PUSH or not answer.accepted:
            return
        found = _UID.search(request.body)
        uid = found[1].decode() if found else ""
        arrival = Arrival(request.received_at, self._provider, uid, request.token, request.message_id, not untold)
        self._notes.write(msgspec.json.encode(arrival).decode() + "\n")


class _Apns(ApnsEmulator):
    noting: _Noting

    def answer(self, request: Request, action: Action, untold: str) -> Answer:
        """As ever, and noted."""
        answer = super().answer(request, action, untold)
        self.noting.note(request, answer, untold)
        return answer


class _Fcm(FcmEmulator):
    noting: _Noting

    def answer(self, request: Request, action: Action, untold: str) -> Answer:
        """As ever, and noted."""
        answer = super().answer(request, action, untold)
        self.noting.note(request, answer, untold)
        return answer


def read_arrivals(path: Path) -> list[Arrival]:
    """What was noted so far."""
    with path.open("rb") as notes:
        return [msgspec.json.decode(line, type=Arrival) for line in notes]


async def _serve(path: Path) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, ended.set)
    with path.open("w", buffering=1) as notes:
        apns, fcm = _Apns(), _Fcm()
        apns.noting, fcm.noting = _Noting("apns", notes), _Noting("fcm", notes)
        async with apns, fcm:
            sys.stdout.buffer.write(msgspec.json.encode(_side(apns, fcm)) + b"\n")
            sys.stdout.flush()
            await ended.wait()
    loop.remove_reader(sys.stdin)


def _side(apns: ApnsEmulator, fcm: FcmEmulator) -> Side:
    key = apns.signing_key()
    own = {"key": key.p8_pem, "key_id": key.key_id, "team_id": key.team_id, "bundle_id": key.bundle_id}
    return Side(
        control={"apns": apns.control_url, "fcm": fcm.control_url},
        credentials=[
            {"provider_id": "chaos-apns", "provider": "apns", "endpoint": apns.url, "tls_ca": apns.authority.ca_pem}
            | own,
            {"provider_id": "chaos-fcm", "provider": "fcm", "endpoint": fcm.url, "tls_ca": fcm.authority.ca_pem}
            | {"service_account": fcm.service_account()},
        ],
    )


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.stdin.buffer.readline().decode().strip())))
