"""A client at the level of frames, to see exactly what an emulator sends; foreign clients have tests of their own."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import jwt
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hyperframe.frame import Frame, GoAwayFrame

from emulators.apns import ApnsEmulator, SigningKey
from emulators.emulator import Emulator
from emulators.fcm import FcmEmulator
from emulators.hms import HmsEmulator

TOKEN = "ab" * 32
PATIENCE_SECONDS = 10


class Response:
    """One answer as it came in: DATA frames apart."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.frames: list[bytes] = []
        self.ended = False
        self.reset: int | None = None
        self.informational: list[int] = []
        self.trailers: dict[str, str] = {}

    @property
    def body(self) -> bytes:
        return b"".join(self.frames)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        return str(self.json["reason"]) if self.body else ""


class _Listening(H2Connection):
    """h2 hears nothing after GOAWAY, and what comes then is what some tests are about."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[events.Event]]:
        state = self.state_machine.state
        received = super()._receive_goaway_frame(frame)
        self.state_machine.state = state
        return received


class WireClient(asyncio.Protocol):
    """An HTTP/2 client that does only what it is told; it reads, and acknowledges what it read."""

    def __init__(self, authority: str, authorization: str) -> None:
        self.h2 = _Listening(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.authority = authority
        self.authorization = authorization
        self.responses: dict[int, Response] = {}
        self.goaways: list[events.ConnectionTerminated] = []
        self.stream_limits: list[int] = []
        self.pongs = 0
        self.pings = 0
        self.window_updates = 0
        self.lost = False
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()
        self._changed.set()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def ignore_stream_limit(self) -> None:
        """Open as many streams as asked for, whatever the server allows."""
        self.h2.remote_settings.max_concurrent_streams = 1000
        self.h2.remote_settings.acknowledge()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; it is looked at whenever something arrives."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def send(
        self,
        path: str,
        body: bytes = b"{}",
        *,
        method: str = "POST",
        end: bool = True,
        without_authority: bool = False,
        more: Sequence[tuple[str, str]] = (),
        **headers: str | None,
    ) -> int:
        """Send a request, header names with `_` for `-`, None to leave a default out; its stream."""
        authority = None if without_authority else self.authority
        defaults: dict[str, str | None] = {":authority": authority, "authorization": self.authorization}
        chosen = defaults | {name.replace("_", "-"): value for name, value in headers.items()}
        stream_id = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":path", path)]
        fields += [(name, value) for name, value in chosen.items() if value is not None]
        fields += more
        fields.sort(key=lambda field: not field[0].startswith(":"))
        self.responses[stream_id] = Response()
        self.h2.send_headers(stream_id, fields, end_stream=end and not body)
        if body:
            self.h2.send_data(stream_id, body, end_stream=end)
        self.flush()
        return stream_id

    async def answer(self, stream_id: int) -> Response:
        """Wait for the whole answer, a reset, or the end of the connection."""
        response = self.responses[stream_id]
        await self.until(lambda: response.ended or response.reset is not None or self.lost)
        return response

    async def request(self, path: str, body: bytes = b"{}", **headers: Any) -> Response:
        return await self.answer(self.send(path, body, **headers))

    def push(self, token: str = TOKEN, body: bytes = b'{"aps":{}}', **headers: Any) -> int:
        """Send a push as APNs wants it."""
        return self.send(f"/3/device/{token}", body, **{"apns_topic": "com.example.tocsin"} | headers)

    async def pushed(self, token: str = TOKEN, body: bytes = b'{"aps":{}}', **headers: Any) -> Response:
        return await self.answer(self.push(token, body, **headers))

    def _take(self, event: events.Event) -> None:
        match event:
            case events.ResponseReceived(stream_id=stream_id, headers=headers):
                response = self.responses[stream_id]
                response.headers = dict(cast(list[tuple[str, str]], headers))
                response.status = int(response.headers[":status"])
            case events.InformationalResponseReceived(stream_id=stream_id, headers=headers):
                self.responses[stream_id].informational.append(
                    int(dict(cast(list[tuple[str, str]], headers))[":status"])
                )
            case events.TrailersReceived(stream_id=stream_id, headers=headers):
                self.responses[stream_id].trailers = dict(cast(list[tuple[str, str]], headers))
            case events.DataReceived(stream_id=stream_id, data=data, flow_controlled_length=length):
                self.responses[stream_id].frames.append(data)
                self.h2.acknowledge_received_data(length, stream_id)
            case events.StreamEnded(stream_id=stream_id):
                self.responses[stream_id].ended = True
            case events.StreamReset(stream_id=stream_id, error_code=code):
                self.responses[stream_id].reset = int(code)
            case _:
                self._take_connection(event)

    def _take_connection(self, event: events.Event) -> None:
        match event:
            case events.RemoteSettingsChanged(changed_settings=changed):
                if SettingCodes.MAX_CONCURRENT_STREAMS in changed:
                    self.stream_limits.append(changed[SettingCodes.MAX_CONCURRENT_STREAMS].new_value)
            case events.ConnectionTerminated():
                self.goaways.append(event)
            case events.PingAckReceived():
                self.pongs += 1
            case events.PingReceived():
                self.pings += 1
            case events.WindowUpdated():
                self.window_updates += 1
            case _:
                return


def provider_token(key: SigningKey, *, age_seconds: int = 0, **claims: object) -> str:
    """A provider token of that key, `age_seconds` old."""
    payload = {"iss": key.team_id, "iat": int(time.time()) - age_seconds} | claims
    return "bearer " + jwt.encode(payload, key.p8_pem, algorithm="ES256", headers={"kid": key.key_id})


@asynccontextmanager
async def connected(
    emulator: Emulator, authorization: str | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[WireClient]:
    """A client whose connection is open and whose server has sent its SETTINGS."""
    if authorization is None:
        authorization = authorization_for(emulator)
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: WireClient(f"127.0.0.1:{emulator.port}", authorization),
        "127.0.0.1",
        emulator.port,
        ssl=tls or emulator.authority.client_context(),
    )
    try:
        await client.until(lambda: client.stream_limits)
        yield client
    finally:
        client.transport.abort()
        await client.until(lambda: client.lost)


def authorization_for(emulator: Emulator) -> str:
    """What this emulator accepts in the authorization header."""
    if isinstance(emulator, ApnsEmulator):
        return provider_token(emulator.signing_key())
    assert isinstance(emulator, FcmEmulator | HmsEmulator)
    return f"Bearer {emulator.access_token()}"
