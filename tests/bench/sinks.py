"""What stands for the push services: nginx, or the emulators where a handful of pushes must do without it.

A sink with faults answers one device in a hundred (by its token) as unregistered, and one request in a hundred with
503 and `Retry-After: 1`. Both kinds note every request, so that each device can be looked for afterwards.
"""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from tests.bench import multiplexer
from tests.bench.report import MissingProgramError
from tests.bench.seeding import DEAD

PACKAGES: Mapping[str, str] = {"nginx": "nginx", "h2load": "nghttp2-client"}
BUNDLE_ID = "org.example.bench"
_FLUSH_SECONDS = 20.0
_NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
  log_format apns '$status $uri $msec';
  log_format fcm '$status $fcm_token $msec';
  map $request_body $fcm_token {{ default "-"; "~\\"token\\":\\"([^\\"]+)\\"" $1; }}
  map $request_body $dead {{ default ""; "~\\"token\\":\\"{dead_token}" 1; }}
  split_clients "$connection $connection_requests" $overloaded {{ {share} 1; * ""; }}
  keepalive_requests 1000000000; keepalive_timeout 1h; http2_max_concurrent_streams {streams};
  client_body_buffer_size 16k; client_body_in_single_buffer on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} http2{ssl};
    location /3/device/ {{
      access_log {folder}/access.log apns buffer=1m flush=1s;
      add_header apns-id $http_apns_id always;
      {apns_faults}
      return 200;
    }}
    location /v1/ {{
      # nginx reads a body only for those who use it: the mirror does, and 405 is what a GIF answers to POST
      access_log {folder}/access.log fcm buffer=1m flush=1s;
      mirror /unused; mirror_request_body on; empty_gif; error_page 405 = @fcm;
    }}
    location = /unused {{ internal; access_log off; return 204; }}
    location @fcm {{
      access_log {folder}/access.log fcm buffer=1m flush=1s;
      default_type application/json;
      {fcm_faults}
      return 200 '{{"name":"projects/{project}/messages/0:$connection%$connection_requests"}}';
    }}
  }}
}}
"""
_APNS_FAULTS = """
      if ($overloaded) {{
        add_header apns-id $http_apns_id always; add_header retry-after 1 always;
        return 503 '{{"reason":"ServiceUnavailable"}}';
      }}
      if ($uri ~ "^/3/device/{dead}") {{
        add_header apns-id $http_apns_id always;
        return 410 '{{"reason":"Unregistered","timestamp":{now}}}';
      }}
"""
_FCM_FAULTS = """
      if ($overloaded) {{
        add_header retry-after 1 always;
        return 503 '{{"error":{{"code":503,"message":"busy","status":"UNAVAILABLE"}}}}';
      }}
      if ($dead) {{
        return 404 '{{"error":{{"code":404,"message":"gone","status":"NOT_FOUND","details":[{{
          "@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}}]}}}}';
      }}
"""


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
        """Status, token and time of each request after a mark; waits a little until there are `count`."""


class NginxSink:
    """Nginx on loopback, one process, with a log of every request; the emulator gives FCM's access tokens."""

    def __init__(self, folder: Path, port: int, fcm: FcmEmulator, *, tls: bool, faults: bool) -> None:
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        self.ca_file = folder / "cert.pem" if tls else None
        self.pids: list[int] = []
        self.faults = faults
        self._fcm = fcm
        self._log = folder / "access.log"

    def credentials(self, providers: list[str], **changes: Any) -> list[dict[str, Any]]:
        """Fields of `provider_put` for these providers."""
        ca = self.ca_file.read_text() if self.ca_file else ""
        apns = {
            "provider_id": "bench-apns",
            "provider": "apns",
            "key": signing_key(),
            "key_id": "ABCDE12345",
            "team_id": "TEAM123456",
            "bundle_id": BUNDLE_ID,
        }
        fcm = {"provider_id": "bench-fcm", "provider": "fcm", "service_account": self._fcm.service_account()}
        made: dict[str, dict[str, Any]] = {"apns": apns, "fcm": fcm}
        way = {"endpoint": self.url, "tls_ca": ca + self._fcm.authority.ca_pem}
        return [made[name] | way | changes for name in providers]

    def mark(self) -> int:
        """The size of the log."""
        return self._log.stat().st_size if self._log.exists() else 0

    async def arrivals(self, since: int, count: int) -> Iterator[tuple[int, bytes, float]]:
        """Read the log once it holds `count` lines more, or after a while: nginx writes it once a second."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        size = -1
        while time.monotonic() < deadline and (self._lines(since) < count or size != self.mark()):
            size = self.mark()
            await asyncio.sleep(1.1)
        return self._read(since)

    def _lines(self, since: int) -> int:
        with self._log.open("rb") as log:
            log.seek(since)
            return sum(part.count(b"\n") for part in iter(lambda: log.read(1 << 20), b""))

    def _read(self, since: int) -> Iterator[tuple[int, bytes, float]]:
        with self._log.open("rb") as log:
            log.seek(since)
            for line in log:
                status, target, at = line.split()
                yield int(status), target.rpartition(b"/")[2], float(at)


class EmulatorSink:
    """Our emulators in this process: slow, for tests of the benchmark itself."""

    def __init__(self, apns: ApnsEmulator, fcm: FcmEmulator) -> None:
        self.url = apns.url
        self.ca_file: Path | None = None
        self.pids = [os.getpid()]
        self.faults = False
        self._apns, self._fcm = apns, fcm

    def credentials(self, providers: list[str], **changes: Any) -> list[dict[str, Any]]:
        """Fields of `provider_put` for these providers."""
        key = self._apns.signing_key()
        names = {"key": key.p8_pem, "key_id": key.key_id, "team_id": key.team_id, "bundle_id": key.bundle_id}
        apns = names | {"provider_id": "bench-apns", "provider": "apns", "endpoint": self._apns.url}
        fcm = {"provider_id": "bench-fcm", "provider": "fcm", "service_account": self._fcm.service_account()}
        made: dict[str, dict[str, Any]] = {
            "apns": apns | {"tls_ca": self._apns.authority.ca_pem},
            "fcm": fcm | {"endpoint": self._fcm.url, "tls_ca": self._fcm.authority.ca_pem},
        }
        return [made[name] | changes for name in providers]

    def mark(self) -> int:
        """How many requests came so far."""
        return len(self._noted())

    async def arrivals(self, since: int, count: int) -> Iterator[tuple[int, bytes, float]]:
        """What came since."""
        return iter(self._noted()[since:])

    def _noted(self) -> list[tuple[int, bytes, float]]:
        found = [each for sink in (self._apns, self._fcm) for each in sink.requests(limit=10_000) if each.token]
        found.sort(key=lambda each: each.received_at)
        return [(each.status, each.token.encode(), each.received_at) for each in found]


def signing_key() -> str:
    """A new APNs signing key, as the text of a .p8 file."""
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*form).decode()


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
            yield EmulatorSink(await stack.enter_async_context(ApnsEmulator(data_dir=folder)), fcm)
            return
        port = _free_port()
        _configure(folder, port, fcm.service_account()["project_id"], streams=streams, tls=tls, faults=faults)
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


def _configure(folder: Path, port: int, project: str, *, streams: int, tls: bool, faults: bool) -> None:
    folder.chmod(0o755)
    if tls:
        multiplexer.make_certificate(folder)
    names = {"dead": DEAD, "now": int(time.time() * 1000)}
    text = _NGINX.format(
        folder=folder,
        user="user root;" if os.getuid() == 0 else "",
        port=port,
        ssl=f" ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem" if tls else "",
        streams=streams,
        project=project,
        dead_token=DEAD if faults else "none such",
        share="1%" if faults else "0.01%",
        apns_faults=_APNS_FAULTS.format(**names) if faults else "",
        fcm_faults=_FCM_FAULTS.format(**names) if faults else "",
    )
    (folder / "nginx.conf").write_text(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
