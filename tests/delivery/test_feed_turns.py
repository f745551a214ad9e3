"""One process at a time follows for a consumer; another one takes over, however the first one ends."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from delivery.feed import Feed
from storage.database import Database
from storage.feed import Span
from tests.delivery.recording import OPTIONS, Collector, add_outcome, caught_up

_HOLDER = """
import asyncio, sys
from delivery.feed import Feed
from storage.database import Database
from tests.delivery.recording import OPTIONS, Collector

async def main():
    async with Database(sys.argv[1]) as database:
        await Feed(database, [Collector(database)], OPTIONS).run()

asyncio.run(main())
"""


@asynccontextmanager
async def following(database: Database, *collectors: Collector) -> AsyncIterator[asyncio.Task[None]]:
    """Run a feed beside the block."""
    async with asyncio.timeout(30):
        task = asyncio.create_task(Feed(database, collectors, OPTIONS).run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_one_process_at_a_time_follows_and_another_takes_over(database: Database) -> None:
    first, second = Collector(database), Collector(database)
    async with following(database, first) as holder:
        await add_outcome(database, 1)
        await caught_up(database, "collector")
        async with following(database, second):
            await add_outcome(database, 2)
            await caught_up(database, "collector")
            assert (first.batches, second.batches) == ([1, 2], [])
            holder.cancel()
            await asyncio.wait([holder])
            await add_outcome(database, 3)
            await caught_up(database, "collector")
    assert (first.batches, second.batches) == ([1, 2], [3])


async def test_a_holder_whose_session_dies_is_replaced_and_nothing_comes_twice(database: Database) -> None:
    first, second = Collector(database), Collector(database)
    async with following(database, first), following(database, second):
        for batch in range(1, 6):
            await add_outcome(database, batch)
            await caught_up(database, "collector")
            await database.values(
                b"select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tocsin feed'"
                b" and datname = current_database()",
                {},
            )
        await add_outcome(database, 6)
        await caught_up(database, "collector")
    assert sorted(first.batches + second.batches) == [1, 2, 3, 4, 5, 6]


async def test_a_consumer_that_fails_holds_up_no_other(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Collector(database, name="broken"), Collector(database, name="sound")

    def fail(span: Span) -> None:
        raise RuntimeError("always")

    broken.failing = fail
    async with following(database, broken, sound):
        await add_outcome(database, 1)
        await caught_up(database, "sound")
        async with asyncio.timeout(10):
            while "a consumer of the record failed; it tries again" not in caplog.messages:
                await database.values(b"select 1", {})
    assert (broken.batches, sound.batches) == ([], [1])


async def test_a_process_that_is_killed_is_replaced(database: Database) -> None:
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", _HOLDER, database.url)
    await add_outcome(database, 1)
    await caught_up(database, "collector")
    ours = Collector(database)
    async with following(database, ours):
        holder.kill()
        await holder.wait()
        await add_outcome(database, 2)
        await caught_up(database, "collector")
    assert ours.batches == [2]
