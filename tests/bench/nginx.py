"""Nginx as a push service of any kind: its configuration, and its log of every request read back."""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from delivery.providers.webpush_vapid import generate_pair
from emulators.fcm import FcmEmulator
from tests.bench.multiplexer import make_certificate
from tests.bench.seeding import DEAD

BUNDLE_ID = "org.example.bench"
APP_ID = "100000001"
HMS_PATH = f"/v1/{APP_ID}/messages:send"
_FLUSH_SECONDS = 20.0
_TOKENS = re.compile(rb'"token":\[([^\]]*)\]')
_CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
  log_format path '$status $uri $msec';
  log_format fcm '$status $fcm_token $msec';
  log_format hms escape=none '$status $request_body $msec';
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
      access_log {folder}/access.log path buffer=1m flush=1s;
      add_header apns-id $http_apns_id always;
      {apns_faults}
      return 200;
    }}
    location /wpush/ {{
      access_log {folder}/access.log path buffer=1m flush=1s;
      add_header location https://$host/m/$connection-$connection_requests; add_header ttl $http_ttl;
      {webpush_faults}
      return 201;
    }}
    # nginx reads a body only for those who use it: the mirror does, and 405 is what a GIF answers to POST
    location /v1/projects/ {{
      access_log {folder}/access.log fcm buffer=1m flush=1s;
      mirror /unused; mirror_request_body on; empty_gif; error_page 405 = @fcm;
    }}
    location /v1/ {{
      access_log {folder}/access.log hms buffer=1m flush=1s;
      client_body_buffer_size 256k;
      mirror /unused; mirror_request_body on; empty_gif; error_page 405 = @hms;
    }}
    location = /unused {{ internal; access_log off; return 204; }}
    location @fcm {{
      access_log {folder}/access.log fcm buffer=1m flush=1s;
      default_type application/json;
      {fcm_faults}
      return 200 '{{"name":"projects/{project}/messages/0:$connection%$connection_requests"}}';
    }}
    location @hms {{
      access_log {folder}/access.log hms buffer=1m flush=1s;
      default_type application/json;
      {hms_faults}
      return 200 '{{"code":"80000000","msg":"Success","requestId":"$connection-$connection_requests"}}';
    }}
    location = /oauth2/v3/token {{
      access_log off; default_type application/json;
      return 200 '{{"access_token":"{access_token}","expires_in":3600,"token_type":"Bearer"}}';
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
_WEBPUSH_FAULTS = """
      if ($overloaded) {{ add_header retry-after 1 always; return 503; }}
      if ($uri ~ "^/wpush/v2/{dead}") {{ return 410 '{{"code":410,"errno":106,"error":"Gone"}}'; }}
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
_HMS_FAULTS = """
      if ($overloaded) {{ add_header retry-after 1 always; return 503; }}
"""


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
        made: dict[str, dict[str, Any]] = {
            "apns": {"key": signing_key(), "key_id": "ABCDE12345", "team_id": "TEAM123456", "bundle_id": BUNDLE_ID},
            "fcm": {"service_account": self._fcm.service_account()},
            "webpush": {"private_key": generate_pair()[1], "subject": "mailto:bench@example.com"},
            "hms": {"app_id": APP_ID, "app_secret": "x" * 64, "token_url": f"{self.url}/oauth2/v3/token"},
        }
        way = {"endpoint": self.url, "tls_ca": ca + self._fcm.authority.ca_pem}
        return [{"provider_id": f"bench-{name}", "provider": name} | made[name] | way | changes for name in providers]

    def mark(self) -> int:
        """The size of the log."""
        return self._log.stat().st_size if self._log.exists() else 0

    async def arrivals(self, since: int, count: int) -> Iterator[tuple[int, bytes, float]]:
        """Read the log once it holds `count` recipients more, or after a while: nginx writes it once a second."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        size = -1
        while time.monotonic() < deadline and (
            size != self.mark() or sum(1 for _ in read_log(self._log, since)) < count
        ):
            size = self.mark()
            await asyncio.sleep(1.1)
        return read_log(self._log, since)

    def requests(self, since: int) -> int:
        """How many requests are in the log after a mark."""
        with self._log.open("rb") as log:
            log.seek(since)
            return sum(part.count(b"\n") for part in iter(lambda: log.read(1 << 20), b""))


def read_log(path: Path, since: int) -> Iterator[tuple[int, bytes, float]]:
    """Status, token and time for each recipient of the requests after this place."""
    with path.open("rb") as log:
        log.seek(since)
        for line in log:
            status, _, rest = line.partition(b" ")
            target, _, at = rest.rpartition(b" ")
            for token in _recipients(target):
                yield int(status), token, float(at)


def _recipients(target: bytes) -> list[bytes]:
    """The tokens in a path, in the body of an HMS request, or the token itself."""
    if not target.startswith(b"{"):
        return [target.rpartition(b"/")[2]]
    found = _TOKENS.search(target)
    return found[1].replace(b'"', b"").split(b",") if found else [b"unreadable"]


def signing_key() -> str:
    """A new APNs signing key, as the text of a .p8 file."""
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*form).decode()


def configure(folder: Path, port: int, project: str, *, streams: int, tls: bool, faults: bool) -> None:
    """Write what nginx needs into the folder; `project` is FCM's."""
    folder.chmod(0o755)
    if tls:
        make_certificate(folder)
    names = {"dead": DEAD, "now": int(time.time() * 1000)}
    wrong = {"apns": _APNS_FAULTS, "webpush": _WEBPUSH_FAULTS, "fcm": _FCM_FAULTS, "hms": _HMS_FAULTS}
    text = _CONFIG.format(
        folder=folder,
        user="user root;" if os.getuid() == 0 else "",
        port=port,
        ssl=f" ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem" if tls else "",
        streams=streams,
        project=project,
        access_token="y" * 200,
        dead_token=DEAD if faults else "none such",
        share="1%" if faults else "0.01%",
        **{f"{name}_faults": each.format(**names) if faults else "" for name, each in wrong.items()},
    )
    (folder / "nginx.conf").write_text(text)
