"""device_topic_update and device_topic_list."""

from typing import Any

import pytest

from methods.errors import BadRequestError, ConflictError, NotFoundError
from storage.ids import new_id
from tests.methods.device_calls import Call, register


async def topics_of(call: Call, device_id: str) -> list[str]:
    found = await call("device_list", ids=[device_id], include_topics=True)
    topics: list[str] = found["items"][0].get("topics", [])
    return topics


async def pairs(call: Call, **chosen: Any) -> list[tuple[str, str]]:
    found = await call("device_topic_list", filter=chosen, include_device=True)
    return [(item["device"]["token"], item["topic"]) for item in found["items"]]


async def test_topics_are_added_removed_and_set(call: Call) -> None:
    device_id = (await register(call, topics=["a"]))["id"]
    steps: list[tuple[str, list[str] | None, list[str]]] = [
        ("add", ["b", "a", "b"], ["a", "b"]),
        ("add", [], ["a", "b"]),
        ("remove", ["a", "unknown"], ["b"]),
        ("set", ["c", "d"], ["c", "d"]),
        ("set", None, []),
    ]
    for op, topics, expected in steps:
        assert await call("device_topic_update", device_id=device_id, op=op, topics=topics) == {}
        assert await topics_of(call, device_id) == expected, op


async def test_an_unknown_device_is_not_found(call: Call) -> None:
    for device_id in (new_id(), "no uuid", ""):
        with pytest.raises(NotFoundError):
            await call("device_topic_update", device_id=device_id, op="add", topics=["a"])


async def test_the_guard_protects_the_device_of_another_user(call: Call) -> None:
    device_id = (await register(call, user="u", topics=["a"]))["id"]
    for op in ("add", "remove", "set"):
        with pytest.raises(ConflictError):
            await call("device_topic_update", device_id=device_id, op=op, topics=["a", "b"], user="v")
    assert await topics_of(call, device_id) == ["a"]
    await call("device_topic_update", device_id=device_id, op="add", topics=["b"], user="u")
    await call("device_topic_update", device_id=device_id, op="add", topics=["c"], user="")
    assert await topics_of(call, device_id) == ["a", "b", "c"]


async def test_malformed_changes_are_refused(call: Call) -> None:
    device_id = (await register(call))["id"]
    for wrong in ({"op": "toggle"}, {"op": None}, {"topics": ["x" * 256]}, {"topics": [""]}, {"device_id": None}):
        with pytest.raises(BadRequestError):
            await call("device_topic_update", **{"device_id": device_id, "op": "add", "topics": ["a"], **wrong})


async def test_items_name_device_and_topic(call: Call) -> None:
    device = await register(call, user="u", topics=["a:b"], locale="en")
    plain = (await call("device_topic_list"))["items"]
    assert plain == [{"id": f"{device['id']}:a:b", "topic": "a:b", "device": {"id": device["id"]}}]
    whole = (await call("device_topic_list", include_device=True))["items"][0]["device"]
    assert whole == {key: value for key, value in device.items() if key != "topics"}


async def test_the_list_is_filtered(call: Call) -> None:
    first = await register(call, "t1", user="u", topics=["news.a", "news.b", "other"])
    await register(call, "ab", user="v", topics=["news.a", "50%_off"], provider="apns", platform="ios")
    cases: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
        ({"device_ids": [first["id"]]}, [("t1", "news.a"), ("t1", "news.b"), ("t1", "other")]),
        ({"device_ids": ["no uuid"]}, []),
        ({"device_providers": ["apns"]}, [("ab", "50%_off"), ("ab", "news.a")]),
        ({"device_platforms": ["apns"]}, [("ab", "50%_off"), ("ab", "news.a")]),
        ({"device_users": ["v", "nobody"]}, [("ab", "50%_off"), ("ab", "news.a")]),
        ({"topics": ["news.a"]}, [("t1", "news.a"), ("ab", "news.a")]),
        ({"topics": ["news.b", "50%_off"]}, [("t1", "news.b"), ("ab", "50%_off")]),
        ({"topic_prefix": "news."}, [("t1", "news.a"), ("t1", "news.b"), ("ab", "news.a")]),
        ({"topic_prefix": "50%"}, [("ab", "50%_off")]),
        ({"topic_prefix": "%"}, []),
        ({"topic_prefix": "_"}, []),
        ({"topic_prefix": "news.", "device_users": ["v"]}, [("ab", "news.a")]),
    ]
    for chosen, expected in cases:
        assert await pairs(call, **chosen) == expected, chosen
        counted = await call("device_topic_list", filter=chosen, limit=1, include_total_count=True)
        assert counted.get("total_count", 0) == len(expected), chosen


async def test_pages_follow_each_other_without_gap_or_repetition(call: Call) -> None:
    for token in ("t1", "t2", "t3"):
        await register(call, token, topics=["a", "b", "c"])
    everything = await call("device_topic_list")
    for chosen, count in (({}, 9), ({"topics": ["b"]}, 3), ({"topic_prefix": "c"}, 3), ({"topics": ["a", "c"]}, 6)):
        seen: list[str] = []
        cursor = ""
        while True:
            page = await call("device_topic_list", filter=chosen, limit=2, cursor=cursor)
            seen += [item["id"] for item in page["items"]]
            if not page.get("has_more"):
                break
            cursor = page["next_cursor"]
        wanted = [item["id"] for item in everything["items"] if item["id"] in seen]
        assert (seen, len(seen)) == (wanted, count)


async def test_a_cursor_that_is_none_is_refused(call: Call) -> None:
    for cursor in ("x", new_id(), "x:a"):
        with pytest.raises(BadRequestError) as refused:
            await call("device_topic_list", cursor=cursor)
        assert refused.value.path == "cursor"
