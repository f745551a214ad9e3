"""What a test waits for at a link to Redis."""

import asyncio
from collections.abc import Callable

from delivery.queues.redis_link import RedisLink, RedisUnavailableError

PATIENCE_SECONDS = 20


async def answers_again(link: RedisLink) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await link.command("PING")
            except RedisUnavailableError:
                await asyncio.sleep(0)
            else:
                return


async def until(met: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not met():  # noqa: ASYNC110 - what is waited for is in another process, or in a log
            await asyncio.sleep(0)
