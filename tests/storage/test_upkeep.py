"""The upkeep of the queue: partitions ahead, and what is past retention leaves."""

import pytest

from storage import queue
from storage.database import Database


@pytest.fixture
async def pushes(database: Database) -> None:
    for state, finished in ((b"done", b"now() - interval '40 days'"), (b"sending", b"null"), (b"done", b"now()")):
        await database.execute(
            b"insert into pushes (id, uid, digest, request, delivery, lane, state, providers, accepted_at, send_at,"
            b" plan_at, finished_at) values (('019a0000-0000-7000-8000-' || substr(md5(random()::text), 1, 12))::uuid,"
            b" md5(random()::text), '', '', 'at_least_once', 1, '%b', '{}', now(), now(), now(), %b)"
            % (state, finished),
            {},
        )


async def count(database: Database, what: bytes) -> int:
    found: int = (await database.values(b"select count(*) from " + what, {}))[0][0]
    return found


async def test_partitions_are_made_ahead_and_dropped_past_retention(database: Database) -> None:
    await database.execute(
        b"create table outcomes_20200101 partition of outcomes for values from ('2020-01-01') to ('2020-01-02')", {}
    )
    await queue.upkeep(database, outcome_days=30, dead_device_days=7)
    await queue.upkeep(database, outcome_days=30, dead_device_days=7)
    names = await database.values(
        b"select relname::text from pg_class where relname ~ '^outcomes_[0-9]{8}$' order by 1", {}
    )
    assert len(names) == 8, "today and the week ahead"
    assert names[0][0] > "outcomes_20200101"


@pytest.mark.usefixtures("pushes")
async def test_finished_pushes_leave_and_running_ones_stay(database: Database) -> None:
    await queue.upkeep(database, outcome_days=30, dead_device_days=7)
    assert await count(database, b"pushes where state = 'sending'") == 1
    assert await count(database, b"pushes where state = 'done'") == 1


async def test_long_dead_devices_leave(database: Database) -> None:
    for state, days in (("dead", 8), ("dead", 6), ("active", 100)):
        await database.execute(
            b"insert into devices (id, provider, platform, token, state, updated_at) values (gen_random_uuid(), 'apns',"
            b" 'ios', md5(random()::text), %(state)s, now() - make_interval(days => %(days)s))",
            {"state": state, "days": days},
        )
    await queue.upkeep(database, outcome_days=30, dead_device_days=7)
    assert await count(database, b"devices") == 2


async def test_old_receipts_leave(database: Database) -> None:
    for days in (31, 29):
        await database.execute(
            b"insert into receipts values ('a', 'delivered', %(device)s, '', now() - make_interval(days => %(days)s))",
            {"device": str(days), "days": days},
        )
    await queue.upkeep(database, outcome_days=30, dead_device_days=7)
    assert await count(database, b"receipts") == 1


async def test_one_process_at_a_time_does_the_upkeep(database: Database) -> None:
    async with database.connection() as other:
        await other.execute(b"select pg_advisory_lock(hashtext('tocsin.upkeep'))")
        await queue.upkeep(database, outcome_days=30, dead_device_days=7)
        assert await count(database, b"pg_class where relname ~ '^outcomes_[0-9]{8}$'") == 0
        await other.execute(b"select pg_advisory_unlock_all()")


@pytest.mark.parametrize(("healthy", "left"), [(8, 0), (7, 2)])
async def test_failing_devices_are_buried_only_while_they_are_few(database: Database, healthy: int, left: int) -> None:
    for state, devices in (("failing", 2), ("active", healthy)):
        await database.execute(
            b"insert into devices (id, provider, platform, token, state, updated_at) select gen_random_uuid(), 'apns',"
            b" 'ios', md5(random()::text), %(state)s, now() - interval '8 days' from generate_series(1, %(devices)s)",
            {"state": state, "devices": devices},
        )
    await queue.upkeep(database, outcome_days=30, dead_device_days=7)
    assert await count(database, b"devices where state = 'failing'") == left
