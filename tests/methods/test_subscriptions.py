"""The methods of the 2023 draft over topics: device_subscription_add, _remove, _list."""

from typing import Any

import pytest

from methods.errors import BadRequestError, NotFoundError
from storage.ids import new_id
from tests.methods.device_calls import Call, register


async def pairs(call: Call, **given: Any) -> list[tuple[str, str]]:
    found = await call("device_subscription_list", **given)
    return [(item["device_token"], item["channel"]) for item in found["items"]]


async def test_a_channel_is_a_topic(call: Call) -> None:
    device = await register(call, topics=["a"])
    assert await call("device_subscription_add", device_id=device["id"], channels=["b", "b"]) == {}
    assert await call("device_subscription_remove", device_id=device["id"], channels=["a", "unknown"]) == {}
    assert (await call("device_list", include_topics=True))["items"][0]["topics"] == ["b"]


async def test_no_channels_change_nothing(call: Call) -> None:
    device = await register(call, topics=["a"])
    await call("device_subscription_add", device_id=device["id"])
    await call("device_subscription_remove", device_id=device["id"], channels=[])
    assert await pairs(call) == [("t1", "a")]


async def test_an_unknown_device_is_not_found(call: Call) -> None:
    for method in ("device_subscription_add", "device_subscription_remove"):
        for device_id in (new_id(), "no uuid"):
            with pytest.raises(NotFoundError):
                await call(method, device_id=device_id, channels=["a"])


async def test_items_describe_the_device(call: Call) -> None:
    device = await register(call, user="u", topics=["a"])
    assert await call("device_subscription_list") == {
        "items": [
            {
                "id": f"{device['id']}:a",
                "device_id": device["id"],
                "device_token": "t1",
                "device_platform": "android",
                "device_user": "u",
                "channel": "a",
            }
        ]
    }


async def test_the_list_is_filtered(call: Call) -> None:
    first = await register(call, "t1", user="u", topics=["a", "b"])
    await register(call, "ab", user="v", topics=["a"], provider="apns", platform="ios")
    cases: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
        ({"device_ids": [first["id"]]}, [("t1", "a"), ("t1", "b")]),
        ({"device_platforms": ["ios"]}, [("ab", "a")]),
        ({"device_tokens": ["AB", "x"]}, [("ab", "a")]),
        ({"device_users": ["u"]}, [("t1", "a"), ("t1", "b")]),
        ({"channels": ["a"]}, [("t1", "a"), ("ab", "a")]),
        ({"channels": ["b"], "device_users": ["v"]}, []),
    ]
    for chosen, expected in cases:
        assert await pairs(call, **chosen) == expected, chosen


async def test_since_is_the_id_of_the_last_one(call: Call) -> None:
    await register(call, topics=["a", "b", "c"])
    first = await call("device_subscription_list", limit=2)
    assert first["has_more"]
    assert await pairs(call, since=first["items"][-1]["id"]) == [("t1", "c")]
    with pytest.raises(BadRequestError):
        await call("device_subscription_list", since="x")
