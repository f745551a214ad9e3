"""In which order the queue serves pushes, and what holds them back: pauses, rates, quotas, devices with too much."""

import asyncio
import time

import msgspec
import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.planner import Audience, Planner, PlannerOptions
from delivery.queues.postgres import PostgresQueue
from storage.credentials import switch
from storage.database import Database
from storage.pushes import accept_devices, accept_planned, cancel, pause, resume
from tests.delivery.arranging import new_push
from tests.delivery.queues.conftest import MakeQueue
from tests.delivery.queues.queue_arranging import ROOM, accept, finished, ledger, register, state

RETRY_LATER = Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=300.0)
TOO_MANY = Outcome(Kind.RETRY, "TooManyRequests", 429, retry_after_seconds=300.0)
BAD_TOKEN = Outcome(Kind.DEAD, "BadDeviceToken", 400, proof_at=time.time() + 3600)
NOBODY = "00000000-0000-0000-0000-000000000000"

pytestmark = pytest.mark.usefixtures("credentials")


async def tokens(queue: PostgresQueue, recipients: int = 10_000) -> list[str]:
    """Claim for this many recipients; the tokens of what was claimed, batch by batch."""
    claims = await queue.claim({"apns": recipients}, [])
    return [b",".join(claim.batch.tokens).decode() for claim in claims]


async def served(queue: PostgresQueue, claims: int) -> str:
    """Claim one batch of one recipient so many times; the first letters of their tokens in the order of service."""
    return "".join([(await tokens(queue, 1))[0][0] for _ in range(claims)])


async def broadcast(database: Database, name: str, devices: int, **changes: object) -> str:
    """Accept a broadcast to this many devices of its own topic; their tokens begin with its name. Its uid."""
    await database.execute(
        b"with d as (insert into devices (id, provider, platform, token, created_at)"
        b" select gen_random_uuid(), 'apns', 'ios', %(name)s || n, now() - interval '1 day'"
        b" from generate_series(1, %(devices)s::int) n returning id)"
        b" insert into device_topics (topic, device_id) select %(name)s, id from d",
        {"name": name, "devices": devices},
    )
    push = new_push(**changes)
    assert await accept_planned(database, push, f'{{"kind": "topics", "topics": ["{name}"]}}', None)
    return push.uid


def planner(database: Database, **options: int) -> Planner:
    return Planner(database, PlannerOptions(**{"page_size": 10, "batch_size": 1} | options), lambda: None)


async def planned(database: Database, **options: int) -> None:
    engine = planner(database, **options)
    while await engine.plan_page():
        pass


async def test_a_later_push_does_not_wait_for_all_of_an_earlier_one(database: Database, queue: MakeQueue) -> None:
    await broadcast(database, "a", 30)
    await planned(database)
    worker = queue()
    assert await served(worker, 6) == "aaaaaa"
    await broadcast(database, "b", 6)
    await planned(database)
    order = await served(worker, 12)
    assert order.count("b") == 6, order
    assert "aaaaa" not in order, "they take turns"


async def test_a_push_that_goes_on_does_not_fall_behind_one_that_came_later(
    database: Database, queue: MakeQueue
) -> None:
    """The queue runs dry between pages: the newcomer begins beside the other, not before all that it had."""
    await broadcast(database, "a", 40)
    engine, worker = planner(database), queue()
    for _ in range(2):
        await engine.plan_page()
        await served(worker, 10)
    await broadcast(database, "b", 40)
    for _ in range(4):
        await engine.plan_page()
    order = await served(worker, 20)
    assert 8 <= order.count("a") <= 12, order


async def test_small_pushes_are_served_in_the_order_of_their_coming(database: Database, queue: MakeQueue) -> None:
    for token in ("aa", "bb", "cc", "dd"):
        await accept(database, token)
    assert await tokens(queue()) == ["aa", "bb", "cc", "dd"]


async def test_the_urgent_lane_goes_first_whatever_waits(database: Database, queue: MakeQueue) -> None:
    for lane, token in ((2, "aa"), (1, "bb"), (0, "cc")):
        await accept(database, token, lane=lane)
    assert await tokens(queue(), 1) == ["cc"]


async def test_a_paused_push_is_not_claimed_until_it_is_resumed(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa", "bb", batch_size=1)
    await accept(database, "cc")
    worker = queue()
    await pause(database, uid)
    assert await tokens(worker) == ["cc"]
    await resume(database, uid)
    assert await tokens(worker) == ["aa", "bb"]


async def test_what_is_in_flight_when_a_push_is_paused_waits_like_the_rest(
    database: Database, queue: MakeQueue
) -> None:
    uid = await accept(database, "aa", "bb")
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await pause(database, uid)
    assert await worker.extend([], [claim.batch.push_id]) == [claim.batch.push_id]
    await worker.settle([finished(claim, {0: Outcome(Kind.RELEASED), 1: Outcome(Kind.RETRY, retry_after_seconds=0.0)})])
    assert await tokens(worker) == []
    assert await ledger(database, uid) == {"planned": 2, "queued": 2}
    await resume(database, uid)
    assert sorted(await tokens(worker)) == ["aa", "bb"]


async def test_a_paused_push_is_not_planned_and_goes_on_where_it_was(database: Database) -> None:
    uid = await broadcast(database, "a", 25)
    engine = planner(database)
    await engine.plan_page()
    await pause(database, uid)
    assert not await engine.plan_page()
    await resume(database, uid)
    await planned(database)
    rows = await database.values(b"select count(*), count(distinct tokens) from batches", {})
    assert rows == [(25, 25)]


async def test_a_paused_push_expires_and_can_be_cancelled(database: Database, queue: MakeQueue) -> None:
    late = await accept(database, "aa", expire_at=time.time() - 1)
    other = await accept(database, "bb")
    for uid in (late, other):
        await pause(database, uid)
    worker = queue()
    [claim] = await worker.claim_ended()
    assert claim.batch.tokens == [b"aa"]
    await cancel(database, other)
    assert await ledger(database, other) == {"planned": 1, "cancelled": 1}
    assert await state(database, other) == "cancelled"


async def test_a_finished_push_is_not_paused(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa")
    worker = queue()
    await worker.settle([finished(claim) for claim in await worker.claim(ROOM, [])])
    await pause(database, uid)
    rows = await database.values(b"select state, paused_at from pushes", {})
    assert rows == [("done", None)]


async def test_a_paced_push_is_set_free_at_its_rate(database: Database, queue: MakeQueue) -> None:
    await broadcast(database, "a", 50, max_rate=100)
    await planned(database, batch_size=500)
    worker = queue()
    assert await tokens(worker) == [], "nothing goes before it is set free"
    freed, paced = await worker.set_free(0.1)
    assert paced == 1
    assert sum(len(batch.split(",")) for batch in await tokens(worker)) in (10, 20), "ten a tenth of a second"
    assert freed <= 2


async def test_what_was_not_sent_of_a_paced_push_does_not_pile_up(database: Database, queue: MakeQueue) -> None:
    await broadcast(database, "a", 50, max_rate=100)
    await planned(database, batch_size=500)
    worker = queue()
    await worker.set_free(0.1)
    await database.execute(b"update push_paces set paid_until = now() - interval '1 hour'", {})
    assert await worker.set_free(0.1) == (0, 1), "what is free already goes first"
    await tokens(worker)
    await worker.set_free(0.1)
    assert sum(len(batch.split(",")) for batch in await tokens(worker)) <= 20, "an hour of silence is not made up for"


async def test_many_who_pump_set_free_no_more_than_one_would(database: Database, queue: MakeQueue) -> None:
    await broadcast(database, "a", 200, max_rate=100)
    await planned(database, batch_size=500)
    workers = [queue() for _ in range(6)]
    await asyncio.gather(*(worker.set_free(0.1) for worker in workers))
    assert sum(len(batch.split(",")) for batch in await tokens(workers[0])) <= 20


async def test_retries_of_a_paced_push_keep_to_its_rate(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa", max_rate=10)
    worker = queue()
    await worker.set_free(0.1)
    [claim] = await worker.claim(ROOM, [])
    await worker.settle([finished(claim, {0: Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=0.0)})])
    assert await tokens(worker) == []
    await database.execute(b"update push_paces set paid_until = now() - interval '1 s'", {})
    await worker.set_free(0.1)
    assert await tokens(worker) == ["aa"]
    assert await ledger(database, uid) == {"planned": 1, "queued": 1}


async def test_a_pushs_rate_is_kept_when_it_is_paused_and_resumed(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, *(f"{n:02}" for n in range(40)), max_rate=10)
    await pause(database, uid)
    worker = queue()
    assert await worker.set_free(0.1) == (0, 1)
    await resume(database, uid)
    assert await tokens(worker) == []


async def quota(database: Database, per_second: float, *, ramp_seconds: float = 0.0) -> None:
    await database.execute(
        b"insert into credential_paces (credential, per_second, ramp_seconds, paid_until)"
        b" values ('apns', %(rate)s, %(ramp)s, now())",
        {"rate": per_second, "ramp": ramp_seconds},
    )


async def test_a_credential_with_a_quota_is_claimed_for_a_tenth_of_a_second_ahead(
    database: Database, queue: MakeQueue
) -> None:
    await quota(database, 100.0)
    await accept(database, *(f"{n:03}" for n in range(100)), batch_size=1)
    worker, other = queue(), queue()
    assert 10 <= len(await tokens(worker)) <= 21
    await database.execute(b"update credential_paces set paid_until = now() + interval '1 minute'", {})
    assert await tokens(other) == [], "the quota is that of all workers together"


async def test_urgent_pushes_do_not_wait_for_the_quota_but_count(database: Database, queue: MakeQueue) -> None:
    await quota(database, 10.0)
    await accept(database, *(f"{n:03}" for n in range(100)), lane=2)
    worker = queue()
    assert len(await tokens(worker)) == 1
    await accept(database, "ff", lane=0)
    assert await tokens(worker) == ["ff"]
    rows = await database.values(b"select extract(epoch from paid_until - now()) > 9 from credential_paces", {})
    assert rows == [(True,)]


async def test_after_a_silence_a_quota_is_ramped_up(database: Database, queue: MakeQueue) -> None:
    await quota(database, 10_000.0, ramp_seconds=60.0)
    await database.execute(b"update credential_paces set paid_until = now() - interval '1 hour'", {})
    await accept(database, *(f"{n:04}" for n in range(3000)), batch_size=10)
    worker = queue()
    assert len(await tokens(worker)) * 10 <= 120, "a twentieth of the rate at first"
    await database.execute(b"update credential_paces set ramped_from = now() - interval '30 s', paid_until = now()", {})
    # of a tenth of a second, and of what passed since then: a fifth at the most
    assert 400 <= len(await tokens(worker)) * 10 <= 1010, "half of it after half of the time"


async def test_other_credentials_do_not_wait_for_one_with_a_quota(database: Database, queue: MakeQueue) -> None:
    await quota(database, 1.0)
    await accept(database, *(f"{n:03}" for n in range(20)), batch_size=1)
    await accept(database, "ff", provider_id="other")
    claims = await queue().claim(ROOM, [])
    assert [claim.batch.tokens for claim in claims if claim.batch.credential == "other"] == [[b"ff"]]


async def test_a_device_that_had_too_much_is_left_alone_by_other_pushes(database: Database, queue: MakeQueue) -> None:
    device, other = await register(database, "aa"), await register(database, "bb")
    await accept_devices(database, new_push(), [device], None, 500)
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await worker.settle([finished(claim, {0: TOO_MANY})])
    await accept_devices(database, new_push(), [device, other], None, 500)
    assert await tokens(worker) == ["bb"]
    rows = await database.values(b"select due_at > now() + interval '290 s' from batches where claimed_by is null", {})
    assert rows == [(True,), (True,)]


async def two_environments(database: Database) -> None:
    await database.execute(
        b'update credentials set settings = \'{"bundle_id": "com.example"}\','
        b" environment = case provider_id when 'apns' then 'production' else 'sandbox' end",
        {},
    )


async def test_a_bad_token_is_tried_once_in_the_other_environment(database: Database, queue: MakeQueue) -> None:
    await two_environments(database)
    device = await register(database, "aa")
    push = new_push()
    await accept_devices(database, push, [device], None, 500)
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await worker.settle([finished(claim, {0: BAD_TOKEN})])
    [second] = await worker.claim(ROOM, [])
    assert (second.batch.credential, second.batch.environment, second.batch.second_try) == ("other", "sandbox", True)
    await worker.settle([finished(second)])
    assert await ledger(database, push.uid) == {"planned": 1, "accepted": 1}
    rows = await database.values(b"select state, environment, provider_id from devices", {})
    assert rows == [("active", "sandbox", "other")], "it is at home there"


async def test_a_token_that_neither_environment_knows_fails(database: Database, queue: MakeQueue) -> None:
    await two_environments(database)
    device = await register(database, "aa")
    push = new_push()
    await accept_devices(database, push, [device], None, 500)
    worker = queue()
    for _ in range(2):
        [claim] = await worker.claim(ROOM, [])
        await worker.settle([finished(claim, {0: BAD_TOKEN})])
    assert await ledger(database, push.uid) == {"planned": 1, "failed": 1}
    rows = await database.values(b"select state, environment, provider_id from devices", {})
    assert rows == [("failing", "", "")]


async def test_without_another_environment_a_bad_token_fails_at_once(database: Database, queue: MakeQueue) -> None:
    device = await register(database, "aa")
    push = new_push()
    await accept_devices(database, push, [device], None, 500)
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await worker.settle([finished(claim, {0: BAD_TOKEN})])
    assert await ledger(database, push.uid) == {"planned": 1, "failed": 1}


async def test_devices_buried_for_the_reason_of_a_pause_are_taken_back(database: Database, queue: MakeQueue) -> None:
    device = await register(database, "aa")
    await database.execute(
        b"update devices set state = 'dead', failing_reason = 'Unregistered', updated_at = now()", {}
    )
    worker = queue()

    await worker.pause("apns", Pause("trouble"), "Unregistered", version=1, again=False)
    assert await database.values(b"select id::text, state from devices", {}) == [(device, "failing")]


async def test_a_slow_credential_does_not_keep_a_push_from_the_others(database: Database, queue: MakeQueue) -> None:
    """Half of a broadcast is for a credential that takes nothing; the other half is planned all the same."""
    await broadcast(database, "a", 400)
    await database.execute(b"update devices set provider_id = 'other' where token like '%%0' or token like '%%5'", {})
    await database.execute(
        b"update credentials set provider = 'fcm', is_default = true where provider_id = 'other'", {}
    )
    await database.execute(b"update devices set provider = 'fcm', provider_id = '' where provider_id = 'other'", {})
    await database.execute(b"update pushes set providers = '{apns,fcm}'", {})
    engine, worker = planner(database, ahead_batches=20), queue()
    sent = 0
    while await engine.plan_page():
        claims = await worker.claim({"apns": 10_000}, [])
        sent += len(claims)
        await worker.settle([finished(claim) for claim in claims])
    assert sent == 320


async def test_an_expiring_retry_is_recorded_as_it_was(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa", expire_at=time.time() + 100)
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await worker.settle([finished(claim, {0: RETRY_LATER})])
    assert await ledger(database, uid) == {"planned": 1, "expired": 1}


def test_the_audience_of_older_releases_is_read_as_it_was_meant() -> None:
    audience = msgspec.json.decode(b'{"kind":"topics","topics":["a"]}', type=Audience)
    assert audience.parameters(0.0)["drive"] == ["a"]
    assert audience.parameters(0.0)["topics"] is None


async def test_a_new_token_goes_back_to_the_environment_of_its_device(database: Database, queue: MakeQueue) -> None:
    """The first token was on its way in the other environment when the device brought another one."""
    await two_environments(database)
    device = await register(database, "aa")
    push = new_push()
    await accept_devices(database, push, [device], None, 500)
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await worker.settle([finished(claim, {0: BAD_TOKEN})])
    [second] = await worker.claim(ROOM, [])
    await database.execute(b"update devices set token = 'bb'", {})
    await worker.settle(
        [finished(second, {0: Outcome(Kind.RETRY, "InternalServerError", 500, retry_after_seconds=0.0)})]
    )
    [third] = await worker.claim(ROOM, [])
    found = (third.batch.tokens, third.batch.credential, third.batch.environment, third.batch.second_try)
    assert found == ([b"bb"], "apns", "production", False)


async def test_a_cancelled_push_says_nothing_of_a_token_that_could_be_at_home_elsewhere(
    database: Database, queue: MakeQueue
) -> None:
    await two_environments(database)
    device = await register(database, "aa")
    push = new_push()
    await accept_devices(database, push, [device], None, 500)
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await cancel(database, push.uid)
    await worker.settle([finished(claim, {0: BAD_TOKEN})])
    assert await database.values(b"select state from devices", {}) == [("active",)]


async def test_that_an_attempt_may_have_arrived_is_kept_when_its_device_has_left(
    database: Database, queue: MakeQueue
) -> None:
    device = await register(database, "aa")
    push = new_push()
    await accept_devices(database, push, [device], None, 500)
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await database.execute(b"delete from devices", {})
    await worker.settle([finished(claim, {0: Outcome(Kind.UNKNOWN, "ConnectionLost")})])
    assert await database.values(b"select outcomes, reasons from outcomes", {}) == [
        (["suppressed"], ["ConnectionLost"])
    ]


async def test_a_paced_push_is_not_let_go_into_a_pause(database: Database, queue: MakeQueue) -> None:
    await accept(database, *(f"{n:02}" for n in range(40)), max_rate=100)
    worker = queue()
    await worker.pause("apns", Pause("throttle", seconds=300.0), "QUOTA_EXCEEDED", version=None, again=False)
    for _ in range(3):
        await database.execute(b"update push_paces set paid_until = now()", {})
        assert await worker.set_free(0.1) == (0, 1)


async def test_nothing_is_claimed_or_planned_for_a_credential_that_is_off(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa")
    await switch(database, provider_id="apns", app=None, enabled=False)
    worker = queue()
    assert await tokens(worker) == []
    device = await register(database, "bb")
    push = new_push()
    await accept_devices(database, push, [device], None, 500)
    assert await state(database, push.uid) == "done"
    await switch(database, provider_id="apns", app=None, enabled=True)
    assert await tokens(worker) == ["aa"]


async def test_a_new_quota_holds_at_once(database: Database, queue: MakeQueue) -> None:
    worker = queue()
    for n in range(4):
        await accept(database, *(f"{n}{m:04x}" for m in range(400)), batch_size=20)
    assert len(await tokens(worker, 20)) == 1
    await quota(database, 1.0)
    claimed = [await tokens(worker) for _ in range(6)]
    assert sum(map(len, claimed)) == 1, "one batch, and twenty seconds are paid for"
    assert await tokens(queue()) == []


async def test_urgent_pushes_alone_are_paid_as_well(database: Database, queue: MakeQueue) -> None:
    await quota(database, 10.0)
    await accept(database, *(f"{m:04x}" for m in range(50)), lane=0)
    await accept(database, "aaaa")
    worker = queue()
    claims = await worker.claim(ROOM, [], only_urgent=True)
    assert sum(len(claim.batch.tokens) for claim in claims) == 50
    assert await tokens(worker) == [], "five seconds are paid for"


async def test_a_credential_that_is_corrected_during_a_settlement_lets_go_of_no_device(
    database: Database, queue: MakeQueue
) -> None:
    device = await register(database, "aa")
    await accept_devices(database, push := new_push(), [device], None, 500)
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    refused = Outcome(Kind.DEAD, "DeviceTokenNotForTopic", 400, proof_at=time.time() + 3600)
    waiting = b"select 1 from pg_locks where locktype = 'transactionid' and not granted"
    async with asyncio.TaskGroup() as group, database.transaction() as correction:
        await correction.execute(b"update credentials set version = 2 where provider_id = 'apns'")
        settling = group.create_task(worker.settle([finished(claim, {0: refused})]))
        async with asyncio.timeout(10):
            while not await database.values(waiting, {}):
                assert not settling.done(), "it waits for the correction"
    assert await database.values(b"select state from devices", {}) == [("active",)]
    assert await ledger(database, push.uid) == {"planned": 1, "queued": 1}
