"""Preferences, presence and badges in the database."""

import asyncio

import pytest

from storage import users
from storage.database import Database
from storage.queries import load
from storage.users import MOST_BADGE, MOST_MUTED_TOPICS, Preferences, TooManyTopicsError

NOW = 1_795_000_000.0
AHEAD = 4_000_000_000.0
_QUERIES = load("users")


async def test_users_of_whom_nothing_is_kept_are_absent(database: Database) -> None:
    await users.update_preferences(database, "ann", level="high")
    await users.set_presence(database, "ann", NOW + 60, NOW)
    await users.change_badge(database, "ann", "set", 3)
    assert await users.preferences(database, ["ann", "bob"]) == {"ann": Preferences(level="high")}
    assert await users.online_until(database, ["ann", "bob"], NOW) == {"ann": NOW + 60}
    assert await users.badges(database, ["ann", "bob"]) == {"ann": 3}


async def test_what_is_not_given_stays_and_what_is_given_is_written(database: Database) -> None:
    await users.update_preferences(database, "ann", quiet_hours='["x"]', snooze_until=AHEAD, muted_topics=["b", "a"])
    assert await users.update_preferences(database, "ann", level="none") == Preferences(
        '["x"]', AHEAD, ["a", "b"], "none"
    )
    cleared = await users.update_preferences(database, "ann", quiet_hours="[]", snooze_until=0.0, muted_topics=[])
    assert cleared == Preferences(level="none")
    assert await users.preferences(database, ["ann"]) == {"ann": cleared}


async def test_a_snooze_that_is_past_is_none(database: Database) -> None:
    assert (await users.update_preferences(database, "ann", snooze_until=1.0)).snooze_until is None


async def test_topics_are_added_to_and_removed_from_what_is_muted(database: Database) -> None:
    async def muted(op: str, *topics: str) -> list[str]:
        return (await users.update_preferences(database, "ann", muted_topics=topics, op=op)).muted_topics

    assert await muted("remove", "a") == []
    assert await muted("add", "b", "a", "b") == ["a", "b"]
    assert await muted("add", "c", "a") == ["a", "b", "c"]
    assert await muted("remove", "b", "z") == ["a", "c"]
    assert await muted("set", "z", "z") == ["z"]


async def test_topics_added_at_the_same_time_are_all_muted(database: Database) -> None:
    topics = [f"topic {n:02}" for n in range(20)]
    async with asyncio.TaskGroup() as tasks:
        for topic in topics:
            tasks.create_task(users.update_preferences(database, "ann", muted_topics=[topic], op="add"))
    assert (await users.preferences(database, ["ann"]))["ann"].muted_topics == topics


async def test_a_user_mutes_no_more_topics_than_may_be(database: Database) -> None:
    most = [f"{n:04}" for n in range(MOST_MUTED_TOPICS)]
    await users.update_preferences(database, "ann", muted_topics=most)
    with pytest.raises(TooManyTopicsError):
        await users.update_preferences(database, "ann", muted_topics=["one more"], op="add", level="none")
    assert await users.update_preferences(database, "ann", muted_topics=["0001"], op="add") == Preferences(
        muted_topics=most
    )


async def test_presence_ends_by_itself_and_by_a_word(database: Database) -> None:
    await users.set_presence(database, "ann", NOW + 60, NOW)
    await users.set_presence(database, "bob", NOW + 60, NOW)
    await users.set_presence(database, "bob", 0, NOW)
    await users.set_presence(database, "cid", NOW, NOW)
    assert await users.online_until(database, ["ann", "bob", "cid"], NOW + 59) == {"ann": NOW + 60}
    assert await users.online_until(database, ["ann", "bob", "cid"], NOW + 60) == {}


async def test_presence_of_the_past_is_removed_a_few_at_a_time(database: Database) -> None:
    for n in range(5):
        await users.set_presence(database, f"gone {n}", NOW - 3600, NOW - 7200)
    await users.set_presence(database, "here", NOW + 60, NOW)
    assert [await users.remove_past_presence(database, NOW, 3) for _ in range(3)] == [3, 2, 0]
    assert await users.online_until(database, ["here"], NOW) == {"here": NOW + 60}


async def test_a_heartbeat_within_the_hour_changes_no_indexed_column(database: Database) -> None:
    hour = NOW // 3600 * 3600
    seen: set[float] = set()
    for minute in range(1, 61):
        await users.set_presence(database, "ann", hour + minute * 60, hour)
        [(forget_at,)] = await database.values(b"select extract(epoch from forget_at)::float8 from user_presence", {})
        seen.add(forget_at)
    assert seen == {hour + 3600}


@pytest.mark.parametrize(
    ("op", "value", "badge"),
    [("set", 7, 7), ("add", 2, 5), ("add", -2, 1), ("add", -9, 0), ("reset", 0, 0), ("add", MOST_BADGE, MOST_BADGE)],
)
async def test_a_badge_is_set_added_to_or_reset_and_never_below_zero(
    database: Database, op: str, value: int, badge: int
) -> None:
    await users.change_badge(database, "ann", "set", 3)
    assert await users.change_badge(database, "ann", op, value) == badge
    assert await users.badges(database, ["ann"]) == {"ann": badge}


async def test_reading_a_badge_makes_none(database: Database) -> None:
    assert await users.change_badge(database, "ann", "add", 0) == 0
    assert await users.badges(database, ["ann"]) == {}
    assert await users.change_badge(database, "ann", "add", -5) == 0
    assert await users.badges(database, ["ann"]) == {"ann": 0}


async def test_badges_added_at_the_same_time_are_all_counted(database: Database) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(30):
            tasks.create_task(users.change_badge(database, "ann", "add", 1))
    assert await users.change_badge(database, "ann", "add", 0) == 30


@pytest.mark.parametrize("query", ["preferences", "online_until", "badges"])
async def test_users_are_looked_up_by_their_index(database: Database, query: str) -> None:
    statement = b"explain " + _QUERIES.statements()[query]
    plan = await database.values(statement, {"users": [f"user {n}" for n in range(500)], "now": NOW})
    assert any("_pkey" in line for (line,) in plan), plan
