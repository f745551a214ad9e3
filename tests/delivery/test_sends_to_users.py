"""What users want and where they are, honoured by sends through the whole engine, by a clock that the test sets."""

from typing import Any

import pytest

from emulators.apns import ApnsEmulator
from storage import users
from tests.delivery.test_limited_sends import HOUR, MORNING, TEST, Clock, comes_to
from tests.delivery.world import APNS, World


@pytest.fixture
def apns(apns_emulator: ApnsEmulator) -> ApnsEmulator:
    return apns_emulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def people(world: World) -> dict[str, str]:
    """Two devices of Ann and one of Bob, on the topic test; the ids of their devices by token."""
    owners = {"aa": "ann", "ab": "ann", "bb": "bob"}
    return {token: await world.device(token, user_id=user, timezone="Etc/UTC") for token, user in owners.items()}


async def push(world: World, **params: object) -> str:
    return await world.send(**({"recipient": TEST, "notification": {"apns": APNS}} | params))


async def reasons(world: World, uid: str) -> set[tuple[str, str]]:
    return {(each["outcome"], each["reason"]) for each in (await world.call("push_status", uid=uid)).get("reasons", [])}


@pytest.mark.usefixtures("people")
async def test_quiet_hours_hold_a_push_until_they_end(world: World, apns: ApnsEmulator, clock: Clock) -> None:
    quiet = [{"days": [1, 2, 3, 4, 5, 6, 7], "from": "06:00", "to": "09:00"}]
    await world.call("user_preferences_update", user="ann", quiet_hours=quiet)
    async with world.worker(clock=clock):
        uid = await push(world)
        await comes_to(world, uid, planned=3, accepted=1, pending=2)
        assert await reasons(world, uid) == {("held", "QuietHours")}
        await world.quiet()
        clock.now += HOUR
        await world.database.execute(b"update batches set due_at = now()", {})
        await comes_to(world, uid, planned=3, accepted=3)
    assert apns.counters().requests == 3


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("preferences", "params", "outcome"),
    [
        ({"snooze_until": int(MORNING + HOUR)}, {"in_quiet_hours": "drop"}, ("dropped", "Snoozed")),
        ({"muted_topics": ["test"]}, {}, ("suppressed", "TopicMuted")),
        ({"level": "high"}, {}, ("suppressed", "LevelTooLow")),
        ({"level": "none"}, {"importance": "high"}, ("suppressed", "LevelTooLow")),
    ],
)
async def test_what_a_user_does_not_want_is_not_sent(
    world: World,
    apns: ApnsEmulator,
    clock: Clock,
    preferences: dict[str, object],
    params: dict[str, object],
    outcome: tuple[str, str],
) -> None:
    await world.call("user_preferences_update", user="ann", **preferences)
    async with world.worker(clock=clock):
        uid = await push(world, **params)
        await comes_to(world, uid, planned=3, accepted=1, **{outcome[0]: 2})
        assert await reasons(world, uid) == {outcome}
    assert apns.counters().requests == 1


@pytest.mark.parametrize("params", [{"priority": "urgent"}, {"recipient": {"users": ["ann"]}}, {"importance": "high"}])
async def test_what_a_user_does_want_is_sent(
    world: World, people: dict[str, str], clock: Clock, params: dict[str, object]
) -> None:
    muted = {} if params == {"importance": "high"} else {"muted_topics": ["test"]}
    level = {"level": "none"} if "priority" in params else {"level": "high"} if "importance" in params else {}
    await world.call("user_preferences_update", user="ann", **muted, **level)
    async with world.worker(clock=clock):
        uid = await push(world, **params)
        reached = len(people) - ("recipient" in params)
        await comes_to(world, uid, planned=reached, accepted=reached)


async def test_explaining_says_that_the_user_did_not_want_it(
    world: World, people: dict[str, str], clock: Clock
) -> None:
    await world.call("user_preferences_update", user="ann", muted_topics=["test"])
    async with world.worker(clock=clock):
        uid = await push(world)
        await comes_to(world, uid, planned=3, accepted=1, suppressed=2)
    explained = await world.call("push_explain", uid=uid, device_id=people["aa"])
    assert (explained["verdict"], explained["reason"]) == ("suppressed", "TopicMuted")


@pytest.mark.usefixtures("people")
async def test_a_user_who_is_in_the_app_gets_nothing(world: World, apns: ApnsEmulator, clock: Clock) -> None:
    await users.set_presence(world.database, "ann", MORNING + 60, MORNING)
    async with world.worker(clock=clock):
        uid = await push(world, suppress_if_online=True)
        await comes_to(world, uid, planned=3, accepted=1, suppressed=2)
        assert await reasons(world, uid) == {("suppressed", "Online")}
        clock.now += 120
        uid = await push(world, suppress_if_online=True)
        await comes_to(world, uid, planned=3, accepted=3)
    assert apns.counters().requests == 4


@pytest.mark.usefixtures("people")
async def test_a_push_with_a_delay_waits_for_it(world: World) -> None:
    uid = await push(world, suppress_if_online=True, delay_ms=60_000)
    status = await world.call("push_status", uid=uid)
    assert status["state"] == "scheduled"
    assert 59 <= status["send_at"] - status["accepted_at"] <= 61


@pytest.mark.usefixtures("people")
async def test_an_automatic_badge_is_the_counter_of_each_user(world: World, apns: ApnsEmulator) -> None:
    await world.call("badge_update", user="ann", op="set", value=7)
    async with world.worker():
        uid = await push(world, notification={"title": "Hi", "badge": "auto"})
        await comes_to(world, uid, planned=3, accepted=3)
    payloads: dict[str, Any] = {each.token: each.payload for each in apns.requests(limit=10)}
    shown = {token: payload["aps"].get("badge") for token, payload in payloads.items()}
    assert shown == {"aa": 7, "ab": 7, "bb": None}
