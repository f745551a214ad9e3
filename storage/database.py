"""The way to PostgreSQL: a pool of autocommit connections, typed rows, and what a failure there means."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import kwargs_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

_OPEN_SECONDS = 30.0

Row = TypeVar("Row")
Params = Mapping[str, object]
Connection = AsyncConnection[tuple[Any, ...]]


class DatabaseUnavailableError(Exception):
    """The database is away, out of room, or gave this statement up (deadlock, timeout): try again later."""


class Database:
    """A pool of autocommit connections.

    One statement is one transaction here; `transaction()` is for the few that need two. Every connection carries
    `statement_timeout` and `lock_timeout`, so nothing waits for ever. Use as `async with Database(...)`.
    """

    def __init__(
        self,
        url: str,
        *,
        max_connections: int = 10,
        statement_timeout_seconds: float = 30.0,
        application: str = "tocsin",
    ) -> None:
        self._url = url
        options = (
            f"-c statement_timeout={int(statement_timeout_seconds * 1000)} -c lock_timeout=10000 "
            "-c idle_in_transaction_session_timeout=60000 -c timezone=UTC -c jit=off "
            # The statistics of a queue's tables lie: analysed while empty, they make a plan that walks the table, which
            # a busy hour later holds a hundred thousand rows, most of them dead. Every statement of ours has an index.
            "-c enable_seqscan=off"
        )
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            kwargs={
                "autocommit": True,
                "application_name": application,
                "options": options,
                "prepare_threshold": 1,  # few statements, many times each: the second use is prepared already
            },
            min_size=1,
            max_size=max_connections,
            open=False,
            timeout=10.0,
            max_waiting=1000,
            reconnect_timeout=2.0,  # then begin anew: its waits double, and would outlast a short outage many times
        )

    def __repr__(self) -> str:
        return "Database()"  # the URL may hold a password

    @property
    def url(self) -> str:
        """The connection string, which may hold a password: never log it."""
        return self._url

    async def __aenter__(self) -> Self:
        await self._reach()
        try:
            await self._pool.open(wait=True, timeout=_OPEN_SECONDS)
        except PoolTimeout as error:
            await self._pool.close()
            raise DatabaseUnavailableError(f"no connection within {_OPEN_SECONDS:.0f} seconds") from error
        return self

    async def _reach(self) -> None:
        """Wait for the database to accept a connection, trying often: it may just be starting."""
        end = time.monotonic() + _OPEN_SECONDS
        while True:
            try:
                await (await AsyncConnection.connect(self._url, connect_timeout=5)).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > end:
                    raise DatabaseUnavailableError(f"no connection within {_OPEN_SECONDS:.0f} seconds") from error
                await asyncio.sleep(0.2)
            else:
                return

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend one connection; what is worth trying again later becomes DatabaseUnavailableError."""
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise DatabaseUnavailableError(type(error).__name__) from error
        # psycopg waits with asyncio.wait_for, which before Python 3.12 loses a cancellation that comes together
        # with the answer (cpython issue 86296): the work is done, but whoever cancelled must not wait for ever
        if task and task.cancelling() > cancelled:
            raise asyncio.CancelledError

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction: committed at the end, rolled back by an exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def rows(self, query: bytes, params: Params, row: Callable[..., Row], *, fresh: bool = False) -> list[Row]:
        """Run one statement; build `row(**columns)` for each row.

        `fresh` plans it anew with the values at hand: for filters whose NULL branches must fold away.
        """
        async with self.connection() as connection:
            return await rows(connection, query, params, row, fresh=fresh)

    async def row(self, query: bytes, params: Params, row: Callable[..., Row], *, fresh: bool = False) -> Row | None:
        """Run one statement; the first row, or None."""
        found = await self.rows(query, params, row, fresh=fresh)
        return found[0] if found else None

    async def values(self, query: bytes, params: Params) -> Sequence[tuple[Any, ...]]:
        """Run one statement; its rows as plain tuples."""
        async with self.connection() as connection:
            return await values(connection, query, params)

    async def execute(self, query: bytes, params: Params) -> int:
        """Run one statement; the number of rows it changed."""
        async with self.connection() as connection:
            return (await connection.execute(query, params)).rowcount


async def rows(
    connection: Connection, query: bytes, params: Params, row: Callable[..., Row], *, fresh: bool = False
) -> list[Row]:
    """Run one statement on this connection; build `row(**columns)` for each row."""
    cursor: AsyncCursor[Row] = connection.cursor(row_factory=kwargs_row(row), binary=True)
    async with cursor:
        await cursor.execute(query, params, prepare=False if fresh else None)
        return await cursor.fetchall()


async def values(connection: Connection, query: bytes, params: Params) -> list[tuple[Any, ...]]:
    """Run one statement on this connection; its rows as plain tuples."""
    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchall()


__all__ = ["Connection", "Database", "DatabaseUnavailableError", "rows", "values"]
