"""A webhook of an application: a real HTTP server on loopback that keeps what it gets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.delivery.http_peer import Request, serving


class Received(Request):
    """A delivery that came."""

    @property
    def delivery(self) -> str:
        return self.headers["x-tocsin-delivery"]

    @property
    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = msgspec.json.decode(self.body)["events"]
        return found


@dataclass
class Receiver:
    """Answers with `statuses` in turn, then with 200; `hold` keeps every answer back while it is not set."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    extra: str = ""
    requests: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/outcomes"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for request in self.requests for event in request.events]

    async def got(self, count: int) -> list[Received]:
        """Wait until so many requests have come."""
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def answer(self, request: Request) -> bytes:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        async with self.arrived:
            self.requests.append(Received(request.target, request.headers, request.body))
            self.arrived.notify_all()
        try:
            await self.hold.wait()
        finally:
            self.at_once -= 1
        status = self.statuses.pop(0) if self.statuses else 200
        return f"HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n{self.extra}\r\nok".encode()


@asynccontextmanager
async def receiving(*statuses: int, held: bool = False, extra: str = "") -> AsyncIterator[Receiver]:
    """Run a receiver; what it still holds back at the end is dropped."""
    receiver = Receiver(statuses=list(statuses), extra=extra)
    if not held:
        receiver.hold.set()
    async with serving(receiver.answer) as receiver.port:
        yield receiver
