"""A client of bare bytes, for what no HTTP client would send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.types import Message, Receive, Scope, Send

_PATIENCE_SECONDS = 20.0

Exchanged = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(port: int, source: str = "127.0.0.1") -> AsyncIterator[Exchanged]:
    """A connection, cut at the end; whatever is done with it must be done in time."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def answer_to(port: int, *parts: bytes, half_close: bool = False) -> bytes:
    """Send these bytes one after the other and return all that comes back until the server closes."""
    async with connected(port) as (reader, writer):
        for part in parts:
            writer.write(part)
            await _drained(writer)
        if half_close:
            writer.write_eof()
        return await _all(reader)


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """Read the head of an answer."""
    return await reader.readuntil(b"\r\n\r\n")


async def _drained(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.drain()
    except ConnectionError:
        return  # the server has had enough; its answer may be there all the same


async def _all(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while True:
        try:
            part = await reader.read(65536)
        except ConnectionError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def statuses(answers: bytes) -> list[int]:
    """The statuses of all answers in these bytes, whose bodies hold none."""
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


class Bodies:
    """An application that answers every body with its length, and remembers them; `gate` keeps it waiting."""

    def __init__(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.taken: list[bytes] = []
        self.scopes: list[Scope] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self._answer = answer or (lambda body: b"%d" % len(body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.asked.set()
        await self.gate.wait()
        body = await _body(receive)
        if body is None:
            return
        self.taken.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self._answer(body)})


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)
