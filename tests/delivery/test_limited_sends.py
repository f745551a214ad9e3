"""Windows of local time and rate limits, through the whole engine, by a clock that the test sets.

It shows a day far ahead, so that what is held stays held until the test makes it due.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from emulators.apns import ApnsEmulator
from tests.delivery.providers.sending import apns_params
from tests.delivery.world import APNS, World, ledger

MORNING = datetime(2090, 6, 15, 8, 30, tzinfo=UTC).timestamp()
HOUR = 3600.0
WINDOW = {"send_after_time": "09:00:00", "send_before_time": "18:00:00"}
TEST = {"channels": ["test"]}


class Clock:
    """Stands still until it is set."""

    def __init__(self, now: float = MORNING) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def apns(apns_emulator: ApnsEmulator) -> ApnsEmulator:
    return apns_emulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rate(policies: list[tuple[int, float]], key: str = "device.id", *, drop: bool = False) -> dict[str, Any]:
    """A rate limit; policies as (rate, seconds)."""
    given = [{"rate": each, "interval_ms": int(seconds * 1000)} for each, seconds in policies]
    return {"rate_limit": {"key": key, "policies": given, "drop_if_rate_limited": drop}}


async def limited(world: World, strategy: dict[str, Any], **params: Any) -> str:
    """Send to the topic test under this limit."""
    given = {"recipient": TEST, "notification": {"apns": APNS}, "limit_strategy": strategy}
    return await world.send(**(given | params))


async def comes_to(world: World, uid: str, **counts: int) -> dict[str, Any]:
    """Wait until the ledger of a push is this, and sums; its status."""
    found: dict[str, int] = {}
    try:
        async with asyncio.timeout(10):
            while True:
                status: dict[str, Any] = await world.call("push_status", uid=uid)
                found = ledger(status)
                if found == counts:
                    return status
    except TimeoutError:
        raise AssertionError(f"{found} instead of {counts}") from None


async def held_until(world: World) -> list[float]:
    rows = await world.database.values(
        b"select distinct extract(epoch from due_at)::float8 from batches order by 1", {}
    )
    return [row[0] for row in rows]


async def make_due(world: World) -> None:
    await world.database.execute(b"update batches set due_at = now() where claimed_by is null", {})


def arrived(apns: ApnsEmulator) -> list[str]:
    return sorted(request.token for request in apns.requests(limit=1000) if request.accepted)


async def test_each_device_gets_the_push_when_its_own_window_is_open(
    world: World, apns: ApnsEmulator, clock: Clock
) -> None:
    for token, zone in {
        "aa": "Europe/Berlin",
        "bb": "America/New_York",
        "cc": "Asia/Tokyo",
        "dd": "Asia/Dubai",
    }.items():
        await world.device(token, timezone=zone)
    await world.device("ee", timezone="America/New_York")
    async with world.worker(clock=clock):
        uid = await limited(world, {"time_limit": WINDOW})
        status = await comes_to(world, uid, planned=5, accepted=3, pending=2)
        assert arrived(apns) == ["aa", "cc", "dd"]
        assert status["state"] == "sending"
        [reason] = status["reasons"]
        assert (reason["outcome"], reason["reason"], reason["count"]) == ("held", "OutsideWindow", 2)
        assert await held_until(world) == [MORNING + 4.5 * HOUR], "nine o'clock in New York"
        clock.now = MORNING + 4.5 * HOUR
        await make_due(world)
        await comes_to(world, uid, planned=5, accepted=5)
    assert arrived(apns) == ["aa", "bb", "cc", "dd", "ee"]


async def test_a_device_that_comes_back_too_late_waits_for_the_next_day(world: World, clock: Clock) -> None:
    await world.device("aa", timezone="Etc/UTC")
    async with world.worker(clock=clock):
        uid = await limited(world, {"time_limit": WINDOW})
        await comes_to(world, uid, planned=1, pending=1)
        async with asyncio.timeout(10):
            while await held_until(world) != [MORNING + HOUR / 2]:
                pass
        clock.now = MORNING + 10 * HOUR
        await make_due(world)
        async with asyncio.timeout(10):
            while await held_until(world) != [MORNING + 24.5 * HOUR]:
                pass
        assert ledger(await world.call("push_status", uid=uid)) == {"planned": 1, "pending": 1}


async def test_without_a_zone_a_device_is_dropped_or_sent_to_at_once(
    world: World, apns: ApnsEmulator, clock: Clock
) -> None:
    await world.device("aa")
    await world.device("bb", timezone="Asia/Tokyo")
    async with world.worker(clock=clock):
        status = await comes_to(world, await limited(world, {"time_limit": WINDOW}), planned=2, accepted=1, dropped=1)
        assert [(each["reason"], each["count"]) for each in status["reasons"]] == [("NoTimezone", 1)]
        given = {"time_limit": WINDOW | {"no_tz_send_now": True}}
        await comes_to(world, await limited(world, given), planned=2, accepted=2)
    assert arrived(apns) == ["aa", "bb", "bb"]


async def test_what_opens_after_the_push_has_ended_expires_at_once(
    world: World, apns: ApnsEmulator, clock: Clock
) -> None:
    await world.device("aa", timezone="America/New_York")
    async with world.worker(clock=clock):
        uid = await limited(world, {"time_limit": WINDOW}, expire_at=int(MORNING + HOUR))
        status = await comes_to(world, uid, planned=1, expired=1)
    assert [each["reason"] for each in status["reasons"]] == ["OutsideWindow"]
    assert apns.counters().requests == 0


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
async def test_what_is_held_ends_with_its_push(world: World, apns: ApnsEmulator, clock: Clock, ending: str) -> None:
    for token in ("aa", "bb"):
        await world.device(token, timezone="America/New_York")
    await world.device("cc", timezone="Asia/Tokyo")
    async with world.worker(clock=clock):
        uid = await limited(world, {"time_limit": WINDOW}, expire_at=int(MORNING + 24 * HOUR))
        await comes_to(world, uid, planned=3, accepted=1, pending=2)
        if ending == "cancelled":
            await world.call("cancel_push", uid=uid)
        else:
            await world.database.execute(b"update batches set expire_at = now() where claimed_by is null", {})
        status = await comes_to(world, uid, planned=3, accepted=1, **{ending: 2})
    assert status["state"] == ("cancelled" if ending == "cancelled" else "done")
    assert arrived(apns) == ["cc"]


async def test_over_the_limit_is_later(world: World, apns: ApnsEmulator, clock: Clock) -> None:
    await world.device("aa")
    async with world.worker(clock=clock):
        await comes_to(world, await limited(world, rate([(1, HOUR)])), planned=1, accepted=1)
        clock.now += 60
        uid = await limited(world, rate([(1, HOUR)]))
        await comes_to(world, uid, planned=1, pending=1)
        async with asyncio.timeout(10):
            while await held_until(world) != [MORNING + HOUR]:
                pass
        clock.now = MORNING + HOUR
        await make_due(world)
        await comes_to(world, uid, planned=1, accepted=1)
    assert arrived(apns) == ["aa", "aa"]


async def test_over_the_limit_is_dropped_when_that_is_said(world: World, apns: ApnsEmulator, clock: Clock) -> None:
    for token in ("aa", "bb"):
        await world.device(token)
    async with world.worker(clock=clock):
        await comes_to(world, await limited(world, rate([(2, HOUR)], drop=True)), planned=2, accepted=2)
        given = rate([(2, HOUR)], drop=True)
        await comes_to(world, await limited(world, given, recipient={"apns_tokens": ["aa"]}), planned=1, accepted=1)
        status = await comes_to(world, await limited(world, given), planned=2, accepted=1, dropped=1)
    assert [(each["outcome"], each["reason"]) for each in status["reasons"]] == [("dropped", "RateLimited")]
    assert arrived(apns) == ["aa", "aa", "bb", "bb"]


async def test_a_user_is_limited_over_all_devices(world: World, apns: ApnsEmulator, clock: Clock) -> None:
    for token, user in {"aa": "ann", "bb": "ann", "cc": "bob", "dd": "", "ee": ""}.items():
        await world.device(token, user_id=user)
    async with world.worker(clock=clock):
        uid = await limited(world, rate([(1, HOUR)], "{{device.user}}", drop=True))
        await comes_to(world, uid, planned=5, accepted=4, dropped=1)
        raw = {"apns_tokens": ["aa", "bb", "cc", "ff"]}
        uid = await limited(world, rate([(1, HOUR)], "{{device.user}}", drop=True), recipient=raw)
        await comes_to(world, uid, planned=4, accepted=1, dropped=3)
    assert len(set(arrived(apns)) & {"aa", "bb"}) == 1
    assert set(arrived(apns)) >= {"cc", "dd", "ee", "ff"}


async def test_all_policies_hold_at_once(world: World, apns: ApnsEmulator, clock: Clock) -> None:
    await world.device("aa")
    strategy = rate([(2, 60), (3, HOUR)], drop=True)
    accepted = []
    async with world.worker(clock=clock):
        for after in (0, 1, 2, 61, 62, 122, HOUR + 1):
            clock.now = MORNING + after
            status = await world.reached(await limited(world, strategy), "done")
            accepted.append(ledger(status).get("accepted", 0))
    assert accepted == [1, 1, 0, 1, 0, 0, 1]


async def test_two_workers_never_send_more_than_the_limit(world: World, apns: ApnsEmulator, clock: Clock) -> None:
    for number in range(120):
        await world.device(f"{number:04x}", user_id=f"user {number % 30}")
    strategy = rate([(25, HOUR)], "the whole campaign", drop=True)
    async with world.worker(clock=clock), world.worker(clock=clock):
        uids = [await limited(world, strategy) for _ in range(3)]
        found = [ledger(await world.reached(uid, "done")) for uid in uids]
        assert sum(each.get("accepted", 0) for each in found) == apns.counters().accepted == 25
        by_user = [await limited(world, rate([(3, HOUR)], "device.user", drop=True)) for _ in range(2)]
        found = [ledger(await world.reached(uid, "done")) for uid in by_user]
        assert sum(each.get("accepted", 0) for each in found) == apns.counters().accepted - 25 == 90


async def test_a_retry_does_not_count_again(world: World, apns: ApnsEmulator, clock: Clock) -> None:
    await world.device("aa")
    apns.set_faults(
        [{"match": {"count": 1}, "action": {"status": 503, "reason": "ServiceUnavailable", "retry_after": 0}}]
    )
    async with world.worker(clock=clock):
        for expected in ({"accepted": 1}, {"accepted": 1}, {"dropped": 1}):
            uid = await limited(world, rate([(2, HOUR)], drop=True))
            await comes_to(world, uid, planned=1, **expected)
    assert apns.counters().requests == 3


async def test_what_was_let_through_and_not_sent_is_not_asked_again(
    world: World, clock: Clock, emulator_folder: Path
) -> None:
    await world.registered(40, "test")
    async with ApnsEmulator(data_dir=emulator_folder, max_streams_after_first=1) as narrow, world.worker(clock=clock):
        narrow.set_faults([{"match": {"skip": 3}, "action": {"stall": True}}])
        await world.call("provider_put", **apns_params(narrow, max_connections=1))
        uid = await limited(world, rate([(1, HOUR)], drop=True))
        async with asyncio.timeout(15):
            while narrow.counters().requests < 4:
                await world.reached(uid, "sending", "planning")
        await world.call("push_pause", uid=uid)
        async with asyncio.timeout(15):  # the sender has heard of it, and gives back what it has not sent
            while len(await world.database.values(b"select 1 from batches where parked", {})) < 3:
                pass
        async with asyncio.timeout(10):  # given back without having been sent
            while not await world.database.values(b"select 1 from batches where parked and claimed_by is null", {}):
                pass
        await world.cut_off(narrow)
        narrow.set_faults([])
        await make_due(world)
        await world.call("push_resume", uid=uid)
        await comes_to(world, uid, planned=40, accepted=40)


async def test_a_paused_credential_does_not_make_its_recipients_count_twice(
    world: World, apns: ApnsEmulator, clock: Clock
) -> None:
    apns.set_faults([{"action": {"status": 403, "reason": "InvalidProviderToken"}}])
    await world.registered(20, "test")
    async with world.worker(clock=clock):
        uid = await limited(world, rate([(1, HOUR)], drop=True))
        await world.reached(uid, "paused")
        await world.quiet()
        apns.set_faults([])
        await world.database.execute(b"update pauses set next_probe_at = now()", {})
        await comes_to(world, uid, planned=20, accepted=20)


async def test_an_unknown_outcome_under_a_limit_is_sent_once_when_once_is_asked(
    world: World, apns: ApnsEmulator, clock: Clock
) -> None:
    apns.set_faults([{"match": {"token_prefix": "aa"}, "action": {"drop_after_body": True}}])
    for token in ("aa", "bb"):
        await world.device(token, timezone="Asia/Tokyo")
    async with world.worker(clock=clock):
        strategy = {"time_limit": WINDOW} | rate([(1, HOUR)])
        uid = await limited(world, strategy, delivery="at_most_once")
        await comes_to(world, uid, planned=2, accepted=1, failed=1)
    assert sorted(request.token for request in apns.requests()).count("aa") == 1
