"""device_update and device_remove."""

from typing import Any

import pytest

from methods.errors import BadRequestError
from storage.database import Database
from storage.ids import new_id
from tests.methods.device_calls import Call, register


async def listed(call: Call, **given: Any) -> list[Any]:
    found = await call("device_list", include_meta=True, include_topics=True, **given)
    items: list[Any] = found["items"]
    return items


async def test_only_what_is_given_changes(call: Call) -> None:
    device = await register(call, user="u", meta={"k": "v"}, topics=["a"], timezone="UTC", locale="en")
    await call("device_update", ids=[device["id"]], locale_update={"locale": "pt"})
    changed = (await listed(call))[0]
    del changed["updated_at"], device["updated_at"]
    assert changed == device | {"locale": "pt"}


async def test_everything_can_change_in_one_call(call: Call) -> None:
    device = await register(call, user="u", topics=["a", "b"])
    await call(
        "device_update",
        ids=[device["id"]],
        users=["u"],
        user_update={"user": "v"},
        meta_update={"meta": {"x": "y"}},
        topics_update={"op": "set", "topics": ["b", "c"]},
        timezone_update={"timezone": "Asia/Tokyo"},
        locale_update={"locale": "ja"},
    )
    changed = (await listed(call))[0]
    assert changed["user"] == "v"
    assert changed["meta"] == {"x": "y"}
    assert changed["topics"] == ["b", "c"]
    assert (changed["timezone"], changed["locale"]) == ("Asia/Tokyo", "ja")


async def test_objects_that_are_present_and_empty_are_applied(call: Call) -> None:
    device = await register(call, user="u", meta={"k": "v"}, topics=["a"], timezone="UTC", locale="en")
    empty: dict[str, Any] = {name: {} for name in ("user_update", "meta_update", "timezone_update", "locale_update")}
    await call("device_update", ids=[device["id"]], topics_update={"op": "set"}, **empty)
    assert not {"user", "meta", "topics", "timezone", "locale"} & (await listed(call))[0].keys()


async def test_topics_are_added_and_removed(call: Call) -> None:
    device = await register(call, topics=["a", "b"])
    await call("device_update", ids=[device["id"]], topics_update={"op": "add", "topics": ["c", "a", "c"]})
    assert (await listed(call))[0]["topics"] == ["a", "b", "c"]
    await call("device_update", ids=[device["id"]], topics_update={"op": "remove", "topics": ["a", "z"]})
    assert (await listed(call))[0]["topics"] == ["b", "c"]


async def test_ids_and_users_narrow_each_other(call: Call) -> None:
    first, second = await register(call, "t1", user="u"), await register(call, "t2", user="v")
    await call("device_update", ids=[first["id"], second["id"]], users=["v"], locale_update={"locale": "fr"})
    assert [item.get("locale") for item in await listed(call)] == [None, "fr"]


async def test_users_alone_choose_all_their_devices(call: Call) -> None:
    for token in ("t1", "t2"):
        await register(call, token, user="u")
    await call("device_update", users=["u"], user_update={"user": "v"}, topics_update={"op": "add", "topics": ["a"]})
    assert [(item["user"], item["topics"]) for item in await listed(call)] == [("v", ["a"])] * 2


async def test_a_new_user_does_not_bring_its_topics(call: Call) -> None:
    await call("user_topic_update", user="v", op="add", topics=["of v"])
    device = await register(call, user="u", topics=["own"])
    await call("device_update", ids=[device["id"]], user_update={"user": "v"})
    assert (await listed(call))[0]["topics"] == ["own"]


async def test_updated_at_moves_and_registered_at_does_not(call: Call, database: Database) -> None:
    times = b"select updated_at, registered_at from devices"
    device = await register(call)
    before = (await database.values(times, {}))[0]
    await call("device_update", ids=[device["id"]], locale_update={"locale": "en"})
    after = (await database.values(times, {}))[0]
    assert (before[0] < after[0], before[1] == after[1]) == (True, True)


async def test_unknown_and_malformed_ids_are_fine_and_change_nothing(call: Call) -> None:
    device = await register(call)
    await call("device_update", ids=[new_id(), "no uuid"], user_update={"user": "v"})
    await call("device_remove", ids=["no uuid"])
    assert (await listed(call))[0].get("user") == device.get("user")


async def test_malformed_changes_are_refused(call: Call) -> None:
    malformed: list[tuple[dict[str, Any], str]] = [
        ({}, "ids"),
        ({"ids": [], "users": []}, "ids"),
        ({"users": ["u"], "topics_update": {}}, "topics_update.op"),
        ({"users": ["u"], "topics_update": {"op": "toggle"}}, "topics_update.op"),
        ({"users": ["u"], "timezone_update": {"timezone": "Nowhere"}}, "timezone_update.timezone"),
        ({"users": ["u"], "locale_update": {"locale": "??"}}, "locale_update.locale"),
        ({"users": ["u"], "meta_update": {"meta": {"k": None}}}, "meta_update.meta[...]"),
        ({"users": "u"}, "users"),
    ]
    for wrong, path in malformed:
        with pytest.raises(BadRequestError) as refused:
            await call("device_update", **wrong)
        assert refused.value.path == path, wrong


async def test_devices_are_removed_by_id_user_and_token(call: Call) -> None:
    by_id, _, _, kept = [await register(call, f"t{n}", user=f"u{n}", topics=["a"]) for n in range(4)]
    await call("device_remove", ids=[by_id["id"], by_id["id"]])
    await call("device_remove", users=["u1", "nobody"])
    await call("device_remove", tokens=["t2", "unknown"])
    assert [item["id"] for item in await listed(call)] == [kept["id"]]


async def test_the_lists_of_a_removal_narrow_each_other(call: Call) -> None:
    first, second = await register(call, "t1", user="u"), await register(call, "t2", user="u")
    await call("device_remove", users=["u"], ids=[first["id"]], tokens=["t1", "t2"])
    assert [item["id"] for item in await listed(call)] == [second["id"]]


async def test_apns_tokens_are_removed_in_any_case(call: Call) -> None:
    await register(call, "abcdef", provider="apns", platform="ios")
    await call("device_remove", tokens=["ABCDEF"])
    assert await listed(call) == []


async def test_a_removal_without_any_list_is_refused(call: Call) -> None:
    await register(call)
    nothing: dict[str, Any]
    for nothing in ({}, {"ids": [], "users": [], "tokens": []}, {"ids": None}):
        with pytest.raises(BadRequestError):
            await call("device_remove", **nothing)
    assert len(await listed(call)) == 1
