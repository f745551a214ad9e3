"""The pool: what it gives back, and what its failures are called."""

import asyncio
from contextlib import suppress

import msgspec
import psycopg
import pytest

from storage import provision
from storage.database import Database, DatabaseBusyError, DatabaseUnavailableError
from tests.server.relay import relayed

_INSERT = "insert into receipts (analytics_uid, status, device_id) values ('a', 'delivered', 'd')"
_PATIENCE_SECONDS = 20.0
_NOWHERE = "postgresql://nobody:hunter2@127.0.0.1:1/nothing"


class Fruit(msgspec.Struct):
    name: str
    count: int


async def test_rows_are_built_by_their_columns(database: Database) -> None:
    found = await database.rows(b"select 'fig' as name, 3 as count", {}, Fruit)
    assert found == [Fruit("fig", 3)]


async def test_the_first_row_or_none(database: Database) -> None:
    assert await database.row(b"select 'fig' as name, 3 as count", {}, Fruit) == Fruit("fig", 3)
    assert await database.row(b"select 'fig' as name, 3 as count where false", {}, Fruit) is None


async def test_execute_says_how_many_rows_changed(database: Database) -> None:
    assert await database.execute(_INSERT.encode(), {}) == 1


async def test_a_transaction_is_rolled_back_by_an_exception(database: Database) -> None:
    with suppress(ZeroDivisionError):
        async with database.transaction() as connection:
            await connection.execute(_INSERT)
            raise ZeroDivisionError
    assert await database.values(b"select count(*) from receipts", {}) == [(0,)]


async def test_a_transaction_is_committed_at_its_end(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(_INSERT)
    assert await database.values(b"select count(*) from receipts", {}) == [(1,)]


async def test_a_connection_that_was_cut_is_told_as_unavailable(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await database.values(b"select pg_terminate_backend(pg_backend_pid())", {})


async def test_the_pool_recovers_after_its_connections_were_cut(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await database.values(b"select pg_terminate_backend(pg_backend_pid())", {})
    assert await database.values(b"select 1", {}) == [(1,)]


async def test_a_statement_that_takes_too_long_is_given_up(database_url: str) -> None:
    async with Database(database_url, statement_timeout_seconds=0.05) as database:
        with pytest.raises(DatabaseUnavailableError, match="QueryCanceled"):
            await database.values(b"select pg_sleep(60)", {})


async def test_a_constraint_keeps_its_own_error(database: Database) -> None:
    statement = b"insert into receipts (analytics_uid, status, device_id) values ('a', 'eaten', '')"
    with pytest.raises(psycopg.errors.CheckViolation):
        await database.execute(statement, {})


async def test_every_connection_speaks_utc(database: Database) -> None:
    assert await database.values(b"select current_setting('timezone')", {}) == [("UTC",)]


async def test_the_representation_shows_no_password(database: Database) -> None:
    assert repr(database) == "Database()"


async def test_a_server_that_is_not_there_is_told_in_one_line_without_the_password() -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        await asyncio.to_thread(provision.reach, _NOWHERE)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_url_that_is_none_is_told_without_repeating_it() -> None:
    with pytest.raises(DatabaseUnavailableError, match="not well-formed") as caught:
        await asyncio.to_thread(provision.reach, "hunter2 is no url")
    assert "hunter2" not in str(caught.value)


async def test_reach_tells_the_version(database_url: str) -> None:
    assert await asyncio.to_thread(provision.reach, database_url) >= provision.OLDEST_VERSION


async def test_a_call_that_waits_too_long_for_a_connection_is_told_that_all_are_in_use(database_url: str) -> None:
    async with Database(database_url, max_connections=1, wait_seconds=0.02) as database:
        async with database.connection():
            with pytest.raises(DatabaseBusyError):
                await database.values(b"select 1", {})
        assert await database.values(b"select 1", {}) == [(1,)]


async def test_no_more_calls_than_the_limit_wait_for_a_connection(database_url: str) -> None:
    async with Database(database_url, max_connections=1, max_waiting=3) as database:
        async with database.connection():
            calls = [asyncio.create_task(database.values(b"select 1", {})) for _ in range(10)]
            refused, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert refused
    assert [type(each) for each in found] == [list] * 3 + [DatabaseBusyError] * 7


async def test_a_database_that_is_busy_is_not_taken_for_one_that_is_away(database_url: str) -> None:
    async with Database(database_url, max_connections=1, wait_seconds=0.02, fail_fast=True) as database:
        async with database.connection():
            for _ in range(20):
                with pytest.raises(DatabaseBusyError):
                    await database.values(b"select 1", {})
        assert not database.away


async def test_a_cut_connection_alone_is_not_taken_for_a_database_that_is_away(database_url: str) -> None:
    async with Database(database_url, fail_fast=True) as database:
        with pytest.raises(DatabaseUnavailableError):
            await database.values(b"select pg_terminate_backend(pg_backend_pid())", {})
        assert await database.values(b"select 1", {}) == [(1,)]
        assert not database.away


async def test_a_database_that_was_away_is_used_again_without_one_failing_call(database_url: str) -> None:
    async with relayed(database_url) as relay, Database(relay.url, wait_seconds=0.05, fail_fast=True) as database:
        await relay.cut()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not database.away:
                with suppress(DatabaseUnavailableError):
                    await database.values(b"select 1", {})
            await relay.restore()
            while database.away:
                with pytest.raises(DatabaseUnavailableError, match="away"):
                    await database.values(b"select 1", {})
                await asyncio.sleep(0)
        assert await database.values(b"select 1", {}) == [(1,)]
