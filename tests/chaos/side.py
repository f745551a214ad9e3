"""The emulated push services of a run, in a process that is never killed: each request that arrives is noted.

The first line on standard input says where the notes go; a line on standard output has the ports and the credentials.
It ends with its standard input.
"""

import asyncio
import re
import sys
import time
from contextlib import AsyncExitStack
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import msgspec

from emulators.apns import BUNDLE_ID, ApnsEmulator
from emulators.authority import Authority
from emulators.emulator import Emulator
from emulators.exchange import PUSH, Answer, Request
from emulators.faults import Action
from emulators.fcm import PROJECT_ID, FcmEmulator
from emulators.hms import APP_ID, HmsEmulator
from emulators.webpush import WebpushEmulator
from emulators.webpush_vapid import new_pem, pair_of
from tests.chaos.population import SANDBOX

_UID = re.compile(rb'\\?"chaos\\?":\s*\\?"([^"\\]+)')
_WHO = re.compile(rb'\\?"who\\?":\s*\\?"([^"\\]+)')  # data of HMS is JSON in a text
_ARRIVALS_MOST = 1_000_000
_HOMES = [
    {"token_prefix": SANDBOX, "environment": "sandbox", "topics": [BUNDLE_ID]},
    {"token_prefix": "", "environment": "production", "topics": [BUNDLE_ID]},
]
_PULSE_SECONDS = 0.05
_OTHER_PROJECT = "another-project"
_OTHER_APP = "200000002"


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
    """Control ports and credentials to write, by push service; and wrong ones: of another app, project or key.

    `origins` are those of the Web Push services, where subscriptions are for this VAPID key.
    """

    control: dict[str, str]
    credentials: dict[str, dict[str, Any]]
    wrong_credentials: dict[str, dict[str, Any]]
    origins: str = ""
    vapid_key: str = ""


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
        for token in request.recipients or (request.token,):
            if token in answer.refused:
                continue
            names = (self._provider, uid, token, request.message_id)
            arrival = Arrival(request.received_at, *names, told=not untold, who=who, lag=lag)
            self._notes.write(msgspec.json.encode(arrival).decode() + "\n")


class _Noted(Emulator):
    noting: _Noting

    def answer(self, request: Request, action: Action, untold: str) -> Answer:
        """As ever, and noted."""
        answer = super().answer(request, action, untold)
        self.noting.note(request, answer, untold)
        return answer


class _Apns(_Noted, ApnsEmulator):
    pass


class _Fcm(_Noted, FcmEmulator):
    pass


class _Webpush(_Noted, WebpushEmulator):
    pass


class _Hms(_Noted, HmsEmulator):
    pass


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
        pulse = _Pulse()
        services = _services()
        for service in services.values():
            service.noting = _Noting(_PROVIDERS[type(service)], notes, pulse)
        beating = asyncio.create_task(pulse.beat(), name="pulse")
        async with AsyncExitStack() as stack:
            for service in services.values():
                await stack.enter_async_context(service)
            sys.stdout.buffer.write(msgspec.json.encode(_side(services)) + b"\n")
            sys.stdout.flush()
            await ended.wait()
        beating.cancel()
    loop.remove_reader(sys.stdin)


_PROVIDERS: dict[type[Emulator], str] = {_Apns: "apns", _Fcm: "fcm", _Webpush: "webpush", _Hms: "hms"}


def _services() -> dict[str, _Noted]:
    most, authority = _ARRIVALS_MOST, Authority.create()
    services: dict[str, _Noted] = {
        "apns": _Apns(arrivals_limit=most),
        "apns-sandbox": _Apns(environment="sandbox", arrivals_limit=most),
        "fcm": _Fcm(projects=(PROJECT_ID, _OTHER_PROJECT), arrivals_limit=most),
        "webpush": _Webpush(arrivals_limit=most, authority=authority),
        "webpush-chrome": _Webpush(service="fcm", arrivals_limit=most, authority=authority),
        "hms": _Hms(app_ids=(APP_ID, _OTHER_APP), arrivals_limit=most),
    }
    for name in ("apns", "apns-sandbox"):
        services[name].set_registry(_HOMES)
    services["fcm"].set_registry([{"token_prefix": "", "projects": [PROJECT_ID]}])
    services["hms"].set_registry([{"token_prefix": "", "app_ids": [APP_ID]}])
    return services


def _side(services: dict[str, _Noted]) -> Side:
    side = Side({name: service.control_url for name, service in services.items()}, {}, {})
    for name, service in services.items():  # the first of a provider is its default
        side.credentials[name], side.wrong_credentials[name] = _credentials(name, service)
    browsers = services["webpush"]
    if isinstance(browsers, WebpushEmulator):
        pair = browsers.vapid_pair()
        own = {"private_key": pair.private_key, "subject": pair.subject}
        side.credentials["webpush"] |= own
        side.credentials["webpush-chrome"] = side.credentials["webpush"]  # one key for browsers, whoever made them
        side.vapid_key = pair.public_key
    side.origins = " ".join(services[name].url.removeprefix("https://") for name in ("webpush", "webpush-chrome"))
    return side


def _credentials(name: str, service: Emulator) -> tuple[dict[str, Any], dict[str, Any]]:
    """A credential for this service, and one of another app, project or key."""
    named: dict[str, Any] = {"provider_id": f"chaos-{name}", "provider": _PROVIDERS[type(service)]}
    if isinstance(service, ApnsEmulator):
        right = _apns(f"chaos-{name}", service)
        return right, right | {"bundle_id": "com.example.other"}
    if isinstance(service, FcmEmulator):
        project = named | _place(service)
        wrong = project | {"service_account": service.service_account(_OTHER_PROJECT)}
        return project | {"service_account": service.service_account()}, wrong
    if isinstance(service, HmsEmulator):
        app = named | _place(service) | {"token_url": service.token_url}
        wrong = app | {"app_id": _OTHER_APP, "app_secret": service.app_secret(_OTHER_APP)}
        return app | {"app_id": APP_ID, "app_secret": service.app_secret()}, wrong
    named |= {"provider_id": "chaos-webpush", "tls_ca": service.authority.ca_pem}
    pair = pair_of(new_pem())
    return named, named | {"private_key": pair.private_key, "subject": pair.subject}


def _apns(provider_id: str, service: ApnsEmulator) -> dict[str, Any]:
    key = service.signing_key()
    own = {"key": key.p8_pem, "key_id": key.key_id, "team_id": key.team_id, "bundle_id": key.bundle_id}
    named = {"provider_id": provider_id, "provider": "apns", "environment": service.environment}
    return {**named, **_place(service), **own}


def _place(service: Emulator) -> dict[str, str]:
    return {"endpoint": service.url, "tls_ca": service.authority.ca_pem}


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.stdin.buffer.readline().decode().strip())))
