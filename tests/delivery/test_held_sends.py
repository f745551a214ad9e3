"""What becomes of recipients while a push waits for them, and of pauses when nobody may have the push."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from emulators.apns import ApnsEmulator
from tests.delivery.world import APNS, OPTIONS, World, ledger

MORNING = datetime(2090, 6, 15, 8, 30, tzinfo=UTC).timestamp()
OPEN = {"send_after_time": "08:00:00", "send_before_time": "09:00:00"}
CLOSED = {"send_after_time": "12:00:00", "send_before_time": "13:00:00"}
TEST = {"channels": ["test"]}


@pytest.fixture
def apns(apns_emulator: ApnsEmulator) -> ApnsEmulator:
    return apns_emulator


def morning() -> float:
    return MORNING


def noon() -> float:
    return MORNING + 4 * 3600


async def send_in(world: World, window: dict[str, str], **params: Any) -> str:
    given = {"recipient": TEST, "notification": {"apns": APNS}, "limit_strategy": {"time_limit": window}}
    return await world.send(**(given | params))


async def held(world: World, recipients: int) -> None:
    """Wait until so many recipients are held for their window."""
    query = b"select coalesce(sum(recipient_count), 0)::int from batches where claimed_by is null and due_at > now()"
    async with asyncio.timeout(10):
        while (await world.database.values(query, {}))[0][0] != recipients:
            pass


async def make_due(world: World) -> None:
    await world.database.execute(b"update batches set due_at = now() where claimed_by is null", {})


async def test_what_is_held_follows_the_device(world: World, apns: ApnsEmulator) -> None:
    for token in ("aa", "bb", "cc"):
        await world.device(token, timezone="Etc/UTC")
    async with world.worker(clock=morning):
        uid = await send_in(world, CLOSED)
        await held(world, 3)
    await world.database.execute(b"delete from devices where token = 'aa'", {})
    await world.database.execute(b"update devices set token = 'dd' where token = 'bb'", {})
    await make_due(world)
    async with world.worker(clock=morning):  # held once more: this is when the devices are looked at
        await held(world, 2)
        await make_due(world)
    async with world.worker(clock=noon):
        await make_due(world)
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 3, "accepted": 2, "suppressed": 1}
    assert sorted(request.token for request in apns.requests()) == ["cc", "dd"]


async def test_raw_tokens_that_were_scheduled_are_held_by_their_devices_zone(world: World, apns: ApnsEmulator) -> None:
    await world.device("aa", timezone="Etc/UTC", user_id="ann")
    await world.device("bb", timezone="Asia/Tokyo", user_id="bob")
    await world.device("cc", user_id="eve")
    recipient = {"apns_tokens": ["aa", "bb", "cc", "dd"]}
    notification = {"title": "{{device.user | default('you')}}"}
    uid = await send_in(
        world, OPEN, recipient=recipient, notification=notification, use_templating=True, send_at=int(time.time()) + 900
    )
    await world.database.execute(b"update pushes set send_at = now(), plan_at = now()", {})
    async with world.worker(clock=morning):
        await held(world, 1)
        async with asyncio.timeout(10):
            while ledger(await world.call("push_status", uid=uid)) != {
                "planned": 4,
                "accepted": 1,
                "dropped": 2,
                "pending": 1,
            }:
                pass
    [request] = apns.requests()
    assert (request.token, request.payload) == ("aa", {"aps": {"alert": {"title": "ann"}}})


async def test_a_probe_finds_who_may_have_the_push(world: World, apns: ApnsEmulator) -> None:
    apns.set_faults([{"action": {"status": 403, "reason": "InvalidProviderToken"}}])
    for number in range(9):
        await world.device(f"{number:02x}", timezone="Etc/UTC", user_id="ann" if number == 8 else "")
    async with world.worker(clock=morning):
        title = {"title": "{{device.user}}"}
        first = await world.send(recipient={"apns_tokens": ["ff"]}, notification={"apns": APNS})
        await world.reached(first, "paused")
        uid = await world.send(recipient=TEST, notification=title, use_templating=True)
        async with asyncio.timeout(10):
            while (await world.call("push_status", uid=uid))["ledger"]["planned"] != 9:
                pass
        await world.call("cancel_push", uid=first)
        await world.quiet()
        apns.set_faults([])
        await world.database.execute(b"update pauses set next_probe_at = now()", {})
        assert ledger(await world.reached(uid, "done")) == {"planned": 9, "accepted": 1, "failed": 8}
    assert await world.database.values(b"select 1 from pauses", {}) == []


async def test_one_probe_is_enough_for_a_batch_that_is_held(world: World, apns: ApnsEmulator) -> None:
    apns.set_faults([{"action": {"status": 403, "reason": "InvalidProviderToken"}}])
    for number in range(9):
        await world.device(f"{number:02x}", timezone="Etc/UTC")
    async with world.worker(clock=morning):
        first = await world.send(recipient={"apns_tokens": ["ff"]}, notification={"apns": APNS})
        await world.reached(first, "paused")
        uid = await send_in(world, CLOSED)
        async with asyncio.timeout(10):
            while (await world.call("push_status", uid=uid))["ledger"]["planned"] != 9:
                pass
        await world.call("cancel_push", uid=first)
        await world.quiet()
        await world.database.execute(b"update pauses set next_probe_at = now()", {})
        await held(world, 9)
        assert await world.database.values(b"select 1 from pauses", {})
    assert apns.counters().requests == 1


async def test_failures_of_every_kind_in_one_batch_are_those_of_the_right_devices(
    world: World, apns: ApnsEmulator
) -> None:
    names = ("aa", "bb", "cc", "dd", "ee")
    devices = {token: await world.device(token, user_id="" if token in ("bb", "dd") else token) for token in names}
    apns.set_tokens({"cc": {"state": "unregistered", "timestamp_ms": int(time.time() * 1000)}})
    async with world.worker():
        uid = await world.send(recipient=TEST, notification={"title": "{{device.user}}"}, use_templating=True)
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 5, "accepted": 2, "failed": 3}
    examples = {each["reason"]: set(each["examples"]) for each in status["reasons"]}
    assert examples == {"TemplateValueMissing": {devices["bb"], devices["dd"]}, "Unregistered": {devices["cc"]}}
    dead = await world.database.values(b"select token from devices where state = 'dead'", {})
    assert dead == [("cc",)]


async def test_what_was_held_for_hours_is_still_tried_again(world: World, apns: ApnsEmulator) -> None:
    fault = {"status": 503, "reason": "ServiceUnavailable", "retry_after": 0}
    apns.set_faults([{"match": {"count": 1}, "action": fault}])
    await world.device("aa", timezone="Etc/UTC")
    async with world.worker(clock=morning):
        uid = await send_in(world, CLOSED)
        await held(world, 1)
    await world.database.execute(b"update batches set first_attempt_at = first_attempt_at - interval '2 hours'", {})
    await make_due(world)
    async with world.worker(clock=noon):
        assert ledger(await world.reached(uid, "done")) == {"planned": 1, "accepted": 1}


async def test_what_is_held_does_not_keep_the_rest_from_being_planned(world: World, apns: ApnsEmulator) -> None:
    few_ahead = msgspec.structs.replace(OPTIONS.planner, ahead_batches=3)
    options = msgspec.structs.replace(OPTIONS, planner=few_ahead)
    for number in range(60):
        await world.device(f"{number:02x}", timezone="Etc/UTC" if number < 50 else "Asia/Tokyo")
    async with world.worker(options, clock=morning):
        uid = await send_in(world, {"send_after_time": "17:00:00", "send_before_time": "18:00:00"})
        async with asyncio.timeout(3):
            while ledger(await world.call("push_status", uid=uid)) != {"planned": 60, "accepted": 10, "pending": 50}:
                pass
    assert apns.counters().requests == 10
