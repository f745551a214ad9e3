"""A push that expires while httpx has its request in hand is not sent."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from delivery.http2 import Failure, FailureKind, Group, Head, Origin, PoolOptions
from delivery.providers.httpx_transport import HttpxTransport

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Service:
    """Takes connections, says 200 to whatever comes."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.served = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end."""
        while data := await reader.read(65536):
            self.received += data
            writer.write(_OK)
        writer.close()
        self.served.set()


@asynccontextmanager
async def transport(service: Service) -> AsyncIterator[tuple[HttpxTransport, Head]]:
    """A transport to it, and the head of a request."""
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    httpx = HttpxTransport(Origin("127.0.0.1", port), PoolOptions())
    async with server:
        yield httpx, Head(f"127.0.0.1:{port}".encode(), b"/", [], scheme=b"http")
        await httpx.close()
        await service.served.wait()


async def test_one_that_has_expired_by_its_first_byte_is_not_sent() -> None:
    service = Service()
    async with transport(service) as (httpx, head):
        assert not isinstance(await httpx.perform(Group(head, 1, b"{}"), 0, head), Failure)
        before = len(service.received)
        expired = await httpx.perform(Group(head, 1, b"{}", expires_at=time.time() - 1), 0, head)
    assert isinstance(expired, Failure)
    assert expired.kind is FailureKind.EXPIRED
    assert len(service.received) == before


async def test_one_that_is_worth_sending_is_sent() -> None:
    service = Service()
    async with transport(service) as (httpx, head):
        answer = await httpx.perform(Group(head, 1, b"{}", expires_at=time.time() + 60), 0, head)
    assert not isinstance(answer, Failure)
    assert service.received.startswith(b"POST / HTTP/1.1")
