"""Reads the requests of a connection: HTTP/1.1 as httptools parses it, with a bound on all that a client may send.

Of httptools' callbacks none is asked whether to go on, so a request over a limit stops the parser with an exception.
"""

import asyncio
import urllib.parse
from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools
from starlette.types import Scope

from server.exchange import CLOSE, Exchange

if TYPE_CHECKING:
    from server.door import Door

NEVER = float("inf")
BETWEEN, HEAD, BODY = range(3)  # what of a request is being read

_NO_HEADERS: list[tuple[bytes, bytes]] = []
_BUFFERED_BYTES = 64 << 10  # of a body that the application has not asked for


class _StopReadingError(Exception):
    """Raised into the parser, which ends with it."""


class RequestReader(asyncio.Protocol, ABC):
    """The reading half of a connection; `due` is when (on the loop's clock) the door is to call `expire`."""

    __slots__ = (
        "_begun", "_body_bytes", "_broken", "_client", "_door", "_ended", "_fed", "_framing", "_head_bytes", "_headers",
        "_parser", "_phase", "_reading", "_replanted", "_spilled", "_url", "due",
    )  # fmt: skip

    def __init__(self, door: "Door") -> None:
        self._door = door
        self._client: tuple[str, int] | None = None
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._phase = BETWEEN
        self._reading: Exchange | None = None  # its body is being read
        self._broken: tuple[HTTPStatus, str] | None = None  # why the parser was stopped
        self._ended = False  # no further request is read
        self._replanted = False  # the parser reads the head that `_replant` gave it
        self._url = b""
        self._headers = _NO_HEADERS
        self._begun = self._fed = self._head_bytes = self._body_bytes = self._framing = self._spilled = 0
        self.due = NEVER

    @abstractmethod
    def want_body(self, exchange: Exchange) -> None:
        """Read on: the application waits for the body."""

    @abstractmethod
    def answer(self, exchange: Exchange, head: list[bytes], body: bytes, *, close: bool) -> None:
        """Write an answer."""

    @abstractmethod
    def _arrive(self, exchange: Exchange) -> None:
        """Have a request answered whose headers are complete."""

    @abstractmethod
    def _full(self) -> bool:
        """Whether no further request can be kept waiting."""

    @abstractmethod
    def _idle(self) -> bool:
        """Whether nothing is left to answer."""

    @abstractmethod
    def _pause(self) -> None:
        """Read nothing for now."""

    @abstractmethod
    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Read no further; of the request that is being read nothing is done."""

    @abstractmethod
    def _spill(self, size: int) -> None:
        """Throw away what nobody reads any more."""

    def data_received(self, data: bytes) -> None:
        """Parse what came, until something is wrong with it."""
        if self._parser is None:
            self._spill(len(data))
            return
        phase, begun = self._phase, self._begun
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._replant(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if self._broken is None and self._ended:
                self._parser = None  # what comes after the last request is nobody's
            else:
                self._refuse(*(self._broken or (HTTPStatus.BAD_REQUEST, "malformed HTTP request")))
            return
        self._measure(len(data), whole=self._begun == begun or (phase == BETWEEN and self._begun == begun + 1))

    def _measure(self, size: int, *, whole: bool) -> None:
        """Bound what the parser holds or skips without a word: a header without an end, chunk extensions, trailers.

        `whole`: all of these bytes belong to the request that is being read.
        """
        if not whole or self._parser is None:
            return
        if self._phase == HEAD:
            self._fed += size
            if self._fed > self._door.rules.header_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers too large")
        elif self._phase == BODY:
            self._framing += size
            if self._framing > self._door.rules.header_bytes * 2 + 9 * self._body_bytes:
                self._refuse(HTTPStatus.BAD_REQUEST, "more framing than body")

    def _replant(self, rest: bytes) -> None:
        """Go on with HTTP/1.1 after a request that offered an upgrade: the parser would take its body for the rest."""
        exchange = self._reading
        if exchange is None or exchange.scope["method"] == "CONNECT":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "this is no proxy")
            return
        framing = [pair for pair in self._headers if pair[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in framing or [(b"content-length", b"0")])
        self._parser = httptools.HttpRequestParser(self)
        self._replanted = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + head + (b"" if exchange.keep_alive else CLOSE) + b"\r\n")
        if rest and self._parser is not None:
            self.data_received(rest)

    def on_message_begin(self) -> None:
        """Begin a request: its headers must be complete in time. The first one's time began with the connection."""
        if self._replanted:
            return
        if self._full():
            self._stop(HTTPStatus.BAD_REQUEST, "too many requests without waiting for an answer")
        self._begun += 1
        self._phase = HEAD
        self._url, self._headers, self._head_bytes, self._fed = b"", [], 0, 0
        if self._begun > 1:
            self.due = self._door.now() + self._door.rules.header_seconds

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        if self._replanted:
            return
        self._url += url
        if len(self._url) > self._door.rules.header_bytes:
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG, "request target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a chunked body count, and mean nothing."""
        if self._replanted:
            return
        self._head_bytes += len(name) + len(value) + 4
        rules = self._door.rules
        if self._head_bytes > rules.header_bytes or len(self._headers) >= rules.header_count:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers too large or too many")
        if self._phase == HEAD:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Have the request answered, while its body comes in; one that is not the first in line waits."""
        if self._parser is None or self._replanted:
            return
        self._phase = BODY
        self._body_bytes = self._framing = 0
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._stop(HTTPStatus.BAD_REQUEST, "this server speaks HTTP/1.1")
        modern = version == "1.1"
        keep = modern and self._parser.should_keep_alive()
        expects = modern and any(
            name == b"expect" and b"100-continue" in value.lower() for name, value in self._headers
        )
        scope = self._scope(version, self._parser.get_method().decode("ascii"))
        exchange = Exchange(self, scope, keep_alive=keep, expects_continue=expects)
        self._reading = exchange
        self.due = self._door.now() + self._door.rules.body_seconds
        self._arrive(exchange)

    def _scope(self, version: str, method: str) -> Scope:
        target = httptools.parse_url(self._url)
        path = (target.path or b"").decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": method,
            "scheme": "http",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": target.path or b"",
            "query_string": target.query or b"",
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": None,
        }

    def on_body(self, body: bytes) -> None:
        """Pass it on; a client that keeps up the least rate gets more time."""
        exchange, size = self._reading, len(body)
        if exchange is None:
            return
        self._body_bytes += size
        self.due += size / self._door.rules.bytes_per_second
        if exchange.answered or exchange.gone:
            return
        exchange.feed(body)
        if exchange.size > _BUFFERED_BYTES:
            self._pause()

    def on_message_complete(self) -> None:
        """End a request; after one that is the last, nothing is read."""
        if self._parser is None or (self._parser.should_upgrade() and not self._replanted):
            return
        self._replanted = False
        exchange, self._reading = self._reading, None
        self._phase = BETWEEN
        self._headers = _NO_HEADERS
        self.due = self._door.now() + self._door.rules.idle_seconds if self._idle() else NEVER
        if exchange is not None:
            exchange.finish()
            self._ended = self._ended or not exchange.keep_alive

    def _stop(self, status: HTTPStatus, text: str) -> None:
        self._broken = (status, text)
        raise _StopReadingError
