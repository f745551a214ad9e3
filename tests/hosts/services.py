"""The push services of a run, in a process of their own: every push that arrives is noted, with the host it came from.

The first line on standard input is an `Order`; a line on standard output has the control ports and the credentials. It
ends with its standard input.
"""

import asyncio
import re
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import msgspec

from emulators.apns import ApnsEmulator
from emulators.exchange import PUSH, Answer, Connection, Request
from emulators.faults import Action
from emulators.fcm import FcmEmulator

_UID = re.compile(rb'"run":\s*"([^"]+)"')
_MOST = 1_000_000
STREAMS = 40


class Order(msgspec.Struct):
    """Where to listen, and where the notes go."""

    host: str
    notes: str


class Arrival(msgspec.Struct, array_like=True):
    """A push request as it came; `accepted` as the service had it, `told` whether the answer was sent."""

    at: float
    uid: str
    token: str
    message_id: str
    accepted: bool
    told: bool
    peer: str
    status: int


class Services(msgspec.Struct):
    """What is told of them: control ports and credentials, by provider."""

    control: dict[str, str]
    credentials: dict[str, dict[str, Any]]


class Notes:
    """The file of arrivals, and who is at the other end of each connection."""

    def __init__(self, file: TextIOWrapper) -> None:
        self._file = file
        self._peers: dict[tuple[str, int], str] = {}

    def started(self, provider: str, connection: Connection, transport: asyncio.Transport) -> None:
        """A host has connected."""
        self._peers[provider, connection.connection_id] = transport.get_extra_info("peername")[0]

    def note(self, provider: str, request: Request, answer: Answer, untold: str) -> None:
        """A request was answered, or would have been."""
        if request.kind != PUSH:
            return
        found = _UID.search(request.body)
        arrival = Arrival(
            at=request.received_at,
            uid=found[1].decode() if found else "",
            token=request.token,
            message_id=request.message_id,
            accepted=answer.accepted,
            told=not untold,
            peer=self._peers.get((provider, request.connection_id), ""),
            status=answer.status,
        )
        self._file.write(msgspec.json.encode(arrival).decode() + "\n")


class _Apns(ApnsEmulator):
    notes: Notes

    def connection_started(self, connection: Connection, transport: asyncio.Transport) -> None:
        """As ever, and noted."""
        super().connection_started(connection, transport)
        self.notes.started("apns", connection, transport)

    def answer(self, request: Request, action: Action, untold: str) -> Answer:
        """As ever, and noted."""
        answer = super().answer(request, action, untold)
        self.notes.note("apns", request, answer, untold)
        return answer


class _Fcm(FcmEmulator):
    notes: Notes

    def connection_started(self, connection: Connection, transport: asyncio.Transport) -> None:
        """As ever, and noted."""
        super().connection_started(connection, transport)
        self.notes.started("fcm", connection, transport)

    def answer(self, request: Request, action: Action, untold: str) -> Answer:
        """As ever, and noted."""
        answer = super().answer(request, action, untold)
        self.notes.note("fcm", request, answer, untold)
        return answer


def _credentials(apns: ApnsEmulator, fcm: FcmEmulator) -> dict[str, dict[str, Any]]:
    key = apns.signing_key()
    names = {"key": key.p8_pem, "key_id": key.key_id, "team_id": key.team_id, "bundle_id": key.bundle_id}
    way = {"max_connections": 1}  # a host can then do no more than STREAMS requests at once
    return {
        "apns": {
            "provider_id": "hosts-apns",
            "provider": "apns",
            "endpoint": apns.url,
            "tls_ca": apns.authority.ca_pem,
            **names,
            **way,
        },
        "fcm": {
            "provider_id": "hosts-fcm",
            "provider": "fcm",
            "endpoint": fcm.url,
            "tls_ca": fcm.authority.ca_pem,
            "service_account": fcm.service_account(),
            **way,
        },
    }


def _opened(path: str) -> TextIOWrapper:
    return Path(path).open("w", buffering=1)


async def _serve(order: Order) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, ended.set)
    with _opened(order.notes) as file:
        apns = _Apns(host=order.host, initial_streams=STREAMS, max_streams_after_first=STREAMS, arrivals_limit=_MOST)
        fcm = _Fcm(host=order.host, max_streams=STREAMS, arrivals_limit=_MOST)
        apns.notes = fcm.notes = Notes(file)
        async with apns, fcm:
            control = {"apns": apns.control_url, "fcm": fcm.control_url}
            sys.stdout.buffer.write(msgspec.json.encode(Services(control, _credentials(apns, fcm))) + b"\n")
            sys.stdout.flush()
            await ended.wait()
    loop.remove_reader(sys.stdin)


if __name__ == "__main__":
    asyncio.run(_serve(msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)))
