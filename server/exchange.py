"""One request on a connection and its answer: the ASGI side of the HTTP door."""

import asyncio
import logging
import traceback
from http import HTTPStatus
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

_LOG = logging.getLogger(__name__)
_FAILED = (b"content-type", b"text/plain; charset=utf-8")
_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}
CLOSE = b"connection: close\r\n"
_WITHOUT_BODY = frozenset((204, 304))


class Carrier(Protocol):
    """What an exchange wants of its connection."""

    def want_body(self, exchange: "Exchange") -> None:
        """Read on: the application waits for the body."""

    def answer(self, exchange: "Exchange", head: list[bytes], body: bytes, *, close: bool) -> None:
        """Write the answer: `head` without the lines that are the connection's own."""


class Exchange:
    """A request, from its complete headers to its complete answer.

    `complete`: all of the body is here. `gone`: the client left, or its request turned out to be malformed; an
    application that waits for the body is told that the client is gone, and its answer goes nowhere.
    """

    __slots__ = (
        "_carrier", "_delivered", "_head", "_out", "_status", "_waiter",
        "answered", "complete", "expects_continue", "gone", "keep_alive", "parts", "scope", "size",
    )  # fmt: skip

    def __init__(self, carrier: Carrier, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.complete = self.gone = self.answered = self._delivered = False
        self.parts: list[bytes] = []
        self.size = 0  # of the parts that the application has not taken
        self._carrier = carrier
        self._waiter: asyncio.Future[None] | None = None
        self._status = 0
        self._head: list[tuple[bytes, bytes]] = []
        self._out: list[bytes] = []

    def feed(self, part: bytes) -> None:
        """Take a part of the body."""
        self.parts.append(part)
        self.size += len(part)
        self._wake()

    def finish(self) -> None:
        """Note that the body is complete."""
        self.complete = True
        self._wake()

    def leave(self) -> None:
        """Note that nobody waits for the answer; a body that is complete is still the application's to take."""
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer; what it raises is logged without its text and answered 500."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:
            where = [f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_tb(error.__traceback__)]
            _LOG.error("the application failed", extra={"error": type(error).__name__, "where": where[-8:]})
        if not self.answered and not self.gone:
            self._status, self._head, self._out = 500, [_FAILED, (b"connection", b"close")], [b"internal server error"]
            self._answer()

    async def receive(self) -> Message:
        """Return the next part of the body, as ASGI has it; afterwards wait until the client is gone."""
        while not self.parts and not self.gone and (self._delivered or not self.complete):
            if self.answered:
                break
            self._waiter = asyncio.get_running_loop().create_future()
            self._carrier.want_body(self)
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.answered or self._delivered or (self.gone and not self.complete):
            return {"type": "http.disconnect"}
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts, self.size = [], 0
        self._delivered = self.complete
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    async def send(self, message: Message) -> None:
        """Take the answer, as ASGI has it; it is written when it is complete, in one piece."""
        if message["type"] == "http.response.start":
            self._status, self._head = message["status"], list(message.get("headers", ()))
            return
        self._out.append(message.get("body", b""))
        if not message.get("more_body", False) and not self.answered and not self.gone:
            self._answer()

    def _answer(self) -> None:
        self.answered = True
        body = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        lines, close, measured = [_STATUS_LINES[self._status]], False, self._status in _WITHOUT_BODY
        for name, value in self._head:
            if b"\n" in value or b"\r" in value:
                raise ValueError("a header of the answer has a line break in it")
            if name == b"connection":
                close = close or value == b"close"
                continue
            measured = measured or name == b"content-length"
            lines.append(name + b": " + value + b"\r\n")
        if not measured:
            lines.append(b"content-length: %d\r\n" % len(body))
        if self.scope["method"] == "HEAD" or self._status in _WITHOUT_BODY:
            body = b""
        self._carrier.answer(self, lines, body, close=close)


def refusal(status: HTTPStatus, text: str, *headers: bytes) -> bytes:
    """Return a whole answer of the door itself, in plain text, after which the connection is closed."""
    body = text.encode()
    lines = [b"content-type: text/plain; charset=utf-8", b"content-length: %d" % len(body), *headers]
    return _STATUS_LINES[status] + b"\r\n".join([*lines, b"connection: close", b"", body])
