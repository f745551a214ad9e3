"""A connection of the HTTP door: serves what is read, in order, and bounds how long a client may take for anything.

Uvicorn's own protocol waits for ever for the rest of a request, takes headers of any size, keeps every request of a
pipeline, and loses the body of a request that offers an upgrade (as java.net.http does by default).
"""

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING

from server.exchange import CLOSE, Exchange, refusal
from server.request_reader import BETWEEN, BODY, NEVER, RequestReader

if TYPE_CHECKING:
    from server.door import Door

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SKIPPED_BYTES = 64 << 10  # of a body nobody wants: read for the sake of the connection
_FEW_UNSENT_BYTES = 64 << 10
_MOST_PIPELINED = 100


class Connection(RequestReader):
    """One connection.

    Requests are answered one at a time in their order. Of a request that is malformed nothing is done; those before
    it in a pipeline are answered first.
    """

    __slots__ = (
        "_admitted",
        "_closing",
        "_eof",
        "_last_word",
        "_paused",
        "_serving",
        "_transport",
        "_waiting",
        "_write_paused",
    )

    def __init__(self, door: "Door") -> None:
        super().__init__(door)
        self._transport: asyncio.Transport
        self._serving: Exchange | None = None  # its application runs
        self._waiting: deque[Exchange] | None = None  # those after it in the pipeline
        self._last_word = b""  # the answer to a malformed request, after those before it
        self._paused = self._write_paused = self._closing = self._eof = self._admitted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request, but not for long; turn the client away when there are too many."""
        self._transport = transport  # type: ignore[assignment]  # of a TCP server
        peer = transport.get_extra_info("peername")
        self._client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self.due = self._door.now() + self._door.rules.header_seconds
        self._admitted = self._door.admit(self)
        if not self._admitted and not transport.is_closing():
            self._transport.write(refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections", b"retry-after: 1"))
            self._linger()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the applications that wait for a body; what waits in the pipeline is dropped."""
        self._door.forget(self, admitted=self._admitted)
        for exchange in (self._serving, self._reading):
            if exchange is not None:
                exchange.leave()
        self._parser = self._reading = self._serving = self._waiting = None

    def eof_received(self) -> bool:
        """Answer what is complete although the client sends no more; nothing is done of what is not."""
        self._eof = True
        if self._closing or (self._parser is None and self._serving is None):
            return False
        if self._phase == BODY:
            self._refuse(HTTPStatus.BAD_REQUEST, "the body ended early")
        self._ended, self._parser = True, None
        return self._serving is not None or self._closing

    def _full(self) -> bool:
        return self._waiting is not None and len(self._waiting) >= _MOST_PIPELINED

    def _idle(self) -> bool:
        return self._serving is None and not self._waiting

    def _arrive(self, exchange: Exchange) -> None:
        if self._idle() and not self._write_paused:
            self._serve(exchange)
        else:
            self._waiting = self._waiting or deque()
            self._waiting.append(exchange)
            self._pause()

    def _serve(self, exchange: Exchange) -> None:
        self._serving = exchange
        self._door.serve(exchange)

    def want_body(self, exchange: Exchange) -> None:
        """Read on for the application, and say so to a client that waits for the word."""
        if exchange.expects_continue and not exchange.complete and not exchange.gone:
            exchange.expects_continue = False
            self._transport.write(_CONTINUE)
        self._resume()

    def answer(self, exchange: Exchange, head: list[bytes], body: bytes, *, close: bool) -> None:
        """Write the answer; close when it is the last one, or when too much of the request is still to come."""
        skipped = not exchange.complete
        close = close or not exchange.keep_alive or (skipped and not self._skips(exchange))
        if close:
            head.append(CLOSE)
        self._transport.write(b"".join([head[0], self._door.date(), *head[1:], b"\r\n", body]))
        self._serving = None
        if not close:
            self._next()
        elif skipped:
            self._linger()
        else:
            self._close()

    def _skips(self, exchange: Exchange) -> bool:
        """Whether the rest of the body is short and sure to come: then it is read, and the connection kept."""
        if exchange.expects_continue:
            return False
        length = next((value for name, value in exchange.scope["headers"] if name == b"content-length"), b"")
        return length.isdigit() and int(length) <= _SKIPPED_BYTES

    def _next(self) -> None:
        """Serve what is next in line, or say the last word, or wait for a request."""
        if self._serving is not None or self._write_paused or self._closing:
            return
        if self._waiting:
            exchange = self._waiting.popleft()
            self._serve(exchange)
        elif self._last_word:
            self._transport.write(self._last_word)
            self._linger()
        elif self._ended:
            self._close()
        elif self._phase == BETWEEN:
            self.due = self._door.now() + self._door.rules.idle_seconds
        if not self._waiting:
            self._resume()

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Read no further; of the request that is being read nothing is done."""
        self._parser, self._ended, self._phase, self.due = None, True, BETWEEN, NEVER
        exchange, self._reading = self._reading, None
        if exchange is not None:
            exchange.leave()
            if exchange.answered:
                self._close()
                return
            if exchange is self._serving:
                self._serving = None
            elif self._waiting:
                self._waiting.remove(exchange)
        self._last_word = refusal(status, text)
        self._pause()
        self._next()

    def expire(self) -> None:
        """End what took too long: a request that does not arrive, an answer that is not read, idleness."""
        if self._closing or self._write_paused:
            self._transport.abort()
        elif self._paused:
            self.due = self._door.now() + self._door.rules.body_seconds  # it is not the client who keeps us waiting
        elif self._phase == BODY:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the body took too long")
        elif self._serving is None:
            self._close()
        else:
            self._parser, self._ended, self.due = None, True, NEVER

    def shutdown(self) -> None:
        """Finish the request that is being answered and take no other."""
        if self._closing:
            self._transport.abort()
        elif self._serving is None:
            self._close()
        else:
            self._serving.keep_alive = False

    def pause_writing(self) -> None:
        """Wait for the client to read, no longer than the least rate takes."""
        rules = self._door.rules
        self._write_paused = True
        unsent = self._transport.get_write_buffer_size()
        self.due = self._door.now() + rules.write_seconds + unsent / rules.bytes_per_second
        self._pause()

    def resume_writing(self) -> None:
        """Go on: whatever was to be read has its time anew."""
        self._write_paused = False
        if self._closing:
            return
        rules = self._door.rules
        self.due = self._door.now() + (rules.header_seconds, rules.header_seconds, rules.body_seconds)[self._phase]
        if self._serving is not None and self._phase == BETWEEN:
            self.due = NEVER
        self._next()

    def _pause(self) -> None:
        if not self._paused and not self._closing:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _close(self) -> None:
        """Close when everything is written, and that must not take long."""
        self._end()
        self._transport.close()

    def _linger(self) -> None:
        """Close for writing and read on for a moment: a reset would take the answer away from a client that sends."""
        self._parser = None
        self._end()
        if self._eof or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._resume()

    def _end(self) -> None:
        rules = self._door.rules
        unsent = self._transport.get_write_buffer_size()
        slow = rules.write_seconds + unsent / rules.bytes_per_second if unsent > _FEW_UNSENT_BYTES else 0
        self._closing, self.due = True, self._door.now() + rules.linger_seconds + slow

    def _spill(self, size: int) -> None:
        self._spilled += size
        if self._spilled > self._door.rules.linger_bytes:
            self._transport.abort()
