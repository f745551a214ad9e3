"""Takes frames apart: common answers in one tight loop, everything else by kind (RFC 9113, sections 4 and 6)."""

from collections.abc import Callable
from typing import Protocol

from . import frames
from .answers import Answers
from .errors import ProtocolViolation
from .fields import MalformedAnswer
from .reports import log_bug
from .streams import Streams

_LARGEST = frames.FRAME_LIMIT << 8 | 0xFF
_WHOLE_HEAD = frames.END_STREAM | frames.END_HEADERS
_RESET = 4 << 8 | frames.RST_STREAM
_STATUS_200 = 0x88
"""The first byte of a header block that begins with `:status 200` out of the static table."""
_SIZES = {frames.PRIORITY: 5, frames.RST_STREAM: 4, frames.PING: 8, frames.WINDOW_UPDATE: 4}
_NO_STREAM = dict.fromkeys((frames.SETTINGS, frames.PING, frames.GOAWAY), True) | dict.fromkeys(
    (frames.DATA, frames.HEADERS, frames.PRIORITY, frames.RST_STREAM, frames.CONTINUATION), False
)
"""Whether a frame kind belongs to the connection (True) or to a stream (False); others may be either."""


class Events(Protocol):
    """What the connection does about frames that are not answers."""

    def on_settings(self, settings: list[tuple[int, int]]) -> None:
        """New settings of the peer."""

    def on_settings_ack(self) -> None:
        """The peer has taken on our settings."""

    def on_ping(self, payload: bytes, ack: bool) -> None:
        """PING, or the answer to ours."""

    def on_goaway(self, last_stream: int, code: int, debug: bytes) -> None:
        """No new streams; those above `last_stream` were not processed."""

    def on_window(self, stream: int, increment: int) -> None:
        """WINDOW_UPDATE."""

    def on_reset(self, stream: int, code: int) -> None:
        """The peer ended a stream."""

    def cancel_stream(self, stream: int, code: int, reason: str) -> None:
        """End a stream from our side; if it has no answer yet it gets none."""

    def on_noise(self, weight: int) -> None:
        """A frame that serves no request; many of them are an attack."""


class Receiver:
    """The receiving half of a connection. `received` counts DATA bytes that the peer has not got back as window."""

    __slots__ = ("_answers", "_block", "_buffer", "_events", "_fast", "_fast_size", "_greeted", "_streams", "received")

    def __init__(self, streams: Streams, answers: Answers, events: Events, max_body_bytes: int) -> None:
        self._streams = streams
        self._answers = answers
        self._events = events
        self._buffer = b""
        self._block: tuple[int, bool, bytearray] | None = None
        self._fast = False
        self._fast_size = min(frames.FRAME_LIMIT, max_body_bytes) << 8 | 0xFF
        self._greeted = False
        self.received = 0

    def feed(self, data: bytes) -> None:
        """Take in bytes from the peer, however they are cut. Raises ProtocolViolation."""
        if self._buffer:
            data = self._buffer + data
        position, size = 0, len(data)
        while True:
            if self._fast and self._block is None:
                position = self._take_plain_answers(data, position)
            if size - position < 9:
                break
            size_and_kind, flags, stream = frames.unpack_head(data, position)
            if size_and_kind > _LARGEST:
                raise ProtocolViolation(frames.FRAME_SIZE_ERROR, "frame too large, or not HTTP/2")
            end = position + 9 + (size_and_kind >> 8)
            if end > size:
                break
            self._take_frame(size_and_kind & 0xFF, flags, stream & frames.LAST_STREAM, data[position + 9 : end])
            position = end
        self._buffer = data[position:]

    def _take_plain_answers(self, data: bytes, position: int) -> int:
        """Take 200 answers as long as one follows the other, without decoding; return where something else begins."""
        # a head, at most one DATA frame, perhaps an empty one with END_STREAM (FCM does so), RST_STREAM afterwards
        running, begun, unpack = self._streams.open, self._answers.begun, frames.unpack_head
        size, largest, next_id, received, late = len(data), self._fast_size, self._streams.next_id, 0, 0
        while position <= size - 9:
            size_and_kind, flags, stream = unpack(data, position)
            end = position + 9 + (size_and_kind >> 8)
            run = running.get(stream)
            if run is None and size_and_kind == _RESET and end <= size and stream & 1 and stream < next_id:
                late, position = late + 1, end
                continue
            if end > size or run is None or run.on_ok is None or size_and_kind > largest:
                break
            if size_and_kind & 0xFF == 1:
                if size_and_kind == 1 or data[position + 9] != _STATUS_200 or flags & ~1 != 4 or stream in begun:
                    break
                body = b""
            elif size_and_kind & 0xFF == 0 and flags <= 1 and stream in begun:
                body = begun[stream]
                if (body and size_and_kind) or not (size_and_kind or flags):
                    break
                received += size_and_kind >> 8
                body = body or data[position + 9 : end]
            else:
                break
            position = end
            if flags & 1:
                begun.pop(stream, None)
                del running[stream]
                try:
                    run.on_ok((stream >> 1) - run.offset, body)
                except Exception as error:
                    log_bug(run.group, error)
            else:
                begun[stream] = body
        self.received += received
        self._events.on_noise(late)
        return position

    def _take_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if not self._greeted:
            self._greet(kind, flags)
        if (self._block is not None) != (kind == frames.CONTINUATION):
            raise ProtocolViolation(frames.PROTOCOL_ERROR, "header block interrupted, or continued without a beginning")
        if len(payload) != _SIZES.get(kind, len(payload)):
            raise ProtocolViolation(frames.FRAME_SIZE_ERROR, "frame of a wrong size")
        if _NO_STREAM.get(kind, not stream) != (not stream):
            raise ProtocolViolation(frames.PROTOCOL_ERROR, "frame on a wrong stream")
        take = _TAKE.get(kind)
        if take is None:
            self._events.on_noise(1)
        else:
            take(self, flags, stream, payload)

    def _greet(self, kind: int, flags: int) -> None:
        """The first frame of a server is SETTINGS; anything else is another protocol."""
        if kind != frames.SETTINGS or flags & frames.ACK:
            raise ProtocolViolation(frames.PROTOCOL_ERROR, "the peer does not speak HTTP/2")
        self._greeted = True

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._streams.require_known(stream)
        self.received += len(payload)
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        ended = bool(flags & frames.END_STREAM)
        if stream not in self._streams.open or not (payload or ended):
            self._events.on_noise(1)
        try:
            if not self._answers.data(stream, payload, ended):
                self._events.cancel_stream(stream, frames.CANCEL, "answer too large")
        except MalformedAnswer:
            self._events.cancel_stream(stream, frames.PROTOCOL_ERROR, "malformed answer")

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        self._streams.require_known(stream)
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.WITH_PRIORITY:
            payload = payload[5:]
        ended = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._finish_block(stream, payload, ended)
        else:
            self._block = (stream, ended, bytearray(payload))

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ProtocolViolation(frames.PROTOCOL_ERROR, "continuation of another stream")
        _, ended, block = self._block
        block += payload
        self._events.on_noise(1)
        if len(block) > frames.HEADER_LIST_LIMIT:
            raise ProtocolViolation(frames.ENHANCE_YOUR_CALM, "header block too large")
        if flags & frames.END_HEADERS:
            self._block = None
            self._finish_block(stream, bytes(block), ended)

    def _finish_block(self, stream: int, block: bytes, ended: bool) -> None:
        try:
            useful = self._answers.headers(stream, block, ended)
        except MalformedAnswer:
            self._events.cancel_stream(stream, frames.PROTOCOL_ERROR, "malformed answer")
        else:
            self._events.on_noise(0 if useful else 1)

    def _take_reset(self, _flags: int, stream: int, payload: bytes) -> None:
        self._streams.require_known(stream)
        self._events.on_reset(stream, frames.unpack_u32(payload)[0])

    def _take_settings(self, flags: int, _stream: int, payload: bytes) -> None:
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise ProtocolViolation(frames.FRAME_SIZE_ERROR, "settings of a wrong size")
        if not flags & frames.ACK:
            self._events.on_settings(frames.read_settings(payload))
        elif not self._fast:
            self._fast = True
            self._answers.become_stateless()
            self._events.on_settings_ack()

    def _take_ping(self, flags: int, _stream: int, payload: bytes) -> None:
        self._events.on_ping(payload, bool(flags & frames.ACK))

    def _take_goaway(self, _flags: int, _stream: int, payload: bytes) -> None:
        if len(payload) < 8:
            raise ProtocolViolation(frames.FRAME_SIZE_ERROR, "goaway of a wrong size")
        last_stream, code = frames.unpack_u32(payload)[0], frames.unpack_u32(payload, 4)[0]
        self._events.on_goaway(last_stream & frames.LAST_STREAM, code, payload[8:])

    def _take_window_update(self, _flags: int, stream: int, payload: bytes) -> None:
        if stream:
            self._streams.require_known(stream)
        self._events.on_window(stream, frames.unpack_u32(payload)[0] & frames.LAST_STREAM)

    def _take_priority(self, _flags: int, _stream: int, _payload: bytes) -> None:
        self._events.on_noise(1)

    def _take_push_promise(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise ProtocolViolation(frames.PROTOCOL_ERROR, "pushed a stream though we forbid it")


def _unpadded(payload: bytes) -> bytes:
    """The payload of a PADDED frame without its padding."""
    if not payload or payload[0] >= len(payload):
        raise ProtocolViolation(frames.PROTOCOL_ERROR, "padding longer than the frame")
    return payload[1 : len(payload) - payload[0]]


_TAKE: dict[int, Callable[[Receiver, int, int, bytes], None]] = {
    frames.DATA: Receiver._take_data,
    frames.HEADERS: Receiver._take_headers,
    frames.PRIORITY: Receiver._take_priority,
    frames.RST_STREAM: Receiver._take_reset,
    frames.SETTINGS: Receiver._take_settings,
    frames.PUSH_PROMISE: Receiver._take_push_promise,
    frames.PING: Receiver._take_ping,
    frames.GOAWAY: Receiver._take_goaway,
    frames.WINDOW_UPDATE: Receiver._take_window_update,
    frames.CONTINUATION: Receiver._take_continuation,
}
