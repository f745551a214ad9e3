"""What removing a user takes out of the queue and the record, and what it leaves as it was."""

import asyncio
import time

import pytest

from delivery.outcomes import Kind, Outcome
from storage import user_removal, users
from storage.database import Database
from storage.ids import new_id
from storage.user_removal import Removed
from tests.methods.explaining import RETRY_LATER, ROOM, a_worker, add_credentials, finished, push_to, work
from tests.storage.removals import NOBODY, add, ledger, named, queued, remove

_SENT = b"""
insert into outcomes (push_id, page, batch_id, provider, credential, environment, attempt, started_at, device_ids,
                      message_ids, positions, outcomes, reasons, statuses)
select id, %(page)s::uuid, 1, 'apns', 'apns', '', 1, now(), %(ids)s::uuid[], '', '{}', '{}', '{}', '{}'
from pushes where uid = %(uid)s
"""
_WAITING = b"""
insert into batches (push_id, page, provider, credential, lane, due_at, recipient_count, device_ids, tokens)
select id, %(page)s::uuid, 'apns', 'apns', 1, now(), cardinality(%(ids)s::uuid[]), %(ids)s::uuid[],
       array_to_string(%(ids)s::uuid[], E'\\n')
from pushes where uid = %(uid)s
"""
NOTHING = Removed(0, 0, 0, 0, 0, 0, 0)


@pytest.fixture(autouse=True)
async def credentials(database: Database) -> None:
    await add_credentials(database)


async def test_an_unknown_user_is_nothing_to_remove(database: Database) -> None:
    assert await remove(database) == NOTHING


async def test_what_has_the_name_of_the_user_goes_and_that_of_others_stays(database: Database) -> None:
    for user in ("ann", "bob"):
        device = await add(database, user)
        await database.execute(
            b"insert into user_topics (user_id, topic) values (%(u)s, 'a'), (%(u)s, 'b')", {"u": user}
        )
        await users.update_preferences(database, user, level="high")
        await users.set_presence(database, user, time.time() + 60, time.time())
        await users.change_badge(database, user, "add", 1)
        await database.execute(
            b"insert into receipts (analytics_uid, status, device_id) values"
            b" ('p', 'delivered', %(d)s::text), ('p', 'interacted', upper(%(d)s::text)), ('p', 'delivered', '')"
            b" on conflict do nothing",
            {"d": device},
        )
    assert await remove(database) == Removed(1, 0, 2, 1, 1, 1, 2)
    assert await remove(database) == NOTHING
    assert await remove(database, "bob") == Removed(1, 0, 2, 1, 1, 1, 2)


async def test_devices_leave_the_batches_that_wait_and_the_ledger_sums(database: Database) -> None:
    bob, cid = await add(database, "bob"), await add(database, "cid")
    ann = [await add(database, "ann") for _ in range(2)]
    mixed, alone = await push_to(database, bob, ann[0], cid, ann[1]), await push_to(database, *ann)
    assert (await remove(database)).suppressed == 4
    assert await queued(database) == [([bob, cid], [f"token of {bob}", f"token of {cid}"])]
    assert (await ledger(database, mixed))["state"] == "sending"
    assert await ledger(database, alone) == {
        "state": "done",
        "planned": 2,
        "settled": 2,
        "l_planned": 2,
        "accepted": 0,
        "failed": 0,
        "suppressed": 2,
        "finished": True,
        "waiting": 0,
    }
    reasons = await database.values(b"select outcome, reason, count from push_reasons order by count", {})
    assert reasons == [("suppressed", "DeviceRemoved", 2)] * 2
    await work(database)
    found = await ledger(database, mixed)
    assert (found["state"], found["accepted"], found["suppressed"]) == ("done", 2, 2)


async def test_what_is_said_of_recipients_stays_beside_its_recipient(database: Database) -> None:
    devices = [await add(database, user) for user in ("ann", "bob", "ann", "cid")]
    await push_to(database, *devices, needs=["user"])
    await remove(database)
    (row,) = await database.values(b"select device_ids::text[], attributes from batches", {})
    assert dict(zip(row[0], [each["user"] for each in row[1]], strict=True)) == {devices[1]: "bob", devices[3]: "cid"}


async def test_a_batch_in_flight_keeps_its_places_and_its_outcome_names_nobody(database: Database) -> None:
    ann, bob = await add(database, "ann"), await add(database, "bob")
    uid = await push_to(database, ann, bob)
    worker = a_worker(database)
    (claim,) = await worker.claim(ROOM, [])
    assert (await remove(database)).suppressed == 0
    await worker.settle([finished(claim, {0: RETRY_LATER, 1: RETRY_LATER})])
    found = await ledger(database, uid)
    assert (found["suppressed"], found["waiting"]) == (1, 1)
    assert [ids for ids, _ in await queued(database)] == [[bob]]
    assert await named(database, ann) == 0


async def test_the_record_keeps_its_numbers_and_names_nobody(database: Database) -> None:
    ann, others = await add(database, "ann"), [await add(database, "bob") for _ in range(60)]
    failed = Outcome(Kind.FAILED, "BadTopic", 400)
    for size in (0, 1, 49, 60):
        await push_to(database, ann, *others[:size])
        await work(database, failed)
    await push_to(database, *others)
    await work(database)
    before = await database.values(
        b"select sum(cardinality(device_ids)), sum(cardinality(positions)) from outcomes", {}
    )
    removed = await remove(database)
    assert (removed.outcomes, removed.suppressed) == (4, 0)
    assert await named(database, ann) == 0
    after = await database.values(b"select sum(cardinality(device_ids)), sum(cardinality(positions)) from outcomes", {})
    assert after == before
    rows = await database.values(
        b"select array_positions(device_ids, %(nobody)s::uuid) is not null, count(*) from outcomes"
        b" where %(nobody)s::uuid = any (device_ids) group by 1",
        {"nobody": NOBODY},
    )
    assert rows == [(True, 4)]
    found = await database.values(b"select examples::text[] from push_reasons where cardinality(examples) = 0", {})
    assert len(found) == 1, "where the device was alone, nobody stands for the others"


async def test_devices_are_found_on_their_pages_of_broad_pushes(database: Database) -> None:
    others = [f"01970000-0000-7000-8000-{n:012x}" for n in range(0, 400, 2)]
    for device in others:
        await add(database, "bob", id=device)
    ann = [f"01970000-0000-7000-8000-{n:012x}" for n in (1, 201, 399)]  # one a page
    for device in ann:
        await add(database, "ann", id=device)
    uid = await push_to(database, *sorted(others + ann))
    everyone = sorted(others + ann)
    await database.execute(b"delete from batches", {})
    for first in (
        0,
        100,
        200,
    ):  # as planning in pages of a hundred leaves it, with the first two sent, and both waiting
        page = {"uid": uid, "page": everyone[first - 1] if first else NOBODY, "ids": everyone[first : first + 100]}
        if first < 200:
            await database.execute(_SENT, page)
        await database.execute(_WAITING, page)
    removed = await remove(database)
    assert (removed.devices, removed.suppressed, removed.outcomes) == (3, 3, 2)
    assert [await named(database, device) for device in ann] == [0, 0, 0]
    assert sorted(device for ids, _ in await queued(database) for device in ids) == others
    assert (await ledger(database, uid))["suppressed"] == 3


async def test_a_device_on_which_others_are_logged_in_stays_theirs(database: Database) -> None:
    main, further = await add(database, "ann", "bob", "cid"), await add(database, "bob", "ann")
    for user, topic in (("ann", "only ann's"), ("ann", "shared"), ("bob", "shared")):
        await database.execute(
            b"insert into user_topics (user_id, topic) values (%(u)s, %(t)s)", {"u": user, "t": topic}
        )
    await database.execute(
        b"insert into device_topics (topic, device_id)"
        b" select t, %(d)s from unnest(array['only ann''s', 'shared', 'own']) t",
        {"d": main},
    )
    uid = await push_to(database, main, further)
    removed = await remove(database)
    assert (removed.devices, removed.shared_devices, removed.topics, removed.suppressed) == (0, 2, 2, 0)
    found = await database.values(b"select id::text, user_id, accounts from devices order by id", {})
    assert found == sorted([(main, "bob", ["cid"]), (further, "bob", [])])
    assert await database.values(b"select topic from device_topics order by 1", {}) == [("own",), ("shared",)]
    assert (await ledger(database, uid))["waiting"] == 2
    assert await database.values(b"select count(*) from user_removals", {}) == [(0,)]


async def test_what_waits_for_the_user_alone_leaves_a_shared_device(database: Database) -> None:
    device = await add(database, "bob", "ann")
    for account in ("ann", "bob"):
        await push_to(database, device)
        await database.execute(
            b"update batches set attributes = jsonb_build_array(jsonb_build_object('account', %(a)s::text))"
            b" where attributes is null",
            {"a": account},
        )
    assert (await remove(database)).suppressed == 1
    assert await database.values(b"select attributes -> 0 ->> 'account' from batches", {}) == [("bob",)]


async def test_a_removal_that_was_interrupted_goes_on_when_it_is_called_again(database: Database) -> None:
    ann, bob = await add(database, "ann"), await add(database, "bob")
    await push_to(database, ann, bob)
    await work(database)
    await push_to(database, ann, bob)
    async with database.transaction() as connection:  # what a crash after the first transaction leaves
        await connection.execute(b"insert into user_removals values ('ann', %(id)s, true)", {"id": ann})
        await connection.execute(b"delete from devices where id = %(id)s", {"id": ann})
    assert await user_removal.unfinished(database, 60, 10) == []
    assert await user_removal.unfinished(database, -1, 10) == ["ann"]
    removed = await remove(database)
    assert (removed.devices, removed.suppressed, removed.outcomes) == (0, 1, 1)
    assert await named(database, ann) == 0
    assert await user_removal.unfinished(database, -1, 10) == []


async def test_a_device_that_came_back_under_its_id_keeps_its_queue(database: Database) -> None:
    device = await add(database, "bob")
    await database.execute(b"insert into user_removals values ('ann', %(id)s, true)", {"id": device})
    uid = await push_to(database, device)
    assert (await remove(database)).suppressed == 0
    assert (await ledger(database, uid))["waiting"] == 1


async def test_sync_tokens_of_the_user_end(database: Database) -> None:
    await user_removal.remove(database, "ann", 1_795_000_000.0)
    found = await database.values(b"select user_id, extract(epoch from issued_before)::int from sync_token_limits", {})
    assert found == [("ann", 1_795_000_000)]


async def test_a_push_that_is_being_accepted_is_waited_for(database: Database) -> None:
    ann = await add(database, "ann")
    async with database.connection() as accepting:
        await accepting.execute(b"begin isolation level repeatable read")
        await accepting.execute(b"select count(*) from devices")  # its snapshot has the device
        removing = asyncio.create_task(remove(database))
        async with asyncio.timeout(10):
            while await database.values(b"select 1 from devices", {}):
                pass
        assert not removing.done()
        await accepting.execute(
            b"with p as (insert into pushes (id, uid, digest, request, delivery, lane, state, providers, accepted_at,"
            b" send_at, plan_at, planned) values (%(id)s, 'p', '', '', 'at_least_once', 1, 'sending', '{apns}', now(),"
            b" now(), now(), 1) returning id), l as (insert into push_ledger (push_id, provider, planned)"
            b" select id, 'apns', 1 from p) insert into batches (push_id, provider, credential, lane, due_at,"
            b" recipient_count, device_ids, tokens) select id, 'apns', 'apns', 1, now(), 1, array[%(ann)s::uuid], 't'"
            b" from p",
            {"id": new_id(), "ann": ann},
        )
        await accepting.execute(b"commit")
    async with asyncio.timeout(10):
        assert (await removing).suppressed == 1
    assert await queued(database) == []


async def test_removals_and_a_sender_at_the_same_time_leave_a_ledger_that_sums(database_url: str) -> None:
    async with Database(database_url, max_connections=8) as database:
        devices = {user: [await add(database, user) for _ in range(3)] for user in "abcdef"}
        everyone = [device for owned in devices.values() for device in owned]
        uids = [await push_to(database, *everyone, batch_size=5) for _ in range(8)]

        async def send() -> None:
            worker = a_worker(database)
            while claims := await worker.claim({"apns": 5}, []):
                await worker.settle([finished(claim, {0: Outcome(Kind.FAILED, "BadTopic", 400)}) for claim in claims])

        async with asyncio.TaskGroup() as tasks:
            for user in "abcd":
                tasks.create_task(user_removal.remove(database, user, time.time()))
            for _ in range(2):
                tasks.create_task(send())
        await send()
        for uid in uids:
            found = await ledger(database, uid)
            assert (found["state"], found["planned"], found["waiting"]) == ("done", 18, 0)
        assert [await named(database, device) for user in "abcd" for device in devices[user]] == [0] * 12
