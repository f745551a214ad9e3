"""What stands for the push services: nginx, or the emulators where a handful of pushes must do without it.

A sink with faults answers one device in a hundred (by its token) as unregistered, if it is not HMS's, and one request
in a hundred with 503 and `Retry-After: 1`. Both kinds note every request, so that each device can be looked for
afterwards.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from emulators.apns import ApnsEmulator
from emulators.emulator import Emulator
from emulators.fcm import FcmEmulator
from emulators.hms import HmsEmulator
from emulators.recorded import RecordedRequest
from emulators.webpush import WebpushEmulator
from tests.bench import multiplexer
from tests.bench.nginx import NginxSink, configure
from tests.bench.report import MissingProgramError

PACKAGES: Mapping[str, str] = {"nginx": "nginx", "h2load": "nghttp2-client"}


class Sink(Protocol):
    """What the programs ask of a sink."""

    url: str
    ca_file: Path | None
    pids: list[int]
    faults: bool

    def credentials(self, providers: list[str], **changes: Any) -> list[dict[str, Any]]:
        """Fields of `provider_put` for these providers."""

    def mark(self) -> int:
        """Where its notes end now."""

    async def arrivals(self, since: int, count: int) -> Iterator[tuple[int, bytes, float]]:
        """Status, token and time for each recipient of requests after a mark; waits a little for `count` of them."""

    def requests(self, since: int) -> int:
        """How many requests came after a mark: HMS takes many recipients with one."""


class EmulatorSink:
    """Our emulators in this process: slow, for tests of the benchmark itself."""

    def __init__(self, apns: ApnsEmulator, fcm: FcmEmulator, webpush: WebpushEmulator, hms: HmsEmulator) -> None:
        self.url = apns.url
        self.ca_file: Path | None = None
        self.pids = [os.getpid()]
        self.faults = False
        self._apns, self._fcm, self._webpush, self._hms = apns, fcm, webpush, hms
        self._webpush.set_faults([{"action": {"status": 201}}])  # it never gave out the subscriptions of a seed

    def credentials(self, providers: list[str], **changes: Any) -> list[dict[str, Any]]:
        """Fields of `provider_put` for these providers."""
        key, pair, app = self._apns.signing_key(), self._webpush.vapid_pair(), self._hms
        names = {"key": key.p8_pem, "key_id": key.key_id, "team_id": key.team_id, "bundle_id": key.bundle_id}
        made: dict[str, tuple[Emulator, dict[str, Any]]] = {
            "apns": (self._apns, names),
            "fcm": (self._fcm, {"service_account": self._fcm.service_account()}),
            "webpush": (self._webpush, {"private_key": pair.private_key, "subject": pair.subject}),
            "hms": (app, {"app_id": app.app_id, "app_secret": app.app_secret(), "token_url": app.token_url}),
        }
        found = []
        for name in providers:
            emulator, fields = made[name]
            way = {"endpoint": emulator.url, "tls_ca": emulator.authority.ca_pem}
            found.append({"provider_id": f"bench-{name}", "provider": name} | fields | way | changes)
        return found

    def mark(self) -> int:
        """How many requests came so far."""
        return len(self._noted())

    async def arrivals(self, since: int, count: int) -> Iterator[tuple[int, bytes, float]]:
        """What came since."""
        return (
            (each.status, token.rpartition("/")[2].encode(), each.received_at)
            for each in self._noted()[since:]
            for token in each.tokens or (each.token,)
        )

    def requests(self, since: int) -> int:
        """How many came since."""
        return len(self._noted()) - since

    def _noted(self) -> list[RecordedRequest]:
        sinks = (self._apns, self._fcm, self._webpush, self._hms)
        found = [each for sink in sinks for each in sink.requests(limit=10_000) if each.token]
        return sorted(found, key=lambda each: each.received_at)


def program(name: str) -> str:
    """The path of a program; MissingProgramError when it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingProgramError(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return found


@asynccontextmanager
async def sink_of(
    kind: str, folder: Path, *, streams: int = 100, tls: bool = True, faults: bool = False
) -> AsyncIterator[Sink]:
    """Run a sink of this kind (nginx, emulator)."""
    async with AsyncExitStack() as stack:
        fcm = await stack.enter_async_context(FcmEmulator(data_dir=folder))
        if kind == "emulator":
            apns = await stack.enter_async_context(ApnsEmulator(data_dir=folder))
            webpush = await stack.enter_async_context(WebpushEmulator(data_dir=folder))
            hms = await stack.enter_async_context(HmsEmulator(data_dir=folder))
            yield EmulatorSink(apns, fcm, webpush, hms)
            return
        port = _free_port()
        configure(folder, port, fcm.service_account()["project_id"], streams=streams, tls=tls, faults=faults)
        sink = NginxSink(folder, port, fcm, tls=tls, faults=faults)
        command = [program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            await asyncio.to_thread(multiplexer.wait_for, port)
            sink.pids.append(process.pid)
            yield sink
        finally:
            process.terminate()
            await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
