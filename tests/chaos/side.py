"""The emulated push services of a run, in a process that is never killed: each request that arrives is noted.

The first line on standard input says where the notes go; a line on standard output has the ports and the credentials.
It ends with its standard input.
"""

import asyncio
import re
import sys
import time
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import msgspec

from emulators.apns import BUNDLE_ID, ApnsEmulator
from emulators.emulator import Emulator
from emulators.exchange import PUSH, Answer, Request
from emulators.faults import Action
from emulators.fcm import PROJECT_ID, FcmEmulator
from tests.chaos.population import SANDBOX

_UID = re.compile(rb'"chaos":\s*"([^"]+)"')
_WHO = re.compile(rb'"who":\s*"([^"]+)"')
_ARRIVALS_MOST = 1_000_000
_HOMES = [
    {"token_prefix": SANDBOX, "environment": "sandbox", "topics": [BUNDLE_ID]},
    {"token_prefix": "", "environment": "production", "topics": [BUNDLE_ID]},
]
_PULSE_SECONDS = 0.05
_OTHER_PROJECT = "another-project"


class Arrival(msgspec.Struct, array_like=True):
    """A push that an emulator accepted; `told` is False when a fault kept the answer from the client.

    `who` is the device that a template says it is for, '' where none does. `lag` is how many seconds the emulators were
    behind when they read it: it may have lain there since.
    """

    at: float
    provider: str
    uid: str
    token: str
    message_id: str
    told: bool
    who: str = ""
    lag: float = 0.0


class Side(msgspec.Struct):
    """Control ports and credentials to write, by push service; and wrong ones: of another app, of another project."""

    control: dict[str, str]
    credentials: dict[str, dict[str, Any]]
    wrong_credentials: dict[str, dict[str, Any]]


class _Pulse:
    """How far behind this process is with everything: by how much a timer is late, or was just before."""

    def __init__(self) -> None:
        self._due = time.monotonic()
        self._late = 0.0

    async def beat(self) -> None:
        """Set the timer, again and again, until cancelled."""
        while True:
            self._due = time.monotonic() + _PULSE_SECONDS
            await asyncio.sleep(_PULSE_SECONDS)
            self._late = time.monotonic() - self._due

    def lag(self) -> float:
        """Seconds; the late beat and the one that is awaited, because what is read now may have waited for both."""
        return max(self._late, 0.0) + max(time.monotonic() - self._due, 0.0)


class _Noting:
    """Notes what an emulator accepts, one line of JSON each."""

    def __init__(self, provider: str, notes: TextIOWrapper, pulse: _Pulse) -> None:
        self._provider = provider
        self._notes = notes
        self._pulse = pulse

    def note(self, request: Request, answer: Answer, untold: str) -> None:
        if request.kind != PUSH or not answer.accepted:
            return
        uid, who = _said(_UID, request.body), _said(_WHO, request.body)
        lag = round(self._pulse.lag(), 3)
        names = (self._provider, uid, request.token, request.message_id)
        arrival = Arrival(request.received_at, *names, told=not untold, who=who, lag=lag)
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


def _said(pattern: re.Pattern[bytes], body: bytes) -> str:
    found = pattern.search(body)
    return found[1].decode() if found else ""


async def _serve(path: Path) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, ended.set)
    with path.open("w", buffering=1) as notes:
        apns = _Apns(arrivals_limit=_ARRIVALS_MOST)
        fcm = _Fcm(projects=(PROJECT_ID, _OTHER_PROJECT), arrivals_limit=_ARRIVALS_MOST)
        fcm.set_registry([{"token_prefix": "", "projects": [PROJECT_ID]}])
        sandbox = _Apns(environment="sandbox", arrivals_limit=_ARRIVALS_MOST)
        pulse = _Pulse()
        apns.noting = sandbox.noting = _Noting("apns", notes, pulse)
        fcm.noting = _Noting("fcm", notes, pulse)
        for service in (apns, sandbox):
            service.set_registry(_HOMES)
        beating = asyncio.create_task(pulse.beat(), name="pulse")
        async with apns, sandbox, fcm:
            sys.stdout.buffer.write(msgspec.json.encode(_side(apns, sandbox, fcm)) + b"\n")
            sys.stdout.flush()
            await ended.wait()
        beating.cancel()
    loop.remove_reader(sys.stdin)


def _side(apns: ApnsEmulator, sandbox: ApnsEmulator, fcm: FcmEmulator) -> Side:
    production = _apns("chaos-apns", apns)
    project = {"provider_id": "chaos-fcm", "provider": "fcm", **_place(fcm), "service_account": fcm.service_account()}
    return Side(
        control={"apns": apns.control_url, "apns-sandbox": sandbox.control_url, "fcm": fcm.control_url},
        credentials={
            "apns": production,  # the first of a provider is its default
            "apns-sandbox": _apns("chaos-apns-sandbox", sandbox),
            "fcm": project,
        },
        wrong_credentials={
            "apns": production | {"bundle_id": "com.example.other"},
            "fcm": project | {"service_account": fcm.service_account(_OTHER_PROJECT)},
        },
    )


def _apns(provider_id: str, service: ApnsEmulator) -> dict[str, Any]:
    key = service.signing_key()
    own = {"key": key.p8_pem, "key_id": key.key_id, "team_id": key.team_id, "bundle_id": key.bundle_id}
    named = {"provider_id": provider_id, "provider": "apns", "environment": service.environment}
    return {**named, **_place(service), **own}


def _place(service: Emulator) -> dict[str, str]:
    return {"endpoint": service.url, "tls_ca": service.authority.ca_pem}


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.stdin.buffer.readline().decode().strip())))
