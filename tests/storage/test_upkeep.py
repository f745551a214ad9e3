"""The upkeep of the queue: partitions ahead, and what is past retention leaves."""

import pytest

from storage.database import Database
from storage.upkeep import Retention, device_report, upkeep


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
    await upkeep(database, Retention(outcome_days=30, dead_device_days=7))
    await upkeep(database, Retention(outcome_days=30, dead_device_days=7))
    names = await database.values(
        b"select relname::text from pg_class where relname ~ '^outcomes_[0-9]{8}$' order by 1", {}
    )
    assert len(names) == 8, "today and the week ahead"
    assert names[0][0] > "outcomes_20200101"


@pytest.mark.usefixtures("pushes")
async def test_finished_pushes_leave_and_running_ones_stay(database: Database) -> None:
    await upkeep(database, Retention(outcome_days=30, dead_device_days=7))
    assert await count(database, b"pushes where state = 'sending'") == 1
    assert await count(database, b"pushes where state = 'done'") == 1


async def test_long_dead_devices_leave(database: Database) -> None:
    for state, days in (("dead", 8), ("dead", 6), ("active", 100)):
        await database.execute(
            b"insert into devices (id, provider, platform, token, state, updated_at) values (gen_random_uuid(), 'apns',"
            b" 'ios', md5(random()::text), %(state)s, now() - make_interval(days => %(days)s))",
            {"state": state, "days": days},
        )
    await upkeep(database, Retention(outcome_days=30, dead_device_days=7))
    assert await count(database, b"devices") == 2


async def test_old_receipts_leave(database: Database) -> None:
    for days in (31, 29):
        await database.execute(
            b"insert into receipts values ('a', 'delivered', %(device)s, '', now() - make_interval(days => %(days)s))",
            {"device": str(days), "days": days},
        )
    await upkeep(database, Retention(outcome_days=30, dead_device_days=7))
    assert await count(database, b"receipts") == 1


async def test_one_process_at_a_time_does_the_upkeep(database: Database) -> None:
    async with database.connection() as other:
        await other.execute(b"select pg_advisory_lock(hashtext('tocsin.upkeep'))")
        await upkeep(database, Retention(outcome_days=30, dead_device_days=7))
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
    await upkeep(database, Retention(outcome_days=30, dead_device_days=7))
    assert await count(database, b"devices where state = 'failing'") == left


async def add_devices(database: Database, days: int, devices: int = 1, **columns: object) -> None:
    """Devices that registered so many days ago."""
    values = {"provider": "fcm", "platform": "android", "state": "active"} | columns
    await database.execute(
        b"insert into devices (id, provider, platform, token, state, registered_at) select gen_random_uuid(),"
        b" %(provider)s, %(platform)s, md5(random()::text), %(state)s, now() - make_interval(days => %(days)s)"
        b" from generate_series(1, %(devices)s)",
        values | {"days": days, "devices": devices},
    )


async def test_devices_stay_however_long_they_are_silent_unless_it_is_set(database: Database) -> None:
    await add_devices(database, 3000)
    await upkeep(database, Retention())
    assert await count(database, b"devices") == 1


async def test_stale_devices_leave_with_their_topics(database: Database) -> None:
    for days in (59, 61):
        await add_devices(database, days)
    await database.execute(b"insert into device_topics select 'news', id from devices", {})
    await upkeep(database, Retention(stale_device_days=60))
    assert await count(database, b"devices where registered_at > now() - interval '60 days'") == 1
    assert await count(database, b"devices") == 1
    assert await count(database, b"device_topics") == 1


async def test_a_stale_device_that_somebody_is_changing_stays_for_now(database: Database) -> None:
    await add_devices(database, 61, devices=2)
    async with database.transaction() as other:
        await other.execute(b"select from devices order by id limit 1 for update")
        await upkeep(database, Retention(stale_device_days=60))
    assert await count(database, b"devices") == 1


async def test_many_devices_are_swept_page_by_page(database: Database) -> None:
    await add_devices(database, 100, devices=5000)
    await add_devices(database, 10, devices=5001)
    await upkeep(database, Retention(stale_device_days=60))
    assert await count(database, b"devices") == 5001
    assert [(line.age_days, line.devices) for line in await device_report(database)] == [(0, 5001)]


async def test_devices_are_counted_by_kind_and_by_how_long_they_are_silent(database: Database) -> None:
    for days, devices in ((0, 3), (29, 1), (31, 2), (61, 1), (269, 1), (271, 4)):
        await add_devices(database, days, devices)
    await add_devices(database, 300, 2, provider="apns", platform="ios", state="dead")
    await upkeep(database, Retention())
    found = [(r.provider, r.platform, r.state, r.age_days, r.devices) for r in await device_report(database)]
    assert found == [
        ("apns", "ios", "dead", 270, 2),
        ("fcm", "android", "active", 0, 4),
        ("fcm", "android", "active", 30, 2),
        ("fcm", "android", "active", 60, 2),
        ("fcm", "android", "active", 270, 4),
    ]


async def test_devices_are_counted_once_an_hour(database: Database) -> None:
    await add_devices(database, 1)
    await upkeep(database, Retention())
    await add_devices(database, 1)
    await upkeep(database, Retention())
    assert [line.devices for line in await device_report(database)] == [1]
    await database.execute(b"update device_report set counted_at = now() - interval '1 hour'", {})
    await upkeep(database, Retention())
    assert [line.devices for line in await device_report(database)] == [2]


async def test_outcomes_that_have_no_partition_leave_as_well(database: Database) -> None:
    for days in (32, 29):
        await database.execute(
            b"insert into outcomes (push_id, batch_id, provider, credential, environment, attempt, started_at,"
            b" settled_at, message_ids, positions, outcomes, reasons, statuses) select gen_random_uuid(), 1, 'fcm',"
            b" 'fcm', '', 1, t, t, '', '{}', '{}', '{}', '{}'"
            b" from (select now() - make_interval(days => %(days)s)) s (t)",
            {"days": days},
        )
    await upkeep(database, Retention(outcome_days=30))
    assert await count(database, b"outcomes") == 1
