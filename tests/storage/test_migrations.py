"""The migrations runner, on real databases."""

import asyncio

import pytest
from psycopg.errors import SyntaxError as SqlSyntaxError

from storage import migrations
from storage.database import Database
from storage.migrations import MigrationError, migration

_FIRST = migration(1, "first", b"create table fruits (name text); insert into fruits values ('fig');")
_SECOND = migration(2, "second", b"create table nuts (name text);")
_BROKEN = migration(2, "broken", b"create table nuts (name text); create tabel;")


async def _tables(database: Database) -> set[str]:
    query = b"select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    return {name for (name,) in await database.values(query, {})}


async def test_a_new_database_gets_every_migration_in_order(empty_database_url: str) -> None:
    async with Database(empty_database_url) as database:
        done = await migrations.apply(database)
        assert [step.version for step in done] == [step.version for step in migrations.available()]
        assert await migrations.current(database) == len(done)


async def test_a_second_run_applies_nothing(database: Database) -> None:
    assert await migrations.apply(database) == []


async def test_pending_names_what_is_missing_and_changes_nothing(empty_database_url: str) -> None:
    async with Database(empty_database_url) as database:
        missing = await migrations.pending(database)
        assert missing == list(migrations.available())
        assert await migrations.current(database) == 0
        assert await _tables(database) == set()


async def test_only_the_migrations_that_are_missing_are_applied(empty_database_url: str) -> None:
    async with Database(empty_database_url) as database:
        await migrations.apply(database, [_FIRST])
        assert await migrations.apply(database, [_FIRST, _SECOND]) == [_SECOND]


async def test_a_migration_that_fails_leaves_nothing_of_itself(empty_database_url: str) -> None:
    async with Database(empty_database_url) as database:
        with pytest.raises(SqlSyntaxError):
            await migrations.apply(database, [_FIRST, _BROKEN])
        assert await migrations.current(database) == 1
        assert await _tables(database) == {"fruits", "schema_migrations"}


async def test_a_database_newer_than_the_program_is_refused(empty_database_url: str) -> None:
    async with Database(empty_database_url) as database:
        await migrations.apply(database, [_FIRST, _SECOND])
        with pytest.raises(MigrationError, match=r"newer than this program.*0002 \(second\)"):
            await migrations.apply(database, [_FIRST])


async def test_a_migration_changed_after_it_was_applied_is_refused(empty_database_url: str) -> None:
    async with Database(empty_database_url) as database:
        await migrations.apply(database, [_FIRST])
        changed = migration(1, "first", b"create table figs ();")
        with pytest.raises(MigrationError, match=r"0001 \(first\) was changed"):
            await migrations.pending(database, [changed, _SECOND])


async def test_starters_at_the_same_time_apply_each_migration_once(empty_database_url: str) -> None:
    async with Database(empty_database_url) as one, Database(empty_database_url) as two:
        done = await asyncio.gather(*(migrations.apply(each, [_FIRST, _SECOND]) for each in (one, two, one, two)))
        assert sorted(step.version for steps in done for step in steps) == [1, 2]
        assert await one.values(b"select name from fruits", {}) == [("fig",)]


async def test_the_record_of_a_migration_holds_its_checksum_and_time(empty_database_url: str) -> None:
    async with Database(empty_database_url) as database:
        await migrations.apply(database, [_FIRST])
        (row,) = await migrations.applied(database)
        assert (row.version, row.name, row.checksum) == (1, "first", _FIRST.checksum)
        assert row.applied_at > 1_700_000_000


def test_the_files_are_numbered_one_by_one() -> None:
    numbers = [step.version for step in migrations.available()]
    assert numbers == list(range(1, len(numbers) + 1))
