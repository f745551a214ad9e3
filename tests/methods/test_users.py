"""Preferences, presence, badges and the removal of users, as the door calls them."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from methods.context import Context
from methods.errors import BadRequestError
from storage import users
from storage.database import Database
from tests.methods.explaining import work
from tests.methods.push_calls import APNS, Send, put_credentials, sender

NIGHTS = {"days": [1, 2, 3, 4, 5, 6, 7], "from": "22:00", "to": "07:00"}


@pytest.fixture
def call(context: Callable[..., Context]) -> Send:
    """What calls a method by its name."""
    made = sender(context)
    return lambda method, **params: made(method=method, **params)


async def test_a_user_of_whom_nothing_is_kept_wants_everything(call: Send) -> None:
    assert await call("user_preferences_get", user="ann") == {"user": "ann", "level": "low"}


async def test_what_is_given_is_written_and_what_is_absent_stays(call: Send) -> None:
    later = int(time.time()) + 3600
    await call("user_preferences_update", user="ann", quiet_hours=[NIGHTS], snooze_until=later, muted_topics=["b", "a"])
    changed = await call("user_preferences_update", user="ann", level="high", muted_topics=None)
    assert changed == {
        "user": "ann",
        "level": "high",
        "quiet_hours": [NIGHTS],
        "snooze_until": later,
        "muted_topics": ["a", "b"],
    }
    assert await call("user_preferences_get", user="ann") == changed


async def test_an_empty_list_clears_and_zero_ends_the_snooze(call: Send) -> None:
    later = int(time.time()) + 3600
    await call("user_preferences_update", user="ann", quiet_hours=[NIGHTS], snooze_until=later, muted_topics=["a"])
    cleared = await call("user_preferences_update", user="ann", quiet_hours=[], snooze_until=0, muted_topics=[])
    assert cleared == {"user": "ann", "level": "low"}


async def test_one_topic_is_muted_beside_the_others(call: Send) -> None:
    for topic in ("news", "sports"):
        await call("user_preferences_update", user="ann", muted_topics=[topic], op="add")
    found = await call("user_preferences_update", user="ann", muted_topics=["news"], op="remove")
    assert found["muted_topics"] == ["sports"]


async def test_days_are_kept_once_and_in_their_order(call: Send, database: Database) -> None:
    days = [{**NIGHTS, "days": [7, 1, 7]}]
    found = await call("user_preferences_update", user="ann", quiet_hours=days)
    assert found["quiet_hours"] == [{**NIGHTS, "days": [1, 7]}]
    await call("user_preferences_update", user="bob", quiet_hours=[{**NIGHTS, "days": [1, 7]}])
    kept = await users.preferences(database, ["ann", "bob"])
    assert kept["ann"] == kept["bob"], "so that what is read of one is known of the other"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"quiet_hours": [NIGHTS, {**NIGHTS, "from": "25:00"}]}, "quiet_hours[1].from"),
        ({"quiet_hours": [{**NIGHTS, "to": "22:00"}]}, "quiet_hours[0].to"),
        ({"quiet_hours": [{**NIGHTS, "days": []}]}, "quiet_hours[0].days"),
        ({"quiet_hours": [{**NIGHTS, "days": [0]}]}, "quiet_hours[0].days[0]"),
        ({"quiet_hours": [{"days": [1], "to": "07:00"}]}, "quiet_hours[0].from"),
        ({"quiet_hours": [NIGHTS] * 51}, "quiet_hours"),
        ({"level": "urgent"}, "level"),
        ({"snooze_until": -1}, "snooze_until"),
        ({"snooze_until": 1_795_000_000_000}, "snooze_until"),
        ({"muted_topics": [""]}, "muted_topics[0]"),
        ({"op": "toggle"}, "op"),
        ({"user": ""}, "user"),
    ],
)
async def test_preferences_that_mean_nothing_are_refused(call: Send, given: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        await call("user_preferences_update", **({"user": "ann"} | given))
    assert caught.value.path == path
    assert caught.value.detail


async def test_a_user_mutes_at_most_a_thousand_topics(call: Send) -> None:
    await call("user_preferences_update", user="ann", muted_topics=[str(n) for n in range(1000)])
    with pytest.raises(BadRequestError) as caught:
        await call("user_preferences_update", user="ann", muted_topics=["more"], op="add")
    assert caught.value.path == "muted_topics"


async def test_a_user_is_in_the_app_until_the_time_told_or_another_word(call: Send, database: Database) -> None:
    now = time.time()
    assert await call("user_presence_update", user="ann", online_until=int(now) + 60) == {}
    assert await users.online_until(database, ["ann"], now) == {"ann": int(now) + 60}
    assert await call("user_presence_update", user="ann", online_until=0) == {}
    assert await users.online_until(database, ["ann"], now) == {}


async def test_a_badge_is_counted_and_read(call: Send) -> None:
    assert await call("badge_update", user="ann", op="set", value=5) == {"user": "ann", "badge": 5}
    assert await call("badge_update", user="ann", op="add") == {"user": "ann", "badge": 6}
    assert await call("badge_update", user="ann", op="add", value=-9) == {"user": "ann", "badge": 0}
    assert await call("badge_update", user="ann", op="add", value=2) == {"user": "ann", "badge": 2}
    assert await call("badge_update", user="ann", op="add", value=0) == {"user": "ann", "badge": 2}
    assert await call("badge_update", user="ann", op="reset") == {"user": "ann", "badge": 0}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"op": "set"}, "value"),
        ({"op": "set", "value": -1}, "value"),
        ({"op": "add", "value": 2**31}, "value"),
        ({"op": "less"}, "op"),
        ({}, "op"),
    ],
)
async def test_a_change_of_a_badge_that_means_nothing_is_refused(call: Send, given: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        await call("badge_update", user="ann", **given)
    assert caught.value.path == path


async def test_a_removed_user_gets_nothing_more_and_is_told_of_nowhere(call: Send, database: Database) -> None:
    await put_credentials(database)
    device = (
        await call("device_register", provider="apns", platform="ios", token="ab" * 32, user="ann", topics=["a"])
    )["id"]
    await call("user_topic_update", user="ann", op="add", topics=["news"])
    await call("user_preferences_update", user="ann", level="high")
    await call("badge_update", user="ann", op="add")

    async def push() -> str:
        sent = await call("send_push_notification", recipient={"users": ["ann"]}, notification={"apns": APNS})
        return str(sent["uid"])

    uid = await push()
    await work(database)
    await call("update_push_status", analytics_uid=uid, status="delivered", device_id=device)
    waiting = await push()
    assert await call("user_remove", user="ann") == {
        "user": "ann",
        "devices": 1,
        "topics": 1,
        "preferences": 1,
        "badge": 1,
        "receipts": 1,
        "outcomes": 1,
        "suppressed": 1,
    }
    assert (await call("push_explain", uid=uid, device_id=device))["verdict"] != "accepted"
    assert (await call("device_pushes", device_id=device))["items"] == []
    assert (await call("push_status", uid=uid))["ledger"]["accepted"] == 1
    status = await call("push_status", uid=waiting)
    assert (status["state"], status["ledger"]["suppressed"]) == ("done", 1)
    assert (await call("device_list", filter={"users": ["ann"]}))["items"] == []
    assert (await call("user_topic_list", filter={"users": ["ann"]}))["items"] == []
    assert await call("user_preferences_get", user="ann") == {"user": "ann", "level": "low"}
    assert await call("user_remove", user="ann") == {"user": "ann"}


async def test_a_sync_token_of_before_does_not_log_a_removed_user_in(call: Send) -> None:
    token = (await call("device_sync_token", user="ann"))["token"]
    await call("user_remove", user="ann")
    answer = await call("device_sync", provider="fcm", platform="android", token="t", push_sync_tokens=[token])
    assert answer == {"invalid_push_sync_tokens": [token]}


async def test_everyone_is_not_a_user_to_remove(call: Send) -> None:
    with pytest.raises(BadRequestError):
        await call("user_remove", user="")
