"""Several statements in one trip and one transaction: first what locks, then what must see the newest rows."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
from psycopg.rows import kwargs_row

from storage.database import Database, DatabaseUnavailableError, Params

Row = TypeVar("Row")
Statement = tuple[bytes, Params]

_TRIES = 10


class _LostRaceError(Exception):
    """Another transaction was first: what it left is visible at the next try."""


_LOST_RACES = (psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation, psycopg.errors.ForeignKeyViolation)


async def last_rows(
    database: Database, statements: Sequence[Statement], row: Callable[..., Row], *, fresh: bool = False
) -> list[Row]:
    """Run the statements in one transaction, sent together; build `row(**columns)` for each row of the last one.

    Each statement has a snapshot of its own (READ COMMITTED): it sees what was committed while the ones before it
    waited for locks, which parts of a single statement would not. The statements must bear repetition: they are run
    again, up to ten times, when another transaction was first. `fresh` plans them anew with the values at hand.
    """
    for _ in range(_TRIES):
        try:
            return await _run(database, statements, row, prepare=False if fresh else None)
        except _LostRaceError:
            continue
    raise DatabaseUnavailableError("other transactions were first, ten times in a row")


async def _run(
    database: Database, statements: Sequence[Statement], row: Callable[..., Row], *, prepare: bool | None
) -> list[Row]:
    async with database.connection() as connection, connection.cursor(row_factory=kwargs_row(row), binary=True) as last:
        try:
            # Between two Syncs the server makes one implicit transaction of a pipeline: no trips for BEGIN and COMMIT
            async with connection.pipeline():
                for query, params in statements[:-1]:
                    await connection.execute(query, params, prepare=prepare)
                await last.execute(*statements[-1], prepare=prepare)
            return await last.fetchall()
        except psycopg.Error as error:
            # After an error the server skips the rest of the pipeline, and psycopg 3.3 then believes statements to be
            # prepared that are not: the connection is of no further use
            await connection.close()
            if isinstance(error, _LOST_RACES):
                raise _LostRaceError from error
            raise
