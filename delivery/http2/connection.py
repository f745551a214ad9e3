"""One HTTP/2 connection: pulls requests while it has streams and windows, and reports each of them exactly once."""

import asyncio
import logging
from typing import Protocol, cast

from . import frames
from .answers import Answers
from .backlog import Backlog
from .control import Control
from .deadlines import DeadlineWheel
from .errors import ConnectFailed, ProtocolViolation
from .liveness import Liveness
from .options import PoolOptions
from .receiver import Receiver
from .sender import Sender
from .stats import PoolStats
from .streams import Run, Streams

logger = logging.getLogger(__name__)

_WRITE_BUFFER = 262_144
_CONTROL_FRAMES_HELD = 1000
"""Replies held back while the peer does not read; one that makes us hold more is an attacker."""


class Keeper(Protocol):
    """The pool, as its connections see it."""

    backlog: Backlog
    options: PoolOptions
    stats: PoolStats

    def alone(self) -> bool:
        """Whether at most one connection takes requests."""

    def refused(self, run: Run, index: int, connection: "Connection") -> None:
        """The peer has certainly not processed a request of ours: send it again, or report it."""

    def progressed(self, connection: "Connection") -> None:
        """Answers came in or requests went out."""

    def retired(self, connection: "Connection") -> None:
        """The connection takes no more requests."""

    def lost(self, connection: "Connection", reason: str) -> None:
        """The connection has ended, and all its requests are reported."""

    def gone(self, connection: "Connection") -> None:
        """The connection's transport is closed."""


class Connection(asyncio.Protocol):
    """A connection to the origin. `ready` is done when the peer's SETTINGS are in, or fails with ConnectFailed."""

    def __init__(self, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        options = keeper.options
        self._keeper = keeper
        self._loop = loop
        self._options = options
        self._transport: asyncio.Transport | None = None
        self._streams = Streams()
        self._wheel = DeadlineWheel(options.tick_seconds)
        self._sender = Sender(self._streams)
        self._answers = Answers(self._streams, self, options.max_body_bytes)
        self._control = Control(self._streams, self._sender, self._answers, self, options, keeper.stats)
        self._receiver = Receiver(self._streams, self._answers, self._control, options.max_body_bytes)
        self._liveness = Liveness(options)
        self._paused = self._retiring = self._in_feed = False
        self.ready: asyncio.Future[None] = loop.create_future()
        self.answered = self.serving = self.ended = False

    # What the pool asks and tells

    @property
    def in_flight(self) -> int:
        """Requests written and not yet answered."""
        return len(self._streams.open)

    @property
    def disappointing(self) -> bool:
        """Whether it ended without an answer and not because we wanted it to."""
        return not self.answered and (self._control.goaway is not None or not self._retiring)

    @property
    def warming(self) -> bool:
        """Whether a first answer must come before more than one stream is opened."""
        return self._control.warming

    @property
    def limit(self) -> int:
        """Streams this connection may have open: the live limit of the peer, below our own cap."""
        return min(
            self._control.peer_limit, self._options.streams_per_connection, 1 if self.warming else frames.LAST_STREAM
        )

    def room(self) -> int:
        """Streams that could be opened now, windows aside."""
        if not self.serving or self._paused or self._control.held:
            return 0
        return min(self.limit - len(self._streams.open), self._streams.left())

    def full(self) -> bool:
        """Whether more work would need another connection."""
        return self._control.starved or self.room() <= 0

    def fill(self, share: int | None = None) -> None:
        """Write as many requests as room and windows allow (at most `share`), and whatever else is due, in one go."""
        if self.ended:
            return
        sender, backlog = self._sender, self._keeper.backlog
        if sender.unsent and not self._paused:
            sender.continue_bodies()
        room = self.room() if share is None else min(self.room(), share)
        now = self._loop.time()
        while room > 0 and (piece := backlog.next(self, self._keeper.alone())) is not None:
            ids = sender.send(piece, room)
            if not ids:
                self._control.starved = True
                break
            timeout = piece.group.timeout
            self._wheel.add(ids.start, ids.stop, now + (self._options.request_timeout if timeout is None else timeout))
            self._liveness.sent(now)
            room -= len(ids)
            backlog.written(piece, len(ids))
        self._keeper.stats.streams_peak = max(self._keeper.stats.streams_peak, len(self._streams.open))
        self._flush()
        if self._streams.left() <= 0:
            self.retire("stream ids used up")

    def retire(self, reason: str) -> None:
        """Open no more streams; close when the last answer is in."""
        if self._retiring or self.ended:
            return
        self._retiring = True
        self.serving = False
        logger.info("http2 connection retired", extra={"reason": reason})
        self._keeper.retired(self)
        if not self._in_feed:
            self._loop.call_soon(self._close_if_drained)

    def shut_down(self, reason: str) -> None:
        """Say goodbye and close; open requests are reported."""
        self._retiring = True
        self._end(frames.NO_ERROR, reason)

    def abort(self) -> None:
        """Drop the transport without waiting for the peer."""
        if self._transport is not None:
            self._transport.abort()

    def tick(self, now: float) -> None:
        """Time has passed: overdue requests, silent peers, idle connections."""
        if self.ended:
            return
        self._control.calm()
        for ids in self._wheel.overdue(now):
            for stream in ids:
                if stream in self._streams.open:
                    self._keeper.stats.timeouts += 1
                    self._control.cancel_stream(stream, frames.CANCEL, "no answer in time")
        verdict = self._liveness.check(now, len(self._streams.open))
        if verdict.ping is not None:
            self._sender.out.append(frames.frame(frames.PING, 0, 0, verdict.ping))
        if verdict.dead is not None:
            self._end(frames.NO_ERROR, verdict.dead)
            self.abort()
        elif verdict.idle is not None:
            self.retire(verdict.idle)
        elif self._control.starved and not self._streams.open and self._liveness.silent(now):
            self.retire("no send window")
        self._close_if_drained()
        self.fill()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer. Its first frames may already be in when a tunnel switches to TLS."""
        self._transport = cast(asyncio.Transport, transport)
        if self.ended:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._liveness.opened(self._loop.time())
        self._transport.write(frames.greeting())
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take the peer's frames, then use what they freed."""
        if self.ended:
            return
        self._liveness.heard(self._loop.time())
        gone = len(self._streams.open) + self._control.failed
        self._in_feed = True
        try:
            self._receiver.feed(data)
        except ProtocolViolation as violation:
            self._end(violation.code, violation.reason)
        except Exception:
            logger.exception("http2 connection failed")
            self._end(frames.INTERNAL_ERROR, "internal error")
        finally:
            self._in_feed = False
        if not self.ended:
            self._after_feed(len(self._streams.open) + self._control.failed < gone)

    def _after_feed(self, answered: bool) -> None:
        if answered:
            self.answered = True
            self._control.warming = self._control.held = False
        if self._receiver.received >= frames.RECEIVE_WINDOW // 2:
            self._sender.out.append(frames.window_update(0, self._receiver.received))
            self._receiver.received = 0
        self._close_if_drained()
        self.fill()
        self._keeper.progressed(self)

    def pause_writing(self) -> None:
        """The transport's buffer is full: the peer does not keep up."""
        self._paused = True

    def resume_writing(self) -> None:
        """The transport takes more again."""
        self._paused = False
        self.fill()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        what = type(exc).__name__ if exc is not None else "closed by peer"
        said = f" after GOAWAY {self._control.goaway}" if self._control.goaway is not None else ""
        self._transport = None
        self._end(frames.NO_ERROR, f"connection lost: {what}{said}")
        self._keeper.gone(self)

    # What the control half reports

    def greeted(self) -> None:
        """The peer's first SETTINGS are in: requests may go."""
        self.serving = not self._retiring
        if not self.ready.done():
            self.ready.set_result(None)

    def refused(self, run: Run, index: int) -> None:
        """The peer has certainly not processed this request."""
        self._keeper.refused(run, index, self)

    def _close_if_drained(self) -> None:
        if self._retiring and not self._streams.open:
            self._end(frames.NO_ERROR, "drained")

    def _flush(self) -> None:
        out = self._sender.out
        if not out or self._transport is None:
            return
        if not self._paused:
            self._transport.write(b"".join(out))
            out.clear()
        elif len(out) > _CONTROL_FRAMES_HELD:
            self._end(frames.ENHANCE_YOUR_CALM, "the peer makes us reply and does not read")
            self.abort()

    def _end(self, code: int, reason: str) -> None:
        """The last thing a connection does, once: say why, report what is open, tell the pool."""
        if self.ended:
            return
        self.ended = True
        self.serving = False
        if self._transport is not None:
            self._transport.write(frames.goaway(code))
            self._transport.close()
        self._control.fail_all(reason)
        if not self.ready.done():
            self.ready.set_exception(ConnectFailed(reason))
            self.ready.exception()
        self._keeper.lost(self, reason)
