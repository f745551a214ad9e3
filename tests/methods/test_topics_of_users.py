"""user_topic_update and user_topic_list."""

from typing import Any

import pytest

from methods.errors import BadRequestError
from tests.methods.device_calls import Call, register


async def topics_by_token(call: Call) -> dict[str, list[str]]:
    found = await call("device_list", include_topics=True)
    return {item["token"]: item.get("topics", []) for item in found["items"]}


async def pairs(call: Call, **chosen: Any) -> list[tuple[str, str]]:
    found = await call("user_topic_list", filter=chosen)
    return [(item.get("user", ""), item["topic"]) for item in found["items"]]


async def test_topics_of_a_user_reach_the_devices_of_that_user_at_once(call: Call) -> None:
    await register(call, "t1", user="u", topics=["own"])
    await register(call, "t2", user="u")
    await register(call, "t3", user="v")
    await call("user_topic_update", user="u", op="add", topics=["a", "own", "a"])
    assert await topics_by_token(call) == {"t1": ["a", "own"], "t2": ["a", "own"], "t3": []}


async def test_what_is_removed_from_a_user_is_removed_from_the_devices(call: Call) -> None:
    await register(call, "t1", user="u", topics=["own"])
    await call("user_topic_update", user="u", op="add", topics=["a", "b"])
    await call("user_topic_update", user="u", op="remove", topics=["a", "unknown"])
    assert await topics_by_token(call) == {"t1": ["b", "own"]}
    assert await pairs(call) == [("u", "b")]


async def test_set_replaces_what_the_user_had_and_keeps_what_only_the_device_has(call: Call) -> None:
    await register(call, "t1", user="u", topics=["own"])
    await call("user_topic_update", user="u", op="set", topics=["a", "b"])
    await call("user_topic_update", user="u", op="set", topics=["b", "c"])
    assert await topics_by_token(call) == {"t1": ["b", "c", "own"]}
    await call("user_topic_update", user="u", op="set")
    assert await topics_by_token(call) == {"t1": ["own"]}
    assert await pairs(call) == []


async def test_topics_of_everyone_wait_for_the_next_registration(call: Call) -> None:
    await register(call, "t1")
    await register(call, "t2", user="u")
    await call("user_topic_update", user="", op="add", topics=["all"])
    assert await topics_by_token(call) == {"t1": [], "t2": []}
    await register(call, "t1")
    await register(call, "t2", user="u")
    assert await topics_by_token(call) == {"t1": ["all"], "t2": ["all"]}
    await call("user_topic_update", user="", op="remove", topics=["all"])
    assert await topics_by_token(call) == {"t1": ["all"], "t2": ["all"]}
    await register(call, "t2", user="u")
    assert await topics_by_token(call) == {"t1": ["all"], "t2": []}


async def test_items_hold_id_user_and_topic(call: Call) -> None:
    await call("user_topic_update", user="u", op="add", topics=["a"])
    await call("user_topic_update", user="", op="add", topics=["b"])
    items = (await call("user_topic_list"))["items"]
    assert [{**item, "id": item["id"].isdigit()} for item in items] == [
        {"id": True, "user": "u", "topic": "a"},
        {"id": True, "topic": "b"},
    ]


async def test_the_list_is_filtered_and_counted(call: Call) -> None:
    await call("user_topic_update", user="u", op="add", topics=["a.1"])
    await call("user_topic_update", user="v", op="add", topics=["a.1"])
    await call("user_topic_update", user="v", op="add", topics=["b"])
    await call("user_topic_update", user="", op="add", topics=["c"])
    cases: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
        ({}, [("u", "a.1"), ("v", "a.1"), ("v", "b"), ("", "c")]),
        ({"users": ["v"]}, [("v", "a.1"), ("v", "b")]),
        ({"users": ["u", ""]}, [("u", "a.1"), ("", "c")]),
        ({"topics": ["a.1"]}, [("u", "a.1"), ("v", "a.1")]),
        ({"topics": ["b", "c"]}, [("v", "b"), ("", "c")]),
        ({"topic_prefix": "a"}, [("u", "a.1"), ("v", "a.1")]),
        ({"users": ["v"], "topic_prefix": "a"}, [("v", "a.1")]),
    ]
    for chosen, expected in cases:
        assert await pairs(call, **chosen) == expected, chosen
        counted = await call("user_topic_list", filter=chosen, limit=1, include_total_count=True)
        assert counted["total_count"] == len(expected), chosen


async def test_pages_follow_each_other(call: Call) -> None:
    for topic in "abcde":
        await call("user_topic_update", user="u", op="add", topics=[topic])
    first = await call("user_topic_list", limit=2)
    second = await call("user_topic_list", limit=2, cursor=first["next_cursor"])
    last = await call("user_topic_list", limit=2, cursor=second["next_cursor"])
    assert [item["topic"] for page in (first, second, last) for item in page["items"]] == list("abcde")
    assert not {"has_more", "next_cursor"} & last.keys()


async def test_malformed_calls_are_refused(call: Call) -> None:
    for wrong in ({"op": "toggle"}, {"user": None}, {"topics": [""]}, {"user": "u" * 256}):
        with pytest.raises(BadRequestError):
            await call("user_topic_update", **{"user": "u", "op": "add", "topics": ["a"], **wrong})
    for cursor in ("x", "-1", "9" * 30, "٣"):
        with pytest.raises(BadRequestError):
            await call("user_topic_list", cursor=cursor)
