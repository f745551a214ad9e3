"""Following the record: whatever the order of commits, nothing is lost and nothing comes twice."""

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import psycopg
import pytest

from delivery.feed import LostTurnError, Reader
from storage import feed
from storage.database import Database
from storage.feed import Span, Stream
from tests.delivery.recording import OPTIONS, Collector, add_outcome, add_receipt, device, read_all

SMALL = msgspec.structs.replace(OPTIONS, page_batches=3)


@pytest.fixture
def collector(database: Database) -> Collector:
    return Collector(database)


@pytest.fixture
def reader(database: Database, collector: Collector) -> Reader:
    return Reader(database, collector, "outcomes", OPTIONS)


async def session(database: Database) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    return await psycopg.AsyncConnection.connect(database.url)


async def test_what_commits_late_is_neither_lost_nor_told_before_its_time(
    database: Database, collector: Collector, reader: Reader
) -> None:
    async with await session(database) as early, await session(database) as late:
        await add_outcome(early, 1)
        await add_outcome(late, 2)
        await late.commit()
        await read_all(reader)
        assert collector.batches == [], "the first transaction is still open"
        await early.commit()
        await read_all(reader)
        assert collector.batches == [1, 2]


async def test_what_is_rolled_back_holds_nothing_up(database: Database, collector: Collector, reader: Reader) -> None:
    async with await session(database) as early, await session(database) as late:
        await add_outcome(early, 1)
        await add_outcome(late, 2)
        await late.commit()
        await early.rollback()
        await read_all(reader)
        assert collector.batches == [2]


async def test_whatever_the_order_of_commits_every_row_comes_once(database: Database, collector: Collector) -> None:
    choice = random.Random(5)
    reader = Reader(database, collector, "outcomes", SMALL)
    async with AsyncExitStack() as stack:
        free = [await stack.enter_async_context(await session(database)) for _ in range(5)]
        opened: list[psycopg.AsyncConnection[tuple[Any, ...]]] = []
        for batch in range(1, 101):
            if not free or (opened and choice.random() < 0.5):
                ending = opened.pop(choice.randrange(len(opened)))
                await ending.commit()
                free.append(ending)
            writer = free.pop()
            for part in range(choice.randint(1, 3)):
                await add_outcome(writer, batch * 10 + part)
            opened.append(writer)
            if choice.random() < 0.3:
                await reader.step()
        for ending in opened:
            await ending.commit()
    await read_all(reader)
    written = [row[0] for row in await database.values(b"select batch_id from outcomes order by batch_id", {})]
    assert sorted(collector.batches) == written
    assert len(collector.spans) > 30, "in pages"


async def test_a_transaction_larger_than_a_page_comes_whole(database: Database, collector: Collector) -> None:
    async with await session(database) as writer:
        for batch in range(1, 11):
            await add_outcome(writer, batch)
    await read_all(Reader(database, collector, "outcomes", SMALL))
    assert collector.batches == list(range(1, 11))
    assert [span.upto.batch_id for span in collector.spans[:3]] == [3, 6, 9]


async def test_pages_are_bounded_by_their_recipients(database: Database, collector: Collector) -> None:
    for batch in (1, 2, 3):
        await add_outcome(database, batch, devices=[device(number) for number in range(100)])
    narrow = msgspec.structs.replace(OPTIONS, page_bytes=2000)
    await read_all(Reader(database, collector, "outcomes", narrow))
    assert [event.id.split("-")[0] for event in collector.events] == ["1"] * 100 + ["2"] * 100 + ["3"] * 100
    assert [span.upto.batch_id for span in collector.spans][:2] == [2, 0]


async def test_a_new_consumer_begins_at_the_present(database: Database) -> None:
    collector = Collector(database, from_start=False)
    reader = Reader(database, collector, "outcomes", OPTIONS)
    await add_outcome(database, 1)
    await read_all(reader)
    await add_outcome(database, 2)
    await read_all(reader)
    assert collector.batches == [2]


async def test_a_consumer_goes_on_where_another_process_stopped(database: Database) -> None:
    first, second = Collector(database), Collector(database)
    await add_outcome(database, 1)
    await read_all(Reader(database, first, "outcomes", OPTIONS))
    await add_outcome(database, 2)
    await read_all(Reader(database, second, "outcomes", OPTIONS))
    assert (first.batches, second.batches) == ([1], [2])


async def until_it_fails(reader: Reader) -> None:
    """Read on; nothing is there to be read while another database is just being made in this PostgreSQL."""
    async with asyncio.timeout(20):
        while True:
            await reader.step()


async def test_what_a_consumer_writes_and_its_cursor_move_together(
    database: Database, collector: Collector, reader: Reader
) -> None:
    await add_outcome(database, 1)

    def fail(span: Span) -> None:
        raise RuntimeError("not this time")

    collector.failing = fail
    with pytest.raises(RuntimeError):
        await until_it_fails(reader)
    collector.failing = None
    await read_all(reader)
    assert collector.batches == [1]


async def test_who_lost_its_turn_moves_nothing(database: Database) -> None:
    slow, quick = Collector(database), Collector(database)
    slow_reader = Reader(database, slow, "outcomes", OPTIONS)
    await read_all(slow_reader)
    await add_outcome(database, 1)
    await read_all(Reader(database, quick, "outcomes", OPTIONS))
    with pytest.raises(LostTurnError):
        await slow_reader.step()
    assert (slow.batches, quick.batches) == ([], [1])


async def test_a_page_that_was_handed_over_comes_again_as_it_was(database: Database) -> None:
    crashed, resumed = Collector(database, repeats=True), Collector(database, repeats=True)

    def crash(span: Span) -> None:
        raise RuntimeError("killed")

    crashed.failing = crash
    await add_outcome(database, 1)
    with pytest.raises(RuntimeError):
        await until_it_fails(Reader(database, crashed, "outcomes", OPTIONS))
    await add_outcome(database, 2)
    await read_all(Reader(database, resumed, "outcomes", OPTIONS))
    assert (resumed.spans[0].after, resumed.spans[0].upto) == (crashed.spans[0].after, crashed.spans[0].upto)
    assert resumed.batches == [1, 2]


async def test_receipts_have_a_cursor_of_their_own(database: Database, collector: Collector) -> None:
    streams: tuple[Stream, ...] = ("outcomes", "receipts")
    collector.streams = streams
    await add_outcome(database, 1)
    await add_receipt(database, "a1")
    for stream in streams:
        await read_all(Reader(database, collector, stream, OPTIONS))
        await read_all(Reader(database, collector, stream, OPTIONS))
    assert [event.outcome for event in collector.events] == ["accepted", "delivered"]
    names = await database.values(b"select name from feed_cursors order by name", {})
    assert names == [("collector",), ("collector/receipts",)]


async def test_the_time_that_is_read_follows_the_oldest_open_transaction(
    database: Database, collector: Collector, reader: Reader
) -> None:
    async with await session(database) as writer:
        await read_all(reader)
        before = await feed.read_to(database, collector.name)
        await add_outcome(writer, 1)
        opened_at = (await feed.horizon(database)).at
        for _ in range(3):
            await reader.step()
        cursor = await feed.cursor(database, collector.name)
        assert cursor is not None
        assert before <= cursor.read_to <= opened_at
        await writer.commit()
    for _ in range(3):
        await reader.step()
    cursor = await feed.cursor(database, collector.name)
    assert cursor is not None
    assert cursor.read_to > opened_at


async def test_a_cursor_of_another_cluster_begins_at_the_present(
    database: Database, collector: Collector, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    await feed.start(database, collector.name, 1 << 50, 0.0)
    await add_outcome(database, 1)
    await read_all(reader)
    await add_outcome(database, 2)
    await read_all(reader)
    assert collector.batches == [2]
    assert "a cursor is ahead of the database; it begins at the present" in caplog.messages


async def test_a_consumer_that_falls_behind_retention_is_reported(
    database: Database, collector: Collector, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    async with await session(database) as writer:
        await add_outcome(writer, 1)
        horizon = await feed.horizon(database)
        await feed.start(database, collector.name, horizon.xmin, horizon.at - 29.5 * 86_400)
        await reader.step()
        await reader.step()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [(record.message, vars(record)["days_behind"]) for record in warnings] == [
        ("outcomes reach the end of their retention before a consumer has read them", 29)
    ]
