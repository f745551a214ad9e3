"""The frames that serve no single answer: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM; and streams that fail."""

import logging
from typing import Protocol

from . import frames
from .answers import Answers
from .errors import Failure, FailureKind, ProtocolViolation
from .group import Link
from .options import PoolOptions
from .reports import report_failure
from .sender import Sender
from .stats import PoolStats, goaway_reason
from .streams import Run, Streams

logger = logging.getLogger(__name__)

_UNKNOWN_LIMIT = 100
"""Streams we assume a peer allows that has sent SETTINGS without a limit."""
_NOISE_LIMIT = 10_000
_REPLY_NOISE = 10
"""A frame that makes us answer weighs ten times one that we ignore."""


class Owner(Link, Protocol):
    """The connection, as its control half sees it."""

    def greeted(self) -> None:
        """The peer's first SETTINGS are in."""

    def refused(self, run: Run, index: int) -> None:
        """The peer has certainly not processed this request."""


class Control:
    """State that the peer sets on a connection, and the end of streams that get no answer.

    `warming` holds a fresh APNs connection to one stream until its first answer or until SETTINGS raises the limit;
    `held` pauses after REFUSED_STREAM until an answer or the next tick; `starved` says that the send window is short;
    `failed` counts streams that ended without an answer.
    """

    __slots__ = (
        "_answers", "_calm_id", "_greeted", "_noise", "_owner", "_sender", "_stats", "_streams",
        "failed", "goaway", "held", "peer_limit", "starved", "warming",
    )  # fmt: skip

    def __init__(
        self,
        streams: Streams,
        sender: Sender,
        answers: Answers,
        owner: Owner,
        options: PoolOptions,
        stats: PoolStats,
    ) -> None:
        self._streams = streams
        self._sender = sender
        self._answers = answers
        self._owner = owner
        self._stats = stats
        self._greeted = False
        self._noise = 0
        self._calm_id = streams.next_id
        self.failed = 0
        self.goaway: str | None = None
        self.held = self.starved = False
        self.peer_limit = _UNKNOWN_LIMIT
        self.warming = options.one_stream_first

    def on_settings(self, settings: list[tuple[int, int]]) -> None:
        """Take on the peer's settings, and acknowledge them."""
        self.on_noise(_REPLY_NOISE)
        for name, value in settings:
            self._set(name, value)
        if not self._greeted:
            self._greeted = True
            self._owner.greeted()
        self._sender.out.append(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))

    def _set(self, name: int, value: int) -> None:
        if name == frames.MAX_CONCURRENT_STREAMS:
            self.peer_limit = value
            self.warming = self.warming and not (self._greeted and value > 1)
        elif name == frames.INITIAL_WINDOW_SIZE:
            self._sender.resize_stream_windows(value)
            self.starved = False
        elif name == frames.HEADER_TABLE_SIZE:
            self._sender.encoder.resize(value)
        elif name == frames.MAX_FRAME_SIZE and not frames.FRAME_LIMIT <= value < 1 << 24:
            raise ProtocolViolation(frames.PROTOCOL_ERROR, "maximum frame size out of range")
        elif name == frames.ENABLE_PUSH and value:
            raise ProtocolViolation(frames.PROTOCOL_ERROR, "a server cannot enable push")

    def on_settings_ack(self) -> None:
        """Our settings hold from here on; the receiver has changed over already."""

    def on_ping(self, payload: bytes, ack: bool) -> None:
        """Answer a PING; the answer to ours counts as a sign of life like any other frame."""
        if ack:
            self.on_noise(1)
        else:
            self.on_noise(_REPLY_NOISE)
            self._sender.out.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def on_goaway(self, last_stream: int, code: int, debug: bytes) -> None:
        """Streams above `last_stream` go again elsewhere; the others may still be answered."""
        self.on_noise(_REPLY_NOISE)
        self.goaway = f"{goaway_reason(debug)} (code {code})".strip()
        self._stats.goaways += 1
        self._stats.last_goaway = self.goaway
        logger.warning("http2 goaway", extra={"reason": self.goaway, "last_stream": last_stream})
        self._owner.retire(f"GOAWAY: {self.goaway}")
        for stream in [stream for stream in self._streams.open if stream > last_stream]:
            self._refuse(stream)

    def on_window(self, stream: int, increment: int) -> None:
        """More may be sent."""
        if not increment and stream:
            self.cancel_stream(stream, frames.PROTOCOL_ERROR, "window update of zero")
            return
        self._sender.open_window(stream, increment)
        self.starved = False

    def on_reset(self, stream: int, code: int) -> None:
        """The peer ended a stream; if its answer is complete (early answer) or it timed out, nothing is lost."""
        self.on_noise(0 if stream in self._streams.open else 1)
        if stream not in self._streams.open:
            self._sender.unsent.pop(stream, None)
            return
        self._stats.resets += 1
        if code == frames.REFUSED_STREAM:
            self.held = True
            self._refuse(stream)
        else:
            self._fail(stream, f"stream reset by peer (code {code})")

    def cancel_stream(self, stream: int, code: int, reason: str) -> None:
        """Reset a stream from our side; if it is still open it is reported as failed. Late frames on it are ignored."""
        self._sender.out.append(frames.reset(stream, code))
        if stream in self._streams.open:
            self._fail(stream, reason)

    def on_noise(self, weight: int) -> None:
        """Count frames that serve no request; a flood of them ends the connection.

        Some are usual for each request: servers that answer early reset the stream afterwards.
        """
        self._noise += weight
        if self._noise > _NOISE_LIMIT and self._noise > _NOISE_LIMIT + 2 * (self._streams.next_id - self._calm_id):
            raise ProtocolViolation(frames.ENHANCE_YOUR_CALM, "flood of useless frames")

    def calm(self) -> None:
        """A tick has passed: count noise anew, and try again after refusals."""
        self._noise = 0
        self._calm_id = self._streams.next_id
        self.held = False

    def fail_all(self, reason: str) -> None:
        """The connection ends: report every open stream."""
        for stream in list(self._streams.open):
            self._fail(stream, reason)
        self._sender.unsent.clear()

    def _fail(self, stream: int, reason: str) -> None:
        """A request whose body was never written whole was not processed; of any other nothing is known."""
        kind = FailureKind.NOT_SENT if stream in self._sender.unsent else FailureKind.UNKNOWN
        run = self._forget(stream)
        report_failure(run.group, run.index(stream), Failure(kind, reason))

    def _refuse(self, stream: int) -> None:
        run = self._forget(stream)
        self._owner.refused(run, run.index(stream))

    def _forget(self, stream: int) -> Run:
        self.failed += 1
        self._sender.unsent.pop(stream, None)
        self._answers.forget(stream)
        return self._streams.open.pop(stream)
