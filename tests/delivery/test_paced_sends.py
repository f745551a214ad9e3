"""Pushes with a rate of their own, and pushes that are paused and resumed while they run."""

import asyncio
from typing import Any

import msgspec
import pytest

from delivery.planner import Planner, PlannerOptions
from emulators.apns import ApnsEmulator
from storage.ids import new_id
from storage.queue import Queue
from tests.delivery.world import APNS, World, ledger

TEST = {"channels": ["test"]}
AHEAD_SECONDS = 0.1
STALLED = {"match": {"skip": 5}, "action": {"stall": True}}


@pytest.fixture
def apns(apns_emulator: ApnsEmulator) -> ApnsEmulator:
    return apns_emulator


async def planned(world: World, **params: object) -> str:
    """Send to the topic test, and plan it without a worker."""
    uid = await world.send(**({"recipient": TEST, "notification": {"apns": APNS}} | params))
    planner = Planner(world.database, PlannerOptions(page_size=40, batch_size=10), lambda: None)
    while await planner.plan_page():
        pass
    return uid


async def value(world: World, query: bytes) -> Any:
    return (await world.database.values(query, {}))[0][0]


async def free_recipients(world: World) -> int:
    """How many recipients may be claimed now."""
    found: int = await value(world, b"select coalesce(sum(recipient_count), 0)::int from batches where not parked")
    return found


async def begun(world: World, apns: ApnsEmulator, **params: object) -> str:
    """A broadcast whose first requests were answered, and whose next ones hang."""
    apns.set_faults([STALLED])
    uid = await world.send(**({"recipient": TEST, "notification": {"apns": APNS}} | params))
    async with asyncio.timeout(15):
        while apns.counters().requests < 6:
            await world.reached(uid, "sending", "planning")
    return uid


async def stopped(world: World, apns: ApnsEmulator) -> None:
    """Wait until no worker holds anything; what hangs is cut off."""
    await world.cut_off(apns)
    apns.set_faults([])


async def comes_to(world: World, uid: str, state: str, **counts: int) -> None:
    """Wait until the push is in this state with this ledger."""
    async with asyncio.timeout(15):
        while True:
            status = await world.reached(uid, state)
            if not counts or ledger(status) == counts:
                return


async def test_a_paced_push_is_cut_for_ten_portions_a_second_and_waits(world: World) -> None:
    await world.registered(45, "test")
    await planned(world, max_rate=70)
    rows = await world.database.values(
        b"select max(recipient_count), bool_and(parked), bool_and(paced), sum(recipient_count)::int from batches", {}
    )
    assert rows == [(7, True, True, 45)]


async def test_what_is_set_free_is_paid_for(world: World) -> None:
    await world.registered(60, "test")
    await planned(world, max_rate=100)
    queue = Queue(world.database, new_id(), 5.0)
    before = await value(world, b"select extract(epoch from paid_until)::float8 from push_paces")
    freed, paced = await queue.set_free(AHEAD_SECONDS)
    assert (paced, freed) == (1, await value(world, b"select count(*)::int from batches where not parked"))
    after = await value(world, b"select extract(epoch from paid_until)::float8 from push_paces")
    recipients = await free_recipients(world)
    assert 0 < recipients <= 100 * 2 * AHEAD_SECONDS
    assert after - before >= recipients / 100 - 1e-6
    assert await queue.set_free(AHEAD_SECONDS) == (0, 1), "what was set free is not claimed yet"
    assert await free_recipients(world) == recipients


async def test_an_outage_earns_no_more_than_a_moments_sends(world: World) -> None:
    await world.registered(60, "test")
    await planned(world, max_rate=100)
    await world.database.execute(b"update push_paces set paid_until = now() - interval '1 hour'", {})
    await Queue(world.database, new_id(), 5.0).set_free(AHEAD_SECONDS)
    assert await free_recipients(world) == 20


async def test_what_was_paid_ahead_is_waited_for(world: World) -> None:
    await world.registered(20, "test")
    await planned(world, max_rate=100)
    await world.database.execute(b"update push_paces set paid_until = now() + interval '1 hour'", {})
    assert await Queue(world.database, new_id(), 5.0).set_free(AHEAD_SECONDS) == (0, 1)


@pytest.mark.parametrize("max_rate", [1, 2, 4, 5])
async def test_the_slowest_pushes_move_too(world: World, max_rate: int) -> None:
    await world.registered(3, "test")
    await planned(world, max_rate=max_rate)
    await world.database.execute(b"update push_paces set paid_until = now() - interval '1 hour'", {})
    queue = Queue(world.database, new_id(), 5.0)
    assert await queue.set_free(AHEAD_SECONDS) == (1, 1)
    paid = await value(world, b"select extract(epoch from paid_until - now())::float8 from push_paces")
    assert paid <= 1 / max_rate


async def test_a_paced_push_goes_on_for_one_provider_while_another_is_paused(world: World) -> None:
    await world.registered(60, "test")
    await world.registered(60, "test", "fcm")
    await planned(world, max_rate=100, notification={"title": "hi"})
    await world.database.execute(b"insert into pauses values ('main', '', 'trouble', 'x', now(), 1, now())", {})
    queue = Queue(world.database, new_id(), 60.0)
    claimed = 0
    for _ in range(20):
        await world.database.execute(b"update push_paces set paid_until = now() - interval '1 hour'", {})
        await queue.set_free(AHEAD_SECONDS)
        claimed += sum(len(each.tokens.split()) for each in await queue.claim({"main": 1000, "project": 1000}, []))
    assert claimed == 60


async def test_two_workers_send_a_paced_push_once_and_pay_for_all_of_it(world: World, apns: ApnsEmulator) -> None:
    await world.registered(120, "test")
    async with world.worker(), world.worker():
        uid = await world.send(recipient=TEST, notification={"apns": APNS}, max_rate=400)
        assert ledger(await world.reached(uid, "done")) == {"planned": 120, "accepted": 120}
    assert apns.counters().requests == 120
    paid = b"select extract(epoch from z.paid_until - p.accepted_at)::float8 from push_paces z, pushes p"
    assert await value(world, paid) >= 120 / 400 - AHEAD_SECONDS


async def test_what_is_sent_again_waits_for_its_turn_as_well(world: World, apns: ApnsEmulator) -> None:
    fault = {"status": 503, "reason": "ServiceUnavailable", "retry_after": 0}
    apns.set_faults([{"match": {"count": 5}, "action": fault}])
    async with world.worker():
        tokens = [f"{number:04x}" for number in range(20)]
        uid = await world.send(recipient={"apns_tokens": tokens}, notification={"apns": APNS}, max_rate=400)
        assert ledger(await world.reached(uid, "done")) == {"planned": 20, "accepted": 20}
    paid = b"select extract(epoch from z.paid_until - p.accepted_at)::float8 from push_paces z, pushes p"
    assert await value(world, paid) >= 25 / 400 - AHEAD_SECONDS


async def test_a_paused_push_is_neither_planned_nor_set_free_nor_claimed(world: World) -> None:
    await world.registered(30, "test")
    await world.send(uid="waits", recipient=TEST, notification={"apns": APNS})
    await world.call("push_pause", uid="waits")
    planner = Planner(world.database, PlannerOptions(), lambda: None)
    assert not await planner.plan_page()
    await planned(world, uid="paced", max_rate=100)
    await planned(world, uid="plain")
    for uid in ("paced", "plain"):
        await world.call("push_pause", uid=uid)
    queue = Queue(world.database, new_id(), 5.0)
    assert (await queue.set_free(AHEAD_SECONDS))[0] == 0
    assert await queue.claim({"main": 100}, []) == []
    for uid in ("waits", "paced", "plain"):
        assert (await world.call("push_status", uid=uid))["state"] == "paused"
    await world.call("push_resume", uid="waits")
    assert await planner.plan_page()
    await world.call("push_resume", uid="paced")
    assert (await queue.set_free(AHEAD_SECONDS))[0] > 0


async def test_a_running_broadcast_stops_on_all_workers_and_goes_on_where_it_was(
    world: World, apns: ApnsEmulator
) -> None:
    await world.registered(200, "test")
    async with world.worker(), world.worker():
        uid = await begun(world, apns)
        await world.call("push_pause", uid=uid)
        assert (await world.call("push_status", uid=uid))["state"] == "paused"
        await stopped(world, apns)
        status = await world.call("push_status", uid=uid)
        assert status["paused_at"]
        assert ledger(status)["pending"]
        sent = apns.counters().requests
        other = await world.send(recipient={"apns_tokens": ["ff"]}, notification={"apns": APNS})
        await world.reached(other, "done")
        assert apns.counters().requests == sent + 1, "the workers run, and leave the paused push alone"
        await world.call("push_resume", uid=uid)
        await world.database.execute(b"update batches set due_at = now() where claimed_by is null", {})
        await comes_to(world, uid, "done", planned=200, accepted=200)
    tokens = {request.token for request in apns.requests(limit=1000) if request.accepted}
    assert len(tokens) == 201


async def test_a_paused_push_can_be_cancelled(world: World, apns: ApnsEmulator) -> None:
    await world.registered(100, "test")
    async with world.worker():
        uid = await begun(world, apns)
        await world.call("push_pause", uid=uid)
        await stopped(world, apns)
        await world.call("cancel_push", uid=uid)
        await world.quiet()
        status = await world.reached(uid, "cancelled")
        counts = ledger(status)
        assert counts["cancelled"] + counts.get("accepted", 0) == counts["planned"]
        await world.call("push_resume", uid=uid)
        assert (await world.call("push_status", uid=uid))["state"] == "cancelled"
    assert [item["uid"] for item in (await world.call("push_list"))["items"] if item["state"] == "paused"] == []


async def test_a_paused_push_expires(world: World, apns: ApnsEmulator) -> None:
    await world.registered(100, "test")
    async with world.worker():
        uid = await begun(world, apns, expire_at=4_000_000_000)
        await world.call("push_pause", uid=uid)
        await stopped(world, apns)
        await world.database.execute(b"update batches set expire_at = now()", {})
        await world.database.execute(b"update pushes set expire_at = now()", {})
        async with asyncio.timeout(15):
            while (await world.call("push_status", uid=uid))["ledger"]["pending"]:
                pass
        await world.call("push_resume", uid=uid)
        counts = ledger(await world.reached(uid, "done"))
    assert counts["expired"] + counts.get("accepted", 0) == counts["planned"] == 100


async def test_a_push_that_ended_in_its_pause_is_shown_as_ended(world: World) -> None:
    await world.registered(5, "test")
    uid = await planned(world)
    await world.call("push_pause", uid=uid)
    await world.call("cancel_push", uid=uid)
    assert (await world.call("push_status", uid=uid))["state"] == "cancelled"
    for state, uids in (("cancelled", [uid]), ("paused", [])):
        assert [item["uid"] for item in (await world.call("push_list", states=[state]))["items"]] == uids


async def test_pausing_and_resuming_twice_or_too_late_changes_nothing(world: World) -> None:
    await world.registered(5, "test")
    uid = await planned(world)
    for name in ("push_resume", "push_pause", "push_pause", "push_resume", "push_resume", "cancel_push", "push_pause"):
        assert await world.call(name, uid=uid) == {}
    status = msgspec.convert(await world.call("push_status", uid=uid), dict[str, Any])
    assert (status["state"], ledger(status)) == ("cancelled", {"planned": 5, "cancelled": 5})
