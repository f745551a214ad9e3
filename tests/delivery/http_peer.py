"""A real HTTP/1.1 server on loopback that hands each request to a function of the test."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """A request: its target, header fields with small names, and body."""

    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request], Awaitable[bytes]]


@asynccontextmanager
async def serving(answer: Answer, *, closing: bool = False, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free port, which is yielded; all connections end with the block.

    An empty answer ends the connection, with `closing` every answer does.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while said := await answer(await _request(reader)):
                    writer.write(said)
                    await writer.drain()
                    if closing:
                        break
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _request(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}
    return Request(first.split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", 0))))
