"""Follows the record of outcomes for whoever wants them all: counts, webhooks, exports.

Each consumer has a cursor in the database and is served by one process at a time, whichever has the lock. It gets the
record in pages whose content is fixed, in an order that stays (storage/feed.py), and none is lost: a consumer that
writes to our database does so in the transaction that moves its cursor, exactly once; one that writes elsewhere moves
the cursor when that is safe, at least once, and after a crash is given the same page again.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import msgspec

from storage import feed
from storage.database import Connection, Database, DatabaseUnavailableError
from storage.feed import Horizon, Mark, Place, Span, Stream, Turns

_LOG = logging.getLogger(__name__)
_LEAST_WINDOW = 4096
_MOST_WINDOW = 1 << 20
_WARN_EVERY_SECONDS = 3600.0
_DAY_SECONDS = 86_400

Moving = Callable[[], AbstractAsyncContextManager[Connection]]


class LostTurnError(Exception):
    """Another process follows for this consumer by now."""


class Consumer(Protocol):
    """Who wants the record. `take` must enter `moving()` once, when the page is safe or to make it so.

    `moving()` is a transaction on the connection it gives; the cursor moves with it, or not at all.
    """

    name: str
    streams: tuple[Stream, ...]
    from_start: bool  # a new one begins with what is kept of the record, not at the present
    repeats: bool  # writes elsewhere: after a crash, the page it was at is given again as it was

    async def take(self, span: Span, moving: Moving) -> None:
        """Take in a page."""


class FeedOptions(msgspec.Struct, frozen=True):
    """Times in seconds; `outcome_days` is how long the record is kept.

    A page holds at most `page_batches` batches and about `page_bytes` of recipients (16 for a device). A cursor that
    only passes over what does not concern it is written every `persist_seconds`.
    """

    poll_seconds: float = 1.0
    standby_seconds: float = 5.0
    persist_seconds: float = 5.0
    page_batches: int = 256
    page_bytes: int = 256_000
    outcome_days: int = 30


class Feed:
    """Serves these consumers, each while this process has its lock; takes over when the holder's process is gone."""

    def __init__(self, database: Database, consumers: Sequence[Consumer], options: FeedOptions | None = None) -> None:
        self._database = database
        self._consumers = {consumer.name: consumer for consumer in consumers}
        self._options = options or FeedOptions()

    async def run(self) -> None:
        """Follow for ever; ends only by cancellation."""
        while True:
            try:
                async with feed.turns(self._database) as turns:
                    await self._serve(turns)
            except* DatabaseUnavailableError as group:
                _LOG.warning("following the record was interrupted", extra={"error": str(group.exceptions[0])})
            await asyncio.sleep(self._options.standby_seconds)

    async def _serve(self, turns: Turns) -> None:
        """Follow for the consumers whose locks this session gets; their tasks end with the session."""
        running: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                for name in [name for name, task in running.items() if task.done()]:
                    del running[name]
                    await turns.give(name)
                for name, consumer in self._consumers.items():
                    if name not in running and await turns.take(name):
                        running[name] = group.create_task(self._follow(consumer), name=f"feed {name}")
                await turns.check()
                await asyncio.sleep(self._options.standby_seconds)

    async def _follow(self, consumer: Consumer) -> None:
        """Follow until another process does; what goes wrong here must not stop the worker from sending."""
        delay = self._options.poll_seconds
        readers = [Reader(self._database, consumer, stream, self._options) for stream in consumer.streams]
        while True:
            try:
                more = [await reader.step() for reader in readers]
                delay = self._options.poll_seconds
                if any(more):
                    continue
            except LostTurnError:
                _LOG.warning("another process follows the record", extra={"consumer": consumer.name})
                return
            except DatabaseUnavailableError as error:
                _LOG.warning("a consumer waits for the database", extra=_facts(consumer, error))
            except Exception as error:
                delay = min(max(1.0, delay * 2), 60.0)
                _LOG.exception("a consumer of the record failed; it tries again", extra=_facts(consumer, error))
            await asyncio.sleep(delay)


class Reader:
    """Reads one stream for one consumer, from where its cursor stands."""

    def __init__(self, database: Database, consumer: Consumer, stream: Stream, options: FeedOptions) -> None:
        self._database = database
        self._consumer = consumer
        self._stream: Stream = stream
        self._options = options
        self._name = consumer.name if stream == consumer.streams[0] else f"{consumer.name}/{stream}"
        self._open = False
        self._stored = self._place = Place(0)
        self._begun: Place | None = None
        self._read_to = 0.0
        self._mark: Mark | None = None
        self._window = _LEAST_WINDOW
        self._persisted_at = self._warned_at = float("-inf")

    async def step(self) -> bool:
        """Take in what is there, at most a page; whether there may be more at once.

        Raises LostTurnError, DatabaseUnavailableError, and what the consumer raises: the next call begins again from
        the stored cursor.
        """
        horizon = await feed.horizon(self._database)
        if not self._open:
            await self._load(horizon)
        try:
            return await self._step(horizon)
        except BaseException:
            self._open = False
            raise

    async def _step(self, horizon: Horizon) -> bool:
        if self._begun is not None:
            await self._take(self._span(self._begun))
            return True
        until = min(self._place.xact + self._window, horizon.xmin)
        more = until < horizon.xmin
        if Place(until) > self._place:
            more = await self._page(until) or more
        self._note()
        if time.monotonic() > self._persisted_at + self._options.persist_seconds:
            await self._persist()
        return more

    async def _page(self, until: int) -> bool:
        """Take in a page of the transactions before `until`; whether there are more of them."""
        wanted, options = Span(self._stream, self._place, Place(until), self._read_to), self._options
        end = await feed.page_end(self._database, wanted, batches=options.page_batches, size=options.page_bytes)
        if end is None:
            self._place = wanted.upto
            self._window = min(self._window * 2, _MOST_WINDOW)
            return False
        cut = end.taken < end.found or end.found >= options.page_batches
        if cut:
            self._window = _LEAST_WINDOW
        self._read_to = max(self._read_to, end.settled_at) if cut else self._read_to
        await self._take(self._span(end.place if cut else wanted.upto))
        return cut

    async def _take(self, span: Span) -> None:
        """Hand a page to the consumer. What was passed over before it becomes part of it."""
        if self._consumer.repeats and self._begun is None:
            if not await feed.begin(self._database, self._name, span):
                raise LostTurnError
            self._begun = span.upto
        await self._consumer.take(span, lambda: self._moving(span))
        if self._stored != span.upto:
            raise RuntimeError(f"{self._consumer.name} did not move its cursor")

    async def _persist(self) -> None:
        """Write how far the reader came without anything to hand over, and for how long all was read."""
        async with self._moving(self._span(self._place)):
            self._warn()

    @asynccontextmanager
    async def _moving(self, span: Span) -> AsyncIterator[Connection]:
        async with self._database.transaction() as connection:
            mark = await feed.move(connection, self._name, span, self._read_to)
            if mark is None:
                raise LostTurnError
            yield connection
        self._place = self._stored = span.upto
        self._begun = None
        self._mark = self._mark or mark
        self._persisted_at = time.monotonic()

    def _span(self, upto: Place) -> Span:
        return Span(self._stream, self._stored, upto, self._read_to)

    def _note(self) -> None:
        """Move the time to which all is read, when all that wrote before the mark is."""
        if self._mark is not None and self._place.xact >= self._mark.xact:
            self._read_to, self._mark = max(self._read_to, self._mark.at), None

    def _warn(self) -> None:
        """Say so when the upkeep is about to remove, or has removed, what this consumer has not read."""
        behind = time.time() - self._read_to
        is_far = behind > (self._options.outcome_days - 1) * _DAY_SECONDS
        if is_far and time.monotonic() > self._warned_at + _WARN_EVERY_SECONDS:
            facts = {"consumer": self._name, "days_behind": int(behind // _DAY_SECONDS)}
            _LOG.warning("outcomes reach the end of their retention before a consumer has read them", extra=facts)
            self._warned_at = time.monotonic()

    async def _load(self, horizon: Horizon) -> None:
        """Read the cursor, or make it."""
        cursor = await feed.cursor(self._database, self._name)
        if cursor is None:
            kept = horizon.at - self._options.outcome_days * _DAY_SECONDS
            begin, read_to = (0, kept) if self._consumer.from_start else (horizon.xmin, horizon.at)
            await feed.start(self._database, self._name, begin, read_to)
            self._warned_at = time.monotonic()  # it is not late, it is new
        elif cursor.xact > horizon.xmax:
            # numbers of transactions are a cluster's own: this database was restored from another one's dump
            _LOG.warning("a cursor is ahead of the database; it begins at the present", extra={"consumer": self._name})
            await feed.restart(self._database, self._name, horizon.xmin)
        cursor = await feed.cursor(self._database, self._name)
        if cursor is None:
            raise LostTurnError
        self._stored = self._place = cursor.place
        self._begun, self._read_to = cursor.begun, cursor.read_to
        self._mark = None
        self._open = True


def _facts(consumer: Consumer, error: Exception) -> dict[str, str]:
    return {"consumer": consumer.name, "error": type(error).__name__}
