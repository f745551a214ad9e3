"""A scripted HTTP/2 server for the tests: raw frames over real TCP (and TLS), and a group that records its reports."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import hpack

from delivery.http2 import Origin, Pool, PoolOptions

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
MAX_STREAMS, INITIAL_WINDOW, TABLE_SIZE = 3, 4, 1
PATIENCE_SECONDS = 5.0


class Frame(NamedTuple):
    """A frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Request(NamedTuple):
    """A whole request."""

    stream: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def path(self) -> bytes:
        return dict(self.headers)[b":path"]


class Visit:
    """One accepted connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.decoder = hpack.Decoder()
        self._encoder = hpack.Encoder()
        self._encoder.header_table_size = 0
        self.seen: list[Frame] = []

    async def greet(self, settings: dict[int, int] | None = None, *, ack: bool = True) -> None:
        """Read the preface and SETTINGS, send ours and acknowledge theirs."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await self._reader.readexactly(len(PREFACE)) == PREFACE
        assert (await self.frame()).kind == SETTINGS
        self.settings(settings or {})
        if ack:
            self.send(SETTINGS, ACK)

    async def frame(self) -> Frame:
        """The next frame, whatever it is. Raises IncompleteReadError at the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        frame = Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        self.seen.append(frame)
        return frame

    async def until(self, kind: int, *, ack: bool | None = None) -> Frame:
        """The next frame of a kind; others are skipped (see `seen`)."""
        while True:
            frame = await self.frame()
            if frame.kind == kind and (ack is None or bool(frame.flags & ACK) == ack):
                return frame

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """The next request's stream and header fields."""
        frame = await self.until(HEADERS)
        assert frame.flags == END_HEADERS
        fields = self.decoder.decode(frame.payload, raw=True)
        return frame.stream, [(bytes(name), bytes(value)) for name, value in fields]

    async def request(self) -> Request:
        """The next request; its body must follow without another request between."""
        stream, headers = await self.head()
        body = b""
        while True:
            data = await self.until(DATA)
            assert data.stream == stream
            body += data.payload
            if data.flags & END_STREAM:
                return Request(stream, headers, body)

    async def requests(self, count: int) -> list[Request]:
        """The next `count` requests."""
        return [await self.request() for _ in range(count)]

    async def barrier(self) -> list[Frame]:
        """Frames that the client sent before it answered a PING sent now: what is not among them was not sent."""
        mark = len(self.seen)
        self.send(PING, 0, 0, b"barrier!")
        await self.until(PING, ack=True)
        return self.seen[mark:-1]

    async def ended(self) -> list[Frame]:
        """Everything up to the end of the connection."""
        mark = len(self.seen)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self.frame()
        return self.seen[mark:]

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Write one frame."""
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        self.writer.write(head + payload)

    def settings(self, settings: dict[int, int]) -> None:
        """Write SETTINGS."""
        self.send(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in settings.items()))

    def window(self, stream: int, increment: int) -> None:
        """Write WINDOW_UPDATE."""
        self.send(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))

    def goaway(self, last_stream: int, code: int = 0, debug: bytes = b"") -> None:
        """Write GOAWAY."""
        self.send(GOAWAY, 0, 0, struct.pack(">II", last_stream, code) + debug)

    def reset(self, stream: int, code: int) -> None:
        """Write RST_STREAM."""
        self.send(RST_STREAM, 0, stream, code.to_bytes(4, "big"))

    def block(self, status: int, fields: Sequence[tuple[str, str]] = ()) -> bytes:
        """A header block for an answer."""
        return bytes(self._encoder.encode([(":status", str(status)), *fields]))

    def answer(self, stream: int, status: int = 200, body: bytes = b"", fields: Sequence[tuple[str, str]] = ()) -> None:
        """Write a whole answer."""
        self.send(HEADERS, END_HEADERS | (0 if body else END_STREAM), stream, self.block(status, fields))
        if body:
            self.send(DATA, END_STREAM, stream, body)

    def drop(self) -> None:
        """Cut the connection."""
        self.writer.transport.abort()


class Peer:
    """A server that hands its connections to the test, in order."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._visits: asyncio.Queue[Visit] = asyncio.Queue()
        self._all: list[Visit] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> "Peer":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for visit in self._all:
            visit.drop()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer)
        self._all.append(visit)
        self._visits.put_nowait(visit)

    async def visit(self, settings: dict[int, int] | None = None, *, ack: bool = True) -> Visit:
        """The next connection, greeted."""
        visit = await self.raw_visit()
        await visit.greet(settings, ack=ack)
        return visit

    async def raw_visit(self) -> Visit:
        """The next connection, before anything is read."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._visits.get()

    @property
    def waiting(self) -> int:
        """Connections that the test has not taken."""
        return self._visits.qsize()

    @property
    def origin(self) -> Origin:
        """Where to connect to."""
        return Origin("127.0.0.1", self.port)

    @contextlib.asynccontextmanager
    async def pool(self, **options: object) -> AsyncIterator[Pool]:
        """A pool on this peer: one connection, unless told otherwise; closed without grace."""
        pool = Pool(self.origin, pool_options(**options), jitter=lambda: 0.0)
        try:
            yield pool
        finally:
            await pool.close(grace=0.0)


def pool_options(**options: object) -> PoolOptions:
    """Options with a fine tick and one connection."""
    return PoolOptions(**({"max_connections": 1, "tick_seconds": 0.01} | options))  # type: ignore[arg-type]
