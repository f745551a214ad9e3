"""The server side of an HTTP/1.1 connection on the `h11` library: for FCM without HTTP/2 and for the control port."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import h11

from emulators.counters import Journal
from emulators.exchange import Answer, Request
from emulators.line import Line


class Http1Connection(Line):
    """One client connection with keep-alive: an `emulators.exchange.Connection`, its requests numbered from 1.

    What HTTP/1.1 cannot say is done the nearest way: a reset drops the connection, a GOAWAY adds `connection: close`.
    """

    def __init__(
        self,
        connection_id: int,
        body_limit: int,
        journal: Journal,
        on_request: "Callable[[Http1Connection, Request], None]",
        on_closed: "Callable[[Http1Connection], None]",
    ) -> None:
        super().__init__()
        self.connection_id = connection_id
        self._body_limit = body_limit
        self._journal = journal
        self._on_request = on_request
        self._on_closed = on_closed
        self._h11 = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._length = 0
        self._number = 0
        self._last = False
        self._advancing = False
        self._timer: asyncio.TimerHandle | None = None

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        self._journal.connection_opened()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._h11.receive_data(data)
        self._advance()

    def eof_received(self) -> None:
        """Let the protocol know that the client is done."""
        self._h11.receive_data(b"")
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what was delayed."""
        if self._timer is not None:
            self._timer.cancel()
        self._journal.connection_closed()
        self._on_closed(self)

    # What a service and a fault do (emulators.exchange.Connection)

    def respond(self, stream_id: int, answer: Answer) -> None:
        """Send the answer; nothing happens when that request is not the current one."""
        if stream_id != self._number or self._h11.our_state is not h11.SEND_RESPONSE:
            return
        headers = [*answer.headers, ("content-length", str(len(answer.body)))]
        if self._last:
            headers.append(("connection", "close"))
        self._write(self._serialized(answer, headers))
        self._next_cycle()

    def respond_later(self, stream_id: int, seconds: float, answer: Answer) -> None:
        """Send the answer after a delay, unless the connection goes away before."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self.respond, stream_id, answer)

    def reset(self, stream_id: int, error_code: int) -> None:
        """Drop the connection: HTTP/1.1 has nothing smaller."""
        self.abort()

    def goaway(self, stream_id: int, last: int | str, error_code: int, debug: bytes) -> bool:
        """Close the connection after the current answer, at once when there is none."""
        self._last = True
        self._journal.tally["goaways_sent"] += 1
        if self._h11.our_state is h11.IDLE:
            self._transport.close()
        return True

    def limit_streams(self, count: int) -> None:
        """Nothing: there is one request at a time."""

    def raise_streams(self, count: int) -> None:
        """Nothing, likewise."""

    def ping(self) -> None:
        """Nothing: HTTP/1.1 has no ping."""

    # The connection's own business

    def _next_cycle(self) -> None:
        """After an answer: close, or take the next request."""
        if self._h11.our_state is h11.MUST_CLOSE:
            self._transport.close()
        elif self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            self._advance()

    def _serialized(self, answer: Answer, headers: list[tuple[str, str]]) -> bytes:
        parts: list[bytes | None] = []
        if answer.informational:
            parts.append(self._h11.send(h11.InformationalResponse(status_code=answer.informational, headers=[])))
        reason = _phrase(answer.status)
        parts.append(self._h11.send(h11.Response(status_code=answer.status, headers=headers, reason=reason)))
        if answer.body:
            parts.append(self._h11.send(h11.Data(data=answer.body)))
        parts.append(self._h11.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    def _advance(self) -> None:
        """Handle complete events; answers given meanwhile call this again, which the running loop takes over."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while not self._deaf and self._step():
                pass
        except h11.RemoteProtocolError as error:
            self._journal.protocol_error(f"{type(error).__name__}: {error}")
            self._transport.close()
        finally:
            self._advancing = False

    def _step(self) -> bool:
        """Handle one event; false when there is none for now."""
        event = self._h11.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return False
        if isinstance(event, h11.Request):
            self._begin(event)
        elif isinstance(event, h11.Data):
            self._length += len(event.data)
            self._body += event.data[: max(0, self._body_limit - len(self._body))]
        elif isinstance(event, h11.EndOfMessage):
            self._on_request(self, self._request())
        elif isinstance(event, h11.ConnectionClosed):
            self._transport.close()
            return False
        return True

    def _begin(self, head: h11.Request) -> None:
        self._head, self._length, self._body = head, 0, bytearray()
        self._number += 1
        if self._h11.they_are_waiting_for_100_continue:
            go_ahead = self._h11.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._write(go_ahead or b"")

    def _request(self) -> Request:
        head = cast(h11.Request, self._head)
        names = [name.decode("latin-1") for name, _ in head.headers]
        return Request(
            connection_id=self.connection_id,
            stream_id=self._number,
            http_version="1.1",
            method=head.method.decode("latin-1"),
            path=head.target.decode("latin-1"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
            repeated=frozenset(name for name in names if names.count(name) > 1),
            body=bytes(self._body),
            body_length=self._length,
            received_at=time.time(),
        )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
