"""Brings the database to the schema that this code expects: numbered SQL files, forward only, one transaction each."""

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

import msgspec

from storage.database import Connection, Database, rows, values
from storage.queries import load

_QUERIES = load("migrations")
_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")


class MigrationError(Exception):
    """The database and the migrations of this code do not fit together; the text says what to do."""


class Migration(msgspec.Struct, frozen=True):
    """A file `sql/migrations/<version>_<name>.sql`; `checksum` is the SHA-256 of its bytes in hex."""

    version: int
    name: str
    checksum: str
    statements: bytes


class AppliedMigration(msgspec.Struct, frozen=True):
    """A row of `schema_migrations`; `applied_at` in Unix seconds."""

    version: int
    name: str
    checksum: str
    applied_at: float


def migration(version: int, name: str, statements: bytes) -> Migration:
    """Build a migration, with the checksum of its statements."""
    return Migration(version, name, hashlib.sha256(statements).hexdigest(), statements)


def available() -> tuple[Migration, ...]:
    """Read the migrations of this code, in order; MigrationError when their numbers are not 1, 2, 3 and so on."""
    named = [(match, file) for file in files("sql.migrations").iterdir() if (match := _FILE_NAME.fullmatch(file.name))]
    found = [migration(int(match[1]), match[2], file.read_bytes()) for match, file in named]
    found.sort(key=lambda each: each.version)
    if [each.version for each in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"the files of sql/migrations are not numbered one by one: {[m.version for m in found]}")
    return tuple(found)


async def applied(database: Database) -> list[AppliedMigration]:
    """What the database has, in order; empty on a new database. Changes nothing."""
    async with database.connection() as connection:
        if not (await values(connection, _QUERIES.table_exists, {}))[0][0]:
            return []
        return await rows(connection, _QUERIES.applied, {}, AppliedMigration)


async def current(database: Database) -> int:
    """Return the version that the database is at, 0 for a new one."""
    return max((each.version for each in await applied(database)), default=0)


async def pending(database: Database, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Return the migrations that the database lacks, in order.

    Raises MigrationError when the database is newer than the code, or was made by files that changed since.
    """
    return _pending(await applied(database), available() if migrations is None else migrations)


async def apply(database: Database, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what is missing; return what this call applied.

    Any number of starters may call it at once: each migration is applied once. Raises MigrationError as `pending`
    does, and the database's own error when a statement fails; that migration is then rolled back whole.
    """
    known = available() if migrations is None else migrations
    done: list[Migration] = []
    while (step := await _apply_next(database, known)) is not None:
        done.append(step)
    return done


async def _apply_next(database: Database, known: Sequence[Migration]) -> Migration | None:
    """Take the turn, then apply the first migration that is missing by then; None when nothing is."""
    async with database.transaction() as connection:
        await connection.execute(_QUERIES.unhurried)
        await connection.execute(_QUERIES.take_turn)
        await connection.execute(_QUERIES.create_table)
        missing = _pending(await rows(connection, _QUERIES.applied, {}, AppliedMigration), known)
        if not missing:
            return None
        await _run(connection, missing[0])
        return missing[0]


async def _run(connection: Connection, step: Migration) -> None:
    # without parameters a text of several statements goes through as it is
    await connection.execute(step.statements)
    await connection.execute(_QUERIES.record, {"version": step.version, "name": step.name, "checksum": step.checksum})


def _pending(present: Sequence[AppliedMigration], known: Sequence[Migration]) -> list[Migration]:
    by_version = {each.version: each for each in known}
    for row in present:
        ours = by_version.pop(row.version, None)
        if ours is None:
            raise MigrationError(
                f"the database is newer than this program: it has migration {row.version:04} ({row.name}), the program "
                f"knows {len(known)}. Start the release that made it, or a later one; nothing was changed"
            )
        if ours.checksum != row.checksum:
            raise MigrationError(
                f"migration {row.version:04} ({row.name}) was changed after it was applied to this database. Restore "
                "the file as released and put the change into a new migration; nothing was changed"
            )
    return sorted(by_version.values(), key=lambda each: each.version)
