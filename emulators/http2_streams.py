"""Streams of one HTTP/2 connection: requests on their way in, answers on their way out as windows allow."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import msgspec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

from emulators.exchange import Answer, Request

_SWEEP_EVERY = 64


class Http2Limits(msgspec.Struct, kw_only=True, frozen=True):
    """What a server allows its clients. Times in seconds; None switches a limit off.

    `window_update_delay` holds WINDOW_UPDATE frames back, so that clients that ignore flow control are found out.
    `max_pings` is the number of PINGs without a request between them that is still tolerated.
    """

    initial_streams: int = 100
    initial_window_size: int = 65_535
    window_update_delay: float = 0.0
    idle_timeout: float | None = None
    max_age: float | None = None
    max_pings: int | None = None
    body_limit: int = 65_536


class ServerSide(H2Connection):
    """h2 without its own stream limit, and open after a client's GOAWAY.

    h2 ends the connection when a client opens a stream too many, where APNs refuses the stream; and it counts all
    streams for each new one. So `Http2Connection` enforces the limit, and h2's count only sweeps closed streams out.
    h2 takes GOAWAY for the end of everything, but a client that says goodbye still wants the answers it waits for.
    """

    def __init__(self, limits: Http2Limits) -> None:
        config = H2Configuration(client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False)
        super().__init__(config)
        values = {
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.initial_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: limits.initial_window_size,
            SettingCodes.MAX_HEADER_LIST_SIZE: self.DEFAULT_MAX_HEADER_LIST_SIZE,
        }
        self.local_settings = Settings(client=False, initial_values=values)
        self._opened = 0

    @property
    def open_inbound_streams(self) -> int:
        """Never a reason for h2 to refuse a stream."""
        self._opened += 1
        if self._opened % _SWEEP_EVERY == 0:
            self._open_streams(1)
        return -1

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        state = self.state_machine.state
        received = super()._receive_goaway_frame(frame)
        self.state_machine.state = state
        return received


class Stream:
    """A request on its way in, then its answer on its way out."""

    __slots__ = ("answer", "body", "chunks", "headers", "length", "timer")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.headers = headers
        self.body = bytearray()
        self.length = 0
        self.answer: Answer | None = None
        self.chunks: deque[bytes] = deque()
        self.timer: asyncio.TimerHandle | None = None

    def add(self, data: bytes, body_limit: int) -> None:
        """Take more of the body; what is over the limit is counted and not kept."""
        self.length += len(data)
        if len(self.body) < body_limit:
            self.body += data[: body_limit - len(self.body)]

    def request(self, connection_id: int, stream_id: int) -> Request:
        """The complete request."""
        headers: dict[str, str] = {}
        repeated = set()
        for raw_name, raw_value in self.headers:
            name = raw_name.decode("latin-1")
            if name in headers:
                repeated.add(name)
            headers[name] = raw_value.decode("latin-1")
        return Request(
            connection_id=connection_id,
            stream_id=stream_id,
            http_version="2",
            method=headers.pop(":method", ""),
            path=headers.pop(":path", ""),
            headers=headers,
            repeated=frozenset(repeated),
            body=bytes(self.body),
            body_length=self.length,
            received_at=time.time(),
        )


class Outbox:
    """Writes answers as far as the client's windows allow, and the rest when they open."""

    def __init__(self, h2: H2Connection) -> None:
        self._h2 = h2

    def start(self, stream_id: int, stream: Stream, answer: Answer) -> bool:
        """Write the headers and what fits of the body; true when the answer is out."""
        if answer.informational:
            self._h2.send_headers(stream_id, [(":status", str(answer.informational))])
        stream.answer = answer
        stream.chunks.extend(answer.chunks())
        bare = not stream.chunks and not answer.trailers
        self._h2.send_headers(stream_id, [(":status", str(answer.status)), *answer.headers], end_stream=bare)
        return bare or self.proceed(stream_id, stream)

    def proceed(self, stream_id: int, stream: Stream) -> bool:
        """Write more of a body; true when the answer is out."""
        answer, chunks = stream.answer, stream.chunks
        if answer is None:
            return False
        while chunks:
            size = self._room(stream_id, len(chunks[0]), answer.pad_length)
            if size < 0:
                return False
            chunk = chunks.popleft()
            if size < len(chunk):
                chunks.appendleft(chunk[size:])
            end = not chunks and not answer.trailers
            self._h2.send_data(stream_id, chunk[:size], end_stream=end, pad_length=answer.pad_length or None)
        if answer.trailers:
            self._h2.send_headers(stream_id, [("x-emulated-trailer", "1")], end_stream=True)
        return True

    def _room(self, stream_id: int, wanted: int, pad_length: int) -> int:
        """How many bytes of a chunk can go now; -1 when none can though some should."""
        padding = pad_length + 1 if pad_length else 0
        window = self._h2.local_flow_control_window(stream_id)
        room = min(window, self._h2.max_outbound_frame_size) - padding
        if room < 0 or (room == 0 and wanted > 0):
            # An empty chunk without padding always fits: it takes nothing from the window.
            return 0 if wanted == 0 and padding == 0 else -1
        return min(room, wanted)


class WindowUpdates:
    """Gives the client its window back, at once or late; `flush` is called when something is to be sent late."""

    def __init__(self, h2: H2Connection, delay_seconds: float, flush: Callable[[], None]) -> None:
        self._h2 = h2
        self._delay = delay_seconds
        self._flush = flush
        self._waiting: list[tuple[int, int]] = []
        self._timer: asyncio.TimerHandle | None = None

    def received(self, length: int, stream_id: int) -> None:
        """Take note of that many bytes under flow control."""
        if not length:
            return
        if not self._delay:
            self._h2.acknowledge_received_data(length, stream_id)
            return
        self._waiting.append((length, stream_id))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._acknowledge)

    def stop(self) -> None:
        """Give nothing back any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _acknowledge(self) -> None:
        waiting, self._waiting, self._timer = self._waiting, [], None
        for length, stream_id in waiting:
            self._h2.acknowledge_received_data(length, stream_id)
        self._flush()
