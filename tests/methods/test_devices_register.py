"""device_register."""

from typing import Any

import pytest

from methods.errors import BadRequestError
from storage.database import Database
from storage.ids import as_id, new_id
from tests.methods.device_calls import Call, register


async def test_a_new_device_gets_an_id_and_is_returned_whole(call: Call) -> None:
    device = await register(
        call,
        user="u",
        meta={"k": "v"},
        topics=["b", "a", "b"],
        timezone="Europe/Lisbon",
        locale="pt-BR",
        provider_id="second",
        app_version="1.2",
    )
    assert as_id(device.pop("id"))
    assert device.pop("created_at") == device.pop("updated_at") > 0
    assert device == {
        "provider": "fcm",
        "platform": "android",
        "token": "t1",
        "user": "u",
        "meta": {"k": "v"},
        "topics": ["a", "b"],
        "timezone": "Europe/Lisbon",
        "locale": "pt-BR",
        "provider_id": "second",
        "app_version": "1.2",
        "state": "active",
    }


async def test_a_known_token_is_the_same_device(call: Call) -> None:
    first, second = await register(call), await register(call)
    assert first["id"] == second["id"]


async def test_one_token_under_two_credentials_is_two_devices(call: Call) -> None:
    first, second = await register(call), await register(call, provider_id="other")
    assert first["id"] != second["id"]


async def test_what_is_omitted_is_cleared(call: Call) -> None:
    optional = {"user", "meta", "topics", "timezone", "locale", "app_version"}
    first = await register(call, user="u", meta={"k": "v"}, topics=["a"], timezone="UTC", locale="en", app_version="1")
    again = await register(call)
    assert (optional & first.keys(), optional & again.keys()) == (optional, set())


async def test_registered_at_moves_and_created_at_stays(call: Call, database: Database) -> None:
    times = b"select created_at, registered_at from devices"
    await register(call)
    before = (await database.values(times, {}))[0]
    await register(call)
    after = (await database.values(times, {}))[0]
    assert before[0] == after[0]
    assert before[1] < after[1]


async def test_a_dead_device_is_active_again(call: Call, database: Database) -> None:
    await register(call)
    await database.execute(b"update devices set state = 'dead', failing_reason = 'Unregistered'", {})
    device = await register(call)
    assert (device["state"], device.get("failing_reason")) == ("active", None)


async def test_an_id_that_exists_gets_the_new_token(call: Call) -> None:
    device = await register(call, "old", user="u")
    moved = await register(call, "new", id=device["id"])
    assert (moved["id"], moved["token"], "user" in moved) == (device["id"], "new", False)
    assert len((await call("device_list"))["items"]) == 1


async def test_a_token_is_taken_over_from_the_device_that_had_it(call: Call) -> None:
    holder, taker = await register(call, "t1", topics=["a"]), await register(call, "t2")
    taken = await register(call, "t1", id=taker["id"])
    assert taken["id"] == taker["id"] != holder["id"]
    assert [item["id"] for item in (await call("device_list"))["items"]] == [taker["id"]]


async def test_an_unknown_id_is_created(call: Call) -> None:
    given = new_id()
    assert (await register(call, id=given.upper()))["id"] == given


async def test_an_empty_id_is_none(call: Call) -> None:
    assert (await register(call, id=""))["id"]


async def test_topics_are_those_given_and_the_users_and_everyones(call: Call) -> None:
    await call("user_topic_update", user="u", op="add", topics=["of user", "both"])
    await call("user_topic_update", user="", op="add", topics=["of everyone"])
    await call("user_topic_update", user="other", op="add", topics=["of another"])
    device = await register(call, user="u", topics=["own", "both"])
    assert device["topics"] == ["both", "of everyone", "of user", "own"]


async def test_a_new_user_brings_its_topics_and_the_old_ones_go(call: Call) -> None:
    await call("user_topic_update", user="u", op="add", topics=["of u"])
    await call("user_topic_update", user="v", op="add", topics=["of v"])
    await register(call, user="u", topics=["own"])
    device = await register(call, user="v")
    assert device["topics"] == ["of v"]
    listed = await call("device_list", include_topics=True)
    assert listed["items"][0]["topics"] == ["of v"]


async def test_apns_facts_are_stored_and_tokens_are_lower_case(call: Call) -> None:
    device = await register(call, "AB" * 32, provider="apns", platform="ios", environment="sandbox", voip_token="CDEF")
    assert (device["token"], device["environment"], device["voip_token"]) == ("ab" * 32, "sandbox", "cdef")


async def test_an_installation_id_is_kept_as_such(call: Call) -> None:
    assert (await register(call, token_kind="fid"))["token_kind"] == "fid"
    assert "token_kind" not in await register(call, "t2", token_kind="token")


_MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"id": "no uuid"}, "id"),
    ({"token": ""}, "token"),
    ({"token": "a b"}, "token"),
    ({"token": "naïve"}, "token"),
    ({"token": "x" * 2049}, "token"),
    ({"provider": "apns", "token": "xyz"}, "token"),
    ({"provider": "apns", "token": "abc"}, "token"),
    ({"provider": "apns", "token": "ab", "voip_token": "x"}, "voip_token"),
    ({"provider": "pigeon"}, "provider"),
    ({"platform": "toaster"}, "platform"),
    ({"platform": None}, "platform"),
    ({"timezone": "Europe/Atlantis"}, "timezone"),
    ({"timezone": "europe/lisbon"}, "timezone"),
    ({"locale": "not a locale"}, "locale"),
    ({"locale": "pt_BR"}, "locale"),
    ({"locale": "e"}, "locale"),
    ({"user": "u" * 256}, "user"),
    ({"topics": ["t" * 256]}, "topics[0]"),
    ({"topics": [""]}, "topics[0]"),
    ({"topics": [str(n) for n in range(1001)]}, "topics"),
    ({"meta": {"k": 1}}, "meta[...]"),
    ({"meta": {str(n): "" for n in range(65)}}, "meta"),
    ({"environment": "moon"}, "environment"),
    ({"token_kind": "fid", "provider": "hms"}, "token_kind"),
]


async def test_what_is_malformed_is_refused_with_its_path(call: Call) -> None:
    for wrong, path in _MALFORMED:
        with pytest.raises(BadRequestError) as refused:
            await register(call, **wrong)
        assert (refused.value.path, bool(refused.value.detail)) == (path, True), wrong


async def test_well_formed_locales_are_taken(call: Call) -> None:
    for locale in ("en", "pt-BR", "zh-Hant-TW", "sr-Latn", "es-419", "de-CH-1996", "en-US-u-ca-gregory", "x-own"):
        assert (await register(call, locale=locale))["locale"] == locale


async def test_the_longest_values_fit_into_the_indexes(call: Call) -> None:
    wide = "\U0001f600" * 254  # 4 bytes each
    topics = [f"{letter}{wide}" for letter in "ab"]
    await call("user_topic_update", user="u" + wide, op="add", topics=topics)
    device = await register(call, "x" * 2048, user="u" + wide, provider_id="\U0001f600" * 128)
    assert device["topics"] == topics


@pytest.mark.parametrize(
    ("platform", "token", "found"),
    [("apns", "ab", ("apns", "ios")), ("android", "t", ("fcm", "android")), ("web", "t", ("fcm", "web"))],
)
async def test_the_draft_names_no_provider(call: Call, platform: str, token: str, found: tuple[str, str]) -> None:
    device = (await call("device_register", platform=platform, token=token))["device"]
    assert (device["provider"], device["platform"]) == found
