"""Events as lines of JSON."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from delivery.events import told
from storage.database import Database
from storage.feed import Span

_ENCODER = msgspec.json.Encoder()


async def lines(database: Database, span: Span, most: int) -> AsyncIterator[bytes]:
    """The events of a page in blocks of at most `most` lines; the same page gives the same blocks."""
    block = bytearray()
    count = 0
    async for each in told(database, span):
        for event in each.events:
            block += _ENCODER.encode(event) + b"\n"
            count += 1
            if count == most:
                yield bytes(block)
                block.clear()
                count = 0
        await asyncio.sleep(0)  # others of this worker have their turn
    if block:
        yield bytes(block)
