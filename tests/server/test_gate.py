"""The gate before the queue: it answers from what it knows, whatever the database does meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from delivery.queues.gate import Gate
from storage.database import Database, DatabaseUnavailableError

_PATIENCE_SECONDS = 20.0
_FILL = """
    insert into credentials (provider_id, provider, is_default, source, settings, secrets)
    values ('fcm', 'fcm', true, 'api', '{}', '')
"""


@asynccontextmanager
async def _locked(url: str, table: str) -> AsyncIterator[None]:
    """Keep everybody else from this table."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(f"lock table {table} in access exclusive mode".encode())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            yield


async def test_a_slow_database_does_not_keep_a_call_waiting_for_the_depth(
    database: Database, database_url: str
) -> None:
    async with Gate(database, 1, interval_seconds=0) as gate:
        assert not await gate.is_full()
        async with _locked(database_url, "batches"):
            assert [await gate.is_full() for _ in range(100)] == [False] * 100


async def test_a_slow_database_does_not_keep_a_full_queue_from_being_told(
    database: Database, database_url: str
) -> None:
    async with Gate(database, 0, interval_seconds=0) as gate:
        assert await gate.is_full()
        async with _locked(database_url, "batches"):
            assert [await gate.is_full() for _ in range(100)] == [True] * 100


async def test_a_slow_database_does_not_keep_a_call_waiting_for_credentials(
    database: Database, database_url: str
) -> None:
    await database.execute(_FILL.encode(), {})
    async with Gate(database, 1, interval_seconds=_PATIENCE_SECONDS) as gate:
        assert await gate.any_configured(["fcm"])
        async with _locked(database_url, "credentials"):
            assert await gate.any_configured(["fcm"])


async def test_a_credential_is_noticed_at_once(database: Database) -> None:
    async with Gate(database, 1, interval_seconds=1000) as gate:
        assert not await gate.any_configured(["fcm"])
        await database.execute(_FILL.encode(), {})
        assert await gate.any_configured(["fcm"])


async def test_a_gate_that_never_knew_says_so(database_url: str) -> None:
    async with Database(database_url) as database:
        gate = Gate(database, 1)
    with pytest.raises(DatabaseUnavailableError):
        await gate.is_full()
    await gate.close()


async def test_a_gate_keeps_its_last_answer_when_the_database_goes(database_url: str) -> None:
    async with Database(database_url) as database:
        gate = Gate(database, 1, interval_seconds=0)
        assert not await gate.is_full()
    assert [await gate.is_full() for _ in range(10)] == [False] * 10
    await gate.close()


async def test_a_closed_gate_opens_by_itself(database: Database) -> None:
    async with Gate(database, 0, interval_seconds=0) as gate:
        assert await gate.is_full()
        gate.most_batches = 1
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await gate.is_full():
                await database.execute(b"select 1", {})
