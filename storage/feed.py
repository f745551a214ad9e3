"""The record of outcomes and receipts as it grows: cursors of those who follow it, and pages in an order that stays.

Transactions commit in another order than they began, so neither time nor id tells what is new. Rows carry the number
of their transaction; a page holds only transactions below the oldest that is still open, in the order of (xact,
batch_id, attempt): nothing can appear before a place that was read. Receipts have their id in the place of batch_id.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

import msgspec
import psycopg

from storage.database import Connection, Database, DatabaseUnavailableError, rows, values
from storage.queries import load

_QUERIES = load("feed")
_MARGIN_SECONDS = 86_400.0

Stream = Literal["outcomes", "receipts"]


class Place(msgspec.Struct, frozen=True, order=True):
    """A place in a stream: after the row with these numbers. `Place(n)` is before everything of transaction n."""

    xact: int
    batch_id: int = 0
    attempt: int = 0


class Cursor(msgspec.Struct):
    """How far a consumer has read; `begun_*` is the end of a page that it may have handed over. Unix seconds."""

    xact: int
    batch_id: int
    attempt: int
    begun_xact: int | None
    begun_batch_id: int | None
    begun_attempt: int | None
    read_to: float

    @property
    def place(self) -> Place:
        """What was read."""
        return Place(self.xact, self.batch_id, self.attempt)

    @property
    def begun(self) -> Place | None:
        """The end of the page that was begun, None when none was."""
        if self.begun_xact is None:
            return None
        return Place(self.begun_xact, self.begun_batch_id or 0, self.begun_attempt or 0)


class Horizon(msgspec.Struct):
    """Transactions below `xmin` have ended; none from `xmax` on has; `at` in Unix seconds."""

    xmin: int
    xmax: int
    at: float


class Mark(msgspec.Struct):
    """A transaction of ours: what began to write before `at` (Unix seconds) has a lower number than `xact`."""

    xact: int
    at: float


class PageEnd(msgspec.Struct):
    """The last row of a page, how many rows it holds of how many that were found, and its latest time."""

    xact: int
    batch_id: int
    attempt: int
    taken: int
    found: int
    settled_at: float

    @property
    def place(self) -> Place:
        """The place after the page."""
        return Place(self.xact, self.batch_id, self.attempt)


class Span(msgspec.Struct, frozen=True):
    """A piece of a stream: the rows after one place, up to another. Its content never changes.

    `read_to` (Unix seconds) is the time to which everything before the span was read.
    """

    stream: Stream
    after: Place
    upto: Place
    read_to: float

    def parameters(self) -> dict[str, object]:
        """The parameters of the fragments of sql/feed.sql."""
        return {
            "after_xact": self.after.xact,
            "after_batch_id": self.after.batch_id,
            "after_attempt": self.after.attempt,
            "upto_xact": self.upto.xact,
            "upto_batch_id": self.upto.batch_id,
            "upto_attempt": self.upto.attempt,
            # rows say when their transaction began, which may have been a while before it wrote
            "since": max(0.0, self.read_to - _MARGIN_SECONDS),
        }


class OutcomeRow(msgspec.Struct, kw_only=True):
    """One attempt of a batch with what is known of its push; `tokens` one a line, raw recipients only."""

    batch_id: int
    attempt: int
    push_id: str
    uid: str
    analytics_uid: str
    webhook: str | None
    at: int
    provider: str
    credential: str
    environment: str
    platform: str
    device_ids: list[str] | None
    tokens: bytes | None
    message_ids: bytes
    positions: list[int]
    outcomes: list[str]
    reasons: list[str]
    statuses: list[int]


class ReceiptRow(msgspec.Struct):
    """What a device reported; `uid` is the push's where its analytics_uid is that of one push alone."""

    id: int
    at: int
    analytics_uid: str
    status: str
    device_id: str
    msg_id: str
    uid: str
    webhook: str | None


class Turns:
    """The session whose locks say which consumers are this process's: they end when it ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(self, name: str) -> bool:
        """Try to become the one who follows for this consumer."""
        with _reported():
            return bool((await values(self._connection, _QUERIES.try_lock, {"name": name}))[0][0])

    async def give(self, name: str) -> None:
        """Leave a consumer to others."""
        with _reported():
            await self._connection.execute(_QUERIES.unlock, {"name": name})

    async def check(self) -> None:
        """Raise DatabaseUnavailableError unless the session is alive."""
        with _reported():
            await self._connection.execute("select 1")


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseUnavailableError(type(error).__name__) from error


@asynccontextmanager
async def turns(database: Database) -> AsyncIterator[Turns]:
    """Open such a session, beside the pool; raises DatabaseUnavailableError when there is none to be had."""
    with _reported():
        connection = await psycopg.AsyncConnection.connect(
            database.url,
            autocommit=True,
            application_name="tocsin feed",
            options="-c statement_timeout=10000",
            connect_timeout=10,
            keepalives_idle=10,  # a server that is gone without a word must be noticed
            keepalives_interval=5,
            keepalives_count=2,
            tcp_user_timeout=20_000,
        )
    async with connection:
        yield Turns(connection)


async def horizon(database: Database) -> Horizon:
    """Where what is certain ends now."""
    found = await database.row(_QUERIES.horizon, {}, Horizon)
    assert found is not None  # noqa: S101 - a select without a table has a row
    return found


async def cursor(database: Database, name: str) -> Cursor | None:
    """How far this consumer has read, None before its first time."""
    return await database.row(_QUERIES.cursor, {"name": name}, Cursor)


async def start(database: Database, name: str, xact: int, read_to: float) -> None:
    """Make the cursor of a new consumer, before the transaction `xact`; one that exists is left alone."""
    await database.execute(_QUERIES.start, {"name": name, "xact": xact, "read_to": read_to})


async def restart(database: Database, name: str, xact: int) -> None:
    """Set a cursor to before the transaction `xact`, whatever it was."""
    await database.execute(_QUERIES.restart, {"name": name, "xact": xact})


async def page_end(database: Database, span: Span, *, batches: int, size: int) -> PageEnd | None:
    """Where a page ends that begins where `span` does, lies in it, and holds about so much (bytes of recipients)."""
    query = _QUERIES.outcomes_end if span.stream == "outcomes" else _QUERIES.receipts_end
    limits = {"until": span.upto.xact, "batches": batches, "bytes": size}
    return await database.row(query, span.parameters() | limits, PageEnd)


async def begin(database: Database, name: str, span: Span) -> bool:
    """Note that this page is about to be handed over; False when the cursor is not at its beginning any more."""
    return bool(await database.execute(_QUERIES.begin, span.parameters() | {"name": name}))


async def move(connection: Connection, name: str, span: Span, read_to: float) -> Mark | None:
    """Move the cursor over this page; None when it is not at the page's beginning any more."""
    parameters = span.parameters() | {"name": name, "read_to": read_to}
    found = await rows(connection, _QUERIES.move, parameters, Mark)
    return found[0] if found else None


async def read_to(database: Database, name: str) -> int:
    """The time to which this consumer has read all of its streams, Unix seconds; 0 before its first time."""
    found: int = (await database.values(_QUERIES.read_to, {"name": name}))[0][0]
    return found


async def outcomes(database: Database, span: Span, credentials: Sequence[str] | None = None) -> list[OutcomeRow]:
    """The outcomes of a page; with `credentials`, those that a webhook of a push or of one of these wants told."""
    parameters = span.parameters() | {"credentials": None if credentials is None else list(credentials)}
    return await database.rows(_QUERIES.outcomes, parameters, OutcomeRow)


async def receipts(database: Database, span: Span, *, only_hooked: bool = False) -> list[ReceiptRow]:
    """The receipts of a page; `only_hooked`: of pushes with a webhook."""
    parameters = span.parameters() | {"credentials": [] if only_hooked else None}
    return await database.rows(_QUERIES.receipts, parameters, ReceiptRow)


async def dead_tokens(database: Database, device_ids: Sequence[str]) -> dict[str, str]:
    """The SHA-256 (hex) of the tokens of those of these devices that are dead, by device."""
    if not device_ids:
        return {}
    found = await database.values(_QUERIES.dead_tokens, {"device_ids": list(device_ids)})
    return {row[0]: row[1] for row in found}
