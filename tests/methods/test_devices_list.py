"""device_list."""

from typing import Any

import pytest

from methods.errors import BadRequestError
from storage.ids import new_id
from tests.methods.device_calls import Call, register


async def tokens(call: Call, **given: Any) -> list[str]:
    return [item["token"] for item in (await call("device_list", **given))["items"]]


async def some(call: Call) -> list[Any]:
    """Four devices that differ in everything a filter looks at."""
    return [
        await register(call, "t1", user="u", topics=["a", "b"], locale="en"),
        await register(call, "t2", user="u", topics=["b"], platform="web", provider_id="second"),
        await register(call, "ab12", user="v", topics=["c"], provider="apns", platform="ios", locale="pt-BR"),
        await register(call, "t4", provider="hms"),
    ]


async def test_without_a_filter_all_are_listed_in_the_order_of_ids(call: Call) -> None:
    await some(call)
    assert await tokens(call) == ["t1", "t2", "ab12", "t4"]


async def test_nothing_is_an_empty_list(call: Call) -> None:
    assert await call("device_list") == {"items": []}
    assert await call("device_list", include_total_count=True) == {"items": []}


async def test_filters_take_any_of_a_list_and_all_of_the_lists(call: Call) -> None:
    devices = await some(call)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"ids": [devices[1]["id"], devices[3]["id"].upper()]}, ["t2", "t4"]),
        ({"ids": [new_id(), "no uuid"]}, []),
        ({"ids": ["no uuid"]}, []),
        ({"users": ["u"]}, ["t1", "t2"]),
        ({"users": ["u", "v"]}, ["t1", "t2", "ab12"]),
        ({"users": [""]}, ["t4"]),
        ({"topics": ["b"]}, ["t1", "t2"]),
        ({"topics": ["a", "b", "c"]}, ["t1", "t2", "ab12"]),
        ({"topics": ["none"]}, []),
        ({"providers": ["fcm", "hms"]}, ["t1", "t2", "t4"]),
        ({"platforms": ["ios"]}, ["ab12"]),
        ({"platforms": ["apns", "web"]}, ["t2", "ab12"]),
        ({"tokens": ["AB12", "t4"]}, ["ab12", "t4"]),
        ({"provider_ids": ["second"]}, ["t2"]),
        ({"provider_ids": [""]}, ["t1", "ab12", "t4"]),
        ({"locales": ["en", "pt-BR"]}, ["t1", "ab12"]),
        ({"users": ["u"], "topics": ["a", "c"]}, ["t1"]),
        ({"users": ["u"], "providers": ["apns"]}, []),
        ({"ids": [], "users": [], "topics": []}, ["t1", "t2", "ab12", "t4"]),
    ]
    for chosen, expected in cases:
        assert await tokens(call, filter=chosen) == expected, chosen
        assert await tokens(call, **chosen) == expected, chosen
        counted = await call("device_list", filter=chosen, include_total_count=True)
        assert counted.get("total_count", 0) == len(expected), chosen


async def test_lists_in_the_filter_and_beside_it_are_both_obeyed(call: Call) -> None:
    await some(call)
    assert await tokens(call, users=["u"], filter={"topics": ["a"]}) == ["t1"]


async def test_one_list_in_both_places_is_refused(call: Call) -> None:
    with pytest.raises(BadRequestError) as refused:
        await call("device_list", users=["u"], filter={"users": ["v"]})
    assert refused.value.path == "users"


@pytest.mark.parametrize("cursor", ["cursor", "since"])
async def test_pages_follow_each_other_without_gap_or_repetition(call: Call, cursor: str) -> None:
    for number in range(7):
        await register(call, f"t{number}", topics=["a"])
    for chosen in ({}, {"topics": ["a"]}, {"topics": ["a", "b"]}):
        seen: list[str] = []
        page = await call("device_list", limit=3, filter=chosen)
        while page.get("has_more"):
            assert page["next_cursor"] == page["items"][-1]["id"]
            seen += [item["token"] for item in page["items"]]
            page = await call("device_list", limit=3, filter=chosen, **{cursor: page["next_cursor"]})
        seen += [item["token"] for item in page["items"]]
        assert (seen, "next_cursor" in page) == ([f"t{number}" for number in range(7)], False)


async def test_a_page_that_ends_at_the_last_device_says_so(call: Call) -> None:
    await some(call)
    assert not {"has_more", "next_cursor"} & (await call("device_list", limit=4)).keys()


async def test_the_total_is_that_of_the_filter_not_of_the_page(call: Call) -> None:
    devices = await some(call)
    page = await call("device_list", limit=1, include_total_count=True, cursor=devices[1]["id"])
    assert (len(page["items"]), page["total_count"]) == (1, 4)


async def test_limits_are_clamped(call: Call) -> None:
    await some(call)
    for limit, count in ((0, 4), (-1, 4), (2, 2), (1_000_000, 4), (None, 4)):
        assert len(await tokens(call, limit=limit)) == count


async def test_meta_and_topics_are_shown_when_asked_for(call: Call) -> None:
    await register(call, meta={"k": "v"}, topics=["b", "a"])
    plain = (await call("device_list"))["items"][0]
    shown = (await call("device_list", include_meta=True, include_topics=True))["items"][0]
    assert not {"meta", "topics"} & plain.keys()
    assert (shown["meta"], shown["topics"]) == ({"k": "v"}, ["a", "b"])


async def test_a_cursor_that_is_none_is_refused(call: Call) -> None:
    for name in ("cursor", "since"):
        with pytest.raises(BadRequestError) as refused:
            await call("device_list", **{name: "x"})
        assert refused.value.path == name
        assert await call("device_list", **{name: ""}) == {"items": []}


async def test_a_condition_over_topics_chooses_devices(call: Call) -> None:
    await some(call)
    for condition, found in (
        ("'a' in topics || 'c' in topics", ["t1", "ab12"]),
        ("'b' in topics && !('a' in topics)", ["t2"]),
        ("!('b' in topics)", ["ab12", "t4"]),
    ):
        assert await tokens(call, filter={"condition": condition}) == found
        assert await tokens(call, condition=condition) == found
    assert await tokens(call, filter={"condition": "'b' in topics", "users": ["u"], "locales": ["en"]}) == ["t1"]
    assert await tokens(call, filter={"condition": "'b' in topics", "topics": ["a"]}) == ["t1"]


async def test_what_is_no_condition_is_refused_with_its_place(call: Call) -> None:
    with pytest.raises(BadRequestError) as refused:
        await call("device_list", filter={"condition": "'a' in topics &"})
    assert refused.value.path == "filter.condition"
    assert "at character 14" in refused.value.detail


async def test_filters_that_cannot_be_meant_are_refused(call: Call) -> None:
    for wrong in ({"providers": ["pigeon"]}, {"platforms": ["toaster"]}, {"users": [1]}, {"ids": ["x"] * 10_001}):
        with pytest.raises(BadRequestError):
            await call("device_list", filter=wrong)
