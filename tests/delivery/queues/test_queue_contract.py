"""The conformance suite of the queue engines: what any of them must do."""

import time

import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.queues.postgres import PostgresQueue
from storage import queue as storage
from storage.database import Database
from storage.pushes import accept_devices, cancel
from tests.delivery.arranging import new_push
from tests.delivery.queues.conftest import MakeQueue
from tests.delivery.queues.queue_arranging import ROOM, accept, finished, ledger, register, state

RETRY_NOW = Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=0.0)
RETRY_LATER = Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=300.0)


pytestmark = pytest.mark.usefixtures("credentials")


async def test_a_batch_is_claimed_by_one_worker_only(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa", "bb")
    first, second = await queue().claim(ROOM, []), await queue().claim(ROOM, [])
    assert [claim.batch.tokens for claim in first] == [[b"aa", b"bb"]]
    assert second == []


async def test_recipients_are_cut_into_batches(database: Database, queue: MakeQueue) -> None:
    await accept(database, *(f"{n:02x}" for n in range(7)), batch_size=3)
    claims = await queue().claim(ROOM, [])
    assert sorted(len(claim.batch.tokens) for claim in claims) == [1, 3, 3]
    assert len({token for claim in claims for token in claim.batch.tokens}) == 7


async def test_a_claim_takes_no_more_than_there_is_room_for(database: Database, queue: MakeQueue) -> None:
    await accept(database, *(f"{n:02x}" for n in range(9)), batch_size=3)
    claims = await queue().claim({"apns": 4}, [])
    assert [len(claim.batch.tokens) for claim in claims] == [3, 3]


async def test_the_urgent_lane_goes_first(database: Database, queue: MakeQueue) -> None:
    for lane in (2, 1, 0):
        await accept(database, f"0{lane}", lane=lane)
    claims = await queue().claim({"apns": 1}, [])
    assert [claim.batch.lane for claim in claims] == [0]


async def test_a_busy_worker_can_claim_what_is_urgent_alone(database: Database, queue: MakeQueue) -> None:
    for lane in (2, 1, 0):
        await accept(database, f"0{lane}", lane=lane)
    claims = await queue().claim(ROOM, [], only_urgent=True)
    assert [claim.batch.lane for claim in claims] == [0]


async def test_one_credentials_work_is_not_claimed_for_another(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa", provider_id="other")
    assert await queue().claim({"apns": 100}, []) == []
    assert len(await queue().claim({"other": 100}, [])) == 1


async def test_a_settled_batch_leaves_the_queue_and_ends_the_push(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa", "bb")
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    assert await worker.settle([finished(claim)]) == 0
    assert await ledger(database, uid) == {"planned": 2, "accepted": 2}
    assert await state(database, uid) == "done"
    record = await database.values(b"select message_ids, positions from outcomes", {})
    assert record == [(b"id-0\nid-1", [])]


async def test_what_is_to_be_sent_again_becomes_a_smaller_batch(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa", "bb", "cc")
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    await worker.settle([finished(claim, {1: RETRY_NOW})])
    [again] = await worker.claim(ROOM, [])
    assert (again.batch.tokens, again.batch.attempt) == ([b"bb"], 2)
    assert again.batch.first_attempt_at == claim.batch.first_attempt_at
    assert await ledger(database, uid) == {"planned": 3, "accepted": 2, "queued": 1}
    assert await state(database, uid) == "sending"


async def test_a_retry_waits_for_its_time(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa")
    worker = queue()
    await worker.settle([finished(claim, {0: RETRY_LATER}) for claim in await worker.claim(ROOM, [])])
    assert await worker.claim(ROOM, []) == []


async def test_a_retry_that_would_be_too_late_expires(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa", expire_at=time.time() + 100)
    worker = queue()
    await worker.settle([finished(claim, {0: RETRY_LATER}) for claim in await worker.claim(ROOM, [])])
    assert await ledger(database, uid) == {"planned": 1, "expired": 1}


async def test_what_was_not_sent_is_given_back_without_costing_an_attempt(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa")
    worker = queue()
    released = Outcome(Kind.RELEASED, "Released")
    await worker.settle([finished(claim, {0: released}) for claim in await worker.claim(ROOM, [])])
    [again] = await worker.claim(ROOM, [])
    assert again.batch.attempt == 1


async def test_a_lease_that_ends_gives_the_batch_to_the_next_worker(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa")
    dead, heir = queue(lease_seconds=0.0), queue()
    [lost] = await dead.claim(ROOM, [])
    [found] = await heir.claim(ROOM, [])
    assert (lost.batch.abandoned, found.batch.abandoned) == (False, True)
    assert await dead.settle([finished(lost)]) == 1, "the first worker's word no longer counts"
    assert await ledger(database, uid) == {"planned": 1, "queued": 1}
    assert await heir.settle([finished(found)]) == 0
    assert await ledger(database, uid) == {"planned": 1, "accepted": 1}


async def test_a_lease_is_kept_by_extending_it(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa")
    worker = queue(lease_seconds=0.0)
    [claim] = await worker.claim(ROOM, [])
    keeper = PostgresQueue(storage.Queue(database, str(worker._queue._own["worker"]), 60.0))
    await keeper.extend([claim.batch.id], [claim.batch.push_id])
    assert await queue().claim(ROOM, []) == []


async def test_an_unknown_outcome_is_tried_again_unless_at_most_once(database: Database, queue: MakeQueue) -> None:
    again = await accept(database, "aa")
    once = await accept(database, "bb", delivery="at_most_once")
    worker = queue()
    unknown = Outcome(Kind.UNKNOWN, "Timeout")
    await worker.settle([finished(claim, {0: unknown}) for claim in await worker.claim(ROOM, [])])
    assert await ledger(database, again) == {"planned": 1, "queued": 1}
    assert await ledger(database, once) == {"planned": 1, "failed": 1}


async def test_a_dead_token_takes_its_device_out(database: Database, queue: MakeQueue) -> None:
    device = await register(database, "aa")
    uid = new_push()
    assert await accept_devices(database, uid, [device], None, 500)
    worker = queue()
    dead = Outcome(Kind.DEAD, "Unregistered", 410, proof_at=time.time())
    await worker.settle([finished(claim, {0: dead}) for claim in await worker.claim(ROOM, [])])
    assert await database.values(b"select state, failing_reason from devices", {}) == [("dead", "Unregistered")]
    assert await ledger(database, uid.uid) == {"planned": 1, "failed": 1}
    assert await accept_devices(database, later := new_push(), [device], None, 500)
    assert await ledger(database, later.uid) == {}, "a dead device is not planned"


async def test_a_device_registered_after_the_proof_stays(database: Database, queue: MakeQueue) -> None:
    device = await register(database, "aa", age=5)
    await accept_devices(database, new_push(), [device], None, 500)
    worker = queue()
    dead = Outcome(Kind.DEAD, "Unregistered", 410, proof_at=time.time() - 60)
    await worker.settle([finished(claim, {0: dead}) for claim in await worker.claim(ROOM, [])])
    assert await database.values(b"select state from devices", {}) == [("active",)]


async def test_a_raw_token_that_is_dead_takes_its_device_out_as_well(database: Database, queue: MakeQueue) -> None:
    await register(database, "aa")
    await accept(database, "aa")
    worker = queue()
    dead = Outcome(Kind.DEAD, "Unregistered", 410, proof_at=time.time())
    await worker.settle([finished(claim, {0: dead}) for claim in await worker.claim(ROOM, [])])
    assert await database.values(b"select state from devices", {}) == [("dead",)]


async def test_a_refusal_that_may_be_the_credentials_fault_does_not_bury_the_device(
    database: Database, queue: MakeQueue
) -> None:
    device = await register(database, "aa")
    await accept_devices(database, new_push(), [device], None, 500)
    worker = queue()
    bad = Outcome(Kind.DEAD, "BadDeviceToken", 400, proof_at=time.time())
    await worker.settle([finished(claim, {0: bad}) for claim in await worker.claim(ROOM, [])])
    assert await database.values(b"select state, failing_reason from devices", {}) == [("failing", "BadDeviceToken")]
    assert await accept_devices(database, later := new_push(), [device], None, 500)
    assert await ledger(database, later.uid) == {}, "nor is it sent to"


async def test_a_device_that_changed_its_token_gets_the_push_at_the_new_one(
    database: Database, queue: MakeQueue
) -> None:
    device = await register(database, "aa")
    await accept_devices(database, new_push(), [device], None, 500)
    worker = queue()
    claims = await worker.claim(ROOM, [])
    await database.execute(b"update devices set token = 'bb', registered_at = now()", {})
    dead = Outcome(Kind.DEAD, "Unregistered", 410, proof_at=time.time())
    await worker.settle([finished(claim, {0: dead}) for claim in claims])
    [again] = await worker.claim(ROOM, [])
    assert again.batch.tokens == [b"bb"]
    assert await database.values(b"select state from devices", {}) == [("active",)]


async def test_a_device_that_left_gets_nothing_again(database: Database, queue: MakeQueue) -> None:
    device = await register(database, "aa")
    push = new_push()
    await accept_devices(database, push, [device], None, 500)
    worker = queue()
    claims = await worker.claim(ROOM, [])
    await database.execute(b"delete from devices", {})
    await worker.settle([finished(claim, {0: RETRY_NOW}) for claim in claims])
    assert await ledger(database, push.uid) == {"planned": 1, "suppressed": 1}


async def test_a_cancelled_push_sends_nothing_again(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa", "bb", "cc", batch_size=1)
    worker = queue()
    [claim] = await worker.claim({"apns": 1}, [])
    assert await cancel(database, uid) == claim.batch.push_id
    assert await worker.claim(ROOM, []) == []
    assert await worker.extend([], [claim.batch.push_id]) == [claim.batch.push_id]
    await worker.settle([finished(claim, {0: RETRY_NOW})])
    assert await ledger(database, uid) == {"planned": 3, "cancelled": 3}
    assert await state(database, uid) == "cancelled"


async def test_a_paused_credential_is_not_claimed_for_and_a_probe_is(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa")
    worker = queue()
    await worker.pause("apns", Pause("trouble", seconds=0.0), "InvalidProviderToken", version=1, again=False)
    assert await worker.claim(ROOM, []) == []
    [probe] = await worker.claim_probe(["apns"], [])
    assert probe.batch.tokens == [b"aa"]
    assert await worker.claim_probe(["apns"], []) == [], "one probe at a time"
    assert await worker.lift_pause("apns", [""]) == [""]


async def test_a_paused_scope_leaves_the_rest_of_the_credential_alone(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa", apns_topic="one.topic")
    await accept(database, "bb", apns_topic="other.topic")
    worker = queue()
    await worker.pause("apns", Pause("trouble", "one.topic"), "TopicDisallowed", version=1, again=False)
    assert [claim.batch.tokens for claim in await worker.claim(ROOM, [])] == [[b"bb"]]


async def test_trouble_of_an_earlier_version_does_not_pause_a_changed_credential(
    database: Database, queue: MakeQueue
) -> None:
    worker = queue()
    await accept(database, "aa")
    await database.execute(b"update credentials set version = 2", {})
    await worker.pause("apns", Pause("trouble"), "InvalidProviderToken", version=1, again=False)
    assert len(await worker.claim(ROOM, [])) == 1


async def test_a_throttle_ends_by_itself_and_trouble_without_work_as_well(database: Database, queue: MakeQueue) -> None:
    worker = queue()
    await worker.pause("apns", Pause("throttle", seconds=0.0), "QUOTA_EXCEEDED", version=None, again=False)
    await worker.pause("other", Pause("trouble", seconds=0.0), "Forbidden", version=None, again=False)
    assert sorted(await worker.lift_idle_pauses()) == [("apns", ""), ("other", "")]


async def test_failed_probes_wait_longer_each_time(database: Database, queue: MakeQueue) -> None:
    worker = queue()
    waits = []
    for again in (False, True, True):
        await worker.pause("apns", Pause("trouble"), "Forbidden", version=1, again=again)
        rows = await database.values(b"select extract(epoch from next_probe_at - now())::int from pauses", {})
        waits.append(round(rows[0][0] / 30))
    assert waits == [1, 2, 4]


async def test_batches_of_a_removed_credential_can_be_ended(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa")
    await database.execute(b"delete from credentials where provider_id = 'apns'", {})
    worker = queue()
    [claim] = await worker.claim_ended()
    await worker.settle([finished(claim, {0: Outcome(Kind.FAILED, "CredentialRemoved")})])
    assert await ledger(database, uid) == {"planned": 1, "failed": 1}


async def test_an_expired_batch_behind_a_pause_can_be_ended(database: Database, queue: MakeQueue) -> None:
    await accept(database, "aa", expire_at=time.time() - 1)
    worker = queue()
    await worker.pause("apns", Pause("trouble"), "Forbidden", version=1, again=False)
    assert [claim.batch.tokens for claim in await worker.claim_ended()] == [[b"aa"]]


async def test_reasons_are_counted(database: Database, queue: MakeQueue) -> None:
    uid = await accept(database, "aa", "bb", "cc")
    worker = queue()
    [claim] = await worker.claim(ROOM, [])
    bad = Outcome(Kind.FAILED, "BadTopic", 400)
    await worker.settle([finished(claim, {0: bad, 2: bad})])
    rows = await database.values(
        b"select outcome, reason, count from push_reasons r join pushes p on p.id = r.push_id where uid = %(uid)s",
        {"uid": uid},
    )
    assert rows == [("failed", "BadTopic", 2)]
    record = await database.values(b"select positions, outcomes, reasons, statuses from outcomes", {})
    assert record == [([0, 2], ["failed", "failed"], ["BadTopic", "BadTopic"], [400, 400])]


async def test_many_batches_of_several_pushes_settle_in_one_call(database: Database, queue: MakeQueue) -> None:
    uids = [await accept(database, *(f"{n}{m}" for m in range(4)), batch_size=2) for n in range(3)]
    worker = queue()
    claims = await worker.claim(ROOM, [])
    assert len(claims) == 6
    assert await worker.settle([finished(claim, {1: RETRY_LATER}) for claim in claims]) == 0
    for uid in uids:
        assert await ledger(database, uid) == {"planned": 4, "accepted": 2, "queued": 2}


async def test_a_device_that_was_let_go_on_suspicion_is_dead_once_that_is_certain(
    database: Database, queue: MakeQueue
) -> None:
    device = await register(database, "aa")
    for _ in range(2):
        await accept_devices(database, new_push(), [device], None, 500)
    worker = queue()
    first, second = await worker.claim(ROOM, [])
    suspected = Outcome(Kind.DEAD, "BadDeviceToken", 400, proof_at=time.time())
    await worker.settle([finished(first, {0: suspected})])
    gone = Outcome(Kind.DEAD, "Unregistered", 410, proof_at=time.time())
    await worker.settle([finished(second, {0: gone})])
    assert await database.values(b"select state, failing_reason from devices", {}) == [("dead", "Unregistered")]
