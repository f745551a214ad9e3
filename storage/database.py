"""The way to PostgreSQL: a pool of autocommit connections, typed rows, and what a failure there means."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import kwargs_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

_LOG = logging.getLogger(__name__)
_OPEN_SECONDS = 30.0
_FIRST_SECONDS = 2.5  # longer than the pool tries, so that it is asked again when it has given up
_TRIAL_INTERVAL_SECONDS = 0.5
_TRIAL_SECONDS = 2
_CONNECTION_LOST = ("08", "57P")  # classes of SQLSTATE: connection exceptions, shutdown and crash of the server
# A host that is gone says nothing: without these, a statement that was on its way waits for it for two hours
_KEEP_ALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}

Row = TypeVar("Row")
Params = Mapping[str, object]
Connection = AsyncConnection[tuple[Any, ...]]


class DatabaseUnavailableError(Exception):
    """The database is away, out of room, or gave this statement up (deadlock, timeout): try again later."""


class DatabaseBusyError(DatabaseUnavailableError):
    """Every connection of this process is in use, and was for too long or is waited for by too many."""


class Database:
    """A pool of autocommit connections.

    One statement is one transaction here; `transaction()` is for the few that need two. Every connection carries
    `statement_timeout` and `lock_timeout`, so nothing waits for ever. Use as `async with Database(...)`.

    `wait_seconds` is how long a call waits for a connection, `max_waiting` how many calls do; beyond either it raises
    DatabaseBusyError. With `fail_fast`, a database that went away is remembered: calls raise
    DatabaseUnavailableError at once, until one of the trials, half a second apart, finds it back.
    """

    def __init__(
        self,
        url: str,
        *,
        max_connections: int = 10,
        statement_timeout_seconds: float = 30.0,
        application: str = "tocsin",
        wait_seconds: float = 10.0,
        max_waiting: int = 1000,
        fail_fast: bool = False,
    ) -> None:
        self._url = url
        self._fail_fast = fail_fast
        self._away = False
        self._lent = self._served = 0  # connections out now; calls that ended well
        self._watching: asyncio.Task[None] | None = None
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
                **_keep_alive(url),
            },
            min_size=1,
            max_size=max_connections,
            open=False,
            timeout=wait_seconds,
            max_waiting=max_waiting,
            reconnect_timeout=2.0,  # then begin anew: its waits double, and would outlast a short outage many times
        )

    def __repr__(self) -> str:
        return "Database()"  # the URL may hold a password

    @property
    def url(self) -> str:
        """The connection string, which may hold a password: never log it."""
        return self._url

    @property
    def away(self) -> bool:
        """Whether calls fail at once, because the database was found to be away."""
        return self._away

    async def __aenter__(self) -> Self:
        end = time.monotonic() + _OPEN_SECONDS
        await self._reach(end)
        await self._pool.open(wait=False)
        try:
            await self._fill(end)
        except BaseException:
            await self._pool.close()
            raise
        return self

    async def _fill(self, end: float) -> None:
        """Wait for the pool's first connection; asking for one makes a pool that has given up try again."""
        while True:
            if await self._available(_FIRST_SECONDS):
                return
            try:
                async with self._pool.connection(timeout=_FIRST_SECONDS):
                    return
            except PoolTimeout as error:
                if time.monotonic() > end:
                    raise DatabaseUnavailableError(f"no connection within {_OPEN_SECONDS:.0f} seconds") from error

    async def _available(self, seconds: float) -> bool:
        """Wait until the pool has a connection to lend; False when it has none for so long."""
        end = time.monotonic() + seconds
        while not self._pool.get_stats().get("pool_available"):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    async def _reach(self, end: float) -> None:
        """Wait for the database to accept a connection, trying often: it may just be starting."""
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
        self._fail_fast = False
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend one connection; what is worth trying again later becomes DatabaseUnavailableError."""
        if self._away:
            raise DatabaseUnavailableError("away")
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        try:
            async with self._pool.connection() as connection:
                self._lent += 1
                try:
                    yield connection
                finally:
                    self._lent -= 1
            self._served += 1
        except (PoolTimeout, TooManyRequests) as error:
            self._suspect()
            kind = DatabaseBusyError if self._lent else DatabaseUnavailableError
            raise kind(type(error).__name__) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.InternalError_) as error:
            # InternalError_ (XX000) is what a file limit or a quota comes to, where a full disk is DiskFull
            if error.sqlstate is None or error.sqlstate.startswith(_CONNECTION_LOST):
                self._suspect()
            raise DatabaseUnavailableError(type(error).__name__) from error
        # psycopg waits with asyncio.wait_for, which before Python 3.12 loses a cancellation that comes together
        # with the answer (cpython issue 86296): the work is done, but whoever cancelled must not wait for ever
        if task and task.cancelling() > cancelled:
            raise asyncio.CancelledError

    def _suspect(self) -> None:
        """Find out whether the database is away, unless that is being done."""
        if self._fail_fast and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watch(), name="database watch")

    async def _watch(self) -> None:
        while not await self._answers():
            if not self._away:
                _LOG.warning("the database is away: calls fail at once until it is back")
            self._away = True
            await asyncio.sleep(_TRIAL_INTERVAL_SECONDS)
        if self._away:
            _LOG.info("the database is back")
        self._away = False

    async def _answers(self) -> bool:
        """Try the database on a connection of its own, then the pool, whose dead connections are replaced."""
        served = self._served
        try:
            async with asyncio.timeout(_TRIAL_SECONDS + 1):
                await (await AsyncConnection.connect(self._url, connect_timeout=_TRIAL_SECONDS)).close()
            if not self._lent:
                await self._pool.check()
                async with self._pool.connection(timeout=_TRIAL_SECONDS) as connection:
                    await connection.execute(b"")
        except (psycopg.Error, OSError, TimeoutError):
            return self._served > served  # another call was answered meanwhile: only this trial failed
        return True

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


def _keep_alive(url: str) -> dict[str, int]:
    """What to say about connections to a host, unless the URL says anything of it."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        return {}  # told in better words when it is used
    return {} if any(name in given for name in (*_KEEP_ALIVE, "keepalives")) else _KEEP_ALIVE


__all__ = ["Connection", "Database", "DatabaseBusyError", "DatabaseUnavailableError", "rows", "values"]
