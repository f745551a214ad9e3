"""The names that other systems have for providers and platforms, and devices with VoIP tokens."""

from typing import Any, get_args

import pytest

from methods.aliases import PLATFORMS, PROVIDERS, Provider, RegisteredPlatform
from methods.errors import BadRequestError
from storage.database import Database
from tests.methods.device_calls import Call

_SHOWN = ("provider", "platform", "environment", "token", "token_kind", "voip_token")
_VOIP = {"provider": "apns", "platform": "ios", "token_kind": "voip"}


async def registered(call: Call, token: str = "ab", **given: Any) -> dict[str, Any]:  # noqa: S107
    """Register as given; what the result says of where the device is reached, beside its token."""
    device = (await call("device_register", token=token, **given))["device"]
    return {name: device[name] for name in _SHOWN if name in device}


async def both(call: Call, token: str = "aa", voip_token: str = "bb", **given: Any) -> Any:  # noqa: S107
    """Register an APNs device with a normal and a VoIP token; return it."""
    given = {"provider": "apns", "platform": "ios", "token": token, "voip_token": voip_token, **given}
    return (await call("device_register", **given))["device"]


async def listed(call: Call, **chosen: Any) -> list[tuple[str, str]]:
    """The tokens of the devices that a filter chooses, VoIP tokens second."""
    items = (await call("device_list", filter=chosen))["items"]
    return [(item["token"], item.get("voip_token", item.get("token_kind", ""))) for item in items]


def test_every_name_is_in_its_table() -> None:
    assert set(PROVIDERS) == set(get_args(Provider))
    assert set(PLATFORMS) == set(get_args(RegisteredPlatform))
    assert len([name for name in PLATFORMS if name.startswith(("FCM_", "APNS_"))]) == 17


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gcm", {"provider": "fcm", "platform": "android"}),
        ("apns_internal", {"provider": "apns", "platform": "ios", "environment": "sandbox"}),
        ("apns_voip", _VOIP),
        ("apns_internal_voip", {**_VOIP, "environment": "sandbox"}),
    ],
)
async def test_a_chat_networks_provider_is_taken_for_what_it_says(call: Call, name: str, said: dict[str, str]) -> None:
    assert await registered(call, provider=name) == {**said, "token": "ab"}


_FCM = {"ANDROID": "android", "IOS": "ios", "WEB": "web"}


@pytest.mark.parametrize("name", [name for name in get_args(RegisteredPlatform) if name.startswith(("FCM_", "APNS_"))])
async def test_a_chat_sdks_platform_is_taken_for_what_it_says(call: Call, name: str) -> None:
    provider, *_, last = name.split("_")
    said = {"provider": "fcm", "platform": _FCM[last]} if provider == "FCM" else {"provider": "apns", "platform": "ios"}
    if last == "VOIP":
        said["token_kind"] = "voip"
    assert await registered(call, platform=name) == {**said, "token": "ab"}


async def test_a_platform_given_beside_a_name_goes_first(call: Call) -> None:
    assert (await registered(call, provider="gcm", platform="web"))["platform"] == "web"


async def test_what_a_result_says_registers_the_same_device_again(call: Call) -> None:
    for given in ({"provider": "apns_internal_voip"}, {"platform": "FCM_WEB"}, {"provider": "gcm", "token": "g"}):
        first = (await call("device_register", **{"token": "ab", **given}))["device"]
        again = {name: first[name] for name in _SHOWN if name in first}
        assert (await call("device_register", **again))["device"]["id"] == first["id"]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"provider": "fcm"}, "platform"),
        ({}, "platform"),
        ({"provider": "apns", "platform": "FCM_IOS"}, "platform"),
        ({"provider": "gcm", "platform": "APNS_IOS_DEVICE"}, "platform"),
        ({"provider": "apns_internal", "environment": "production"}, "environment"),
        ({"provider": "apns_voip", "voip_token": "cd"}, "voip_token"),
        ({"provider": "apns_voip", "token": "xyz"}, "token"),
        ({"provider": "apns", "platform": "ios", "voip_token": "AB"}, "voip_token"),
        ({"provider": "gcm", "voip_token": "cd"}, "voip_token"),
        ({"provider": "gcm", "token_kind": "voip"}, "token_kind"),
        ({"provider": "apns_voip", "token_kind": "fid"}, "token_kind"),
        ({"provider": "apns_secret"}, "provider"),
        ({"platform": "FCM_TOASTER"}, "platform"),
    ],
)
async def test_names_that_contradict_what_is_given_are_refused(call: Call, given: dict[str, str], path: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        await registered(call, **given)
    assert refused.value.path == path


async def test_filters_know_the_names_of_providers(call: Call) -> None:
    await registered(call, "g", provider="gcm")
    await registered(call, "aa", provider="apns", platform="ios")
    await registered(call, "bb", provider="apns_internal")
    await registered(call, "cc", provider="apns_voip")
    await both(call, "dd", "ee", environment="sandbox")
    cases = [
        (["gcm"], ["g"]),
        (["apns"], ["aa", "bb", "cc", "dd"]),
        (["apns_internal"], ["bb", "dd"]),
        (["apns_voip"], ["cc", "dd"]),
        (["apns_internal_voip"], ["dd"]),
        (["gcm", "apns_internal_voip"], ["g", "dd"]),
    ]
    for names, expected in cases:
        assert [token for token, _ in await listed(call, providers=names)] == expected, names


async def test_topics_of_devices_are_filtered_by_the_same_names(call: Call) -> None:
    await call("device_register", provider="gcm", token="g", topics=["t"])
    await call("device_register", provider="apns_internal", token="ab", topics=["t"])
    for names, count in ((["gcm"], 1), (["apns_internal"], 1), (["apns_voip"], 0), (["fcm", "apns"], 2)):
        found = await call("device_topic_list", filter={"device_providers": names})
        assert len(found["items"]) == count, names


async def test_a_voip_token_finds_its_device(call: Call) -> None:
    await both(call, "aa", "bb")
    await registered(call, "cc", provider="apns_voip")
    assert await listed(call, tokens=["BB"]) == [("aa", "bb")]
    assert await listed(call, tokens=["cc"]) == [("cc", "voip")]


async def test_a_voip_token_is_on_one_device_only(call: Call) -> None:
    await both(call, "aa", "ff")
    await both(call, "bb", "ff")
    assert await listed(call) == [("aa", ""), ("bb", "ff")]


async def test_a_device_of_a_voip_token_alone_goes_where_the_token_goes(call: Call) -> None:
    await registered(call, "ff", provider="apns_voip")
    await both(call, "aa", "ff")
    assert await listed(call) == [("aa", "ff")]


async def test_a_voip_token_registered_alone_leaves_the_device_that_had_it_beside_another(call: Call) -> None:
    await both(call, "aa", "ff")
    await registered(call, "ff", provider="apns_voip")
    assert await listed(call) == [("aa", ""), ("ff", "voip")]


async def test_a_device_known_by_its_id_takes_the_voip_token_over(call: Call) -> None:
    await both(call, "aa", "ff")
    own = await both(call, "bb", "ee")
    await both(call, "bb", "ff", id=own["id"])
    assert await listed(call) == [("aa", ""), ("bb", "ff")]


async def test_a_voip_token_under_another_credential_is_another_one(call: Call) -> None:
    await both(call, "aa", "ff")
    await both(call, "bb", "ff", provider_id="second")
    assert await listed(call) == [("aa", "ff"), ("bb", "ff")]


async def test_what_a_registration_omits_is_cleared_the_voip_token_too(call: Call) -> None:
    await both(call, "aa", "ff")
    await registered(call, "aa", provider="apns", platform="ios")
    assert await listed(call) == [("aa", "")]


async def test_a_registration_makes_a_dead_voip_token_active_again(call: Call, database: Database) -> None:
    await both(call, "aa", "ff")
    await database.execute(b"update devices set voip_state = 'dead', voip_failing_reason = 'Unregistered'", {})
    (dead,) = (await call("device_list"))["items"]
    assert (dead["voip_state"], dead["voip_failing_reason"], dead["state"]) == ("dead", "Unregistered", "active")
    assert "voip_state" not in await both(call, "aa", "ff")


async def test_devices_are_unregistered_by_provider_and_token(call: Call) -> None:
    await registered(call, "aa", provider="gcm")
    await registered(call, "aa", provider="apns_internal")
    await call("device_remove", providers=["gcm"], tokens=["aa"])
    assert [item["provider"] for item in (await call("device_list"))["items"]] == ["apns"]
    await call("device_remove", providers=["apns_voip"], tokens=["aa"])
    assert len(await listed(call)) == 1
    await call("device_remove", providers=["apns_internal"], tokens=["AA"])
    assert await listed(call) == []


@pytest.mark.parametrize(
    ("providers", "tokens", "left"),
    [
        (["apns_voip"], ["ff"], [("aa", "")]),
        (None, ["ff"], [("aa", "")]),
        (["apns"], ["ff"], [("aa", "")]),
        (["apns_voip"], ["aa"], [("aa", "ff")]),
        (["apns_internal"], ["aa"], [("aa", "ff")]),
        (["apns_internal_voip"], ["ff"], [("aa", "ff")]),
        (["gcm"], ["aa", "ff"], [("aa", "ff")]),
        (["apns"], ["aa"], []),
        (None, ["aa"], []),
        (["apns_voip"], ["aa", "ff"], [("aa", "")]),
    ],
)
async def test_a_voip_token_is_unregistered_alone_and_a_token_with_its_device(
    call: Call, providers: list[str] | None, tokens: list[str], left: list[tuple[str, str]]
) -> None:
    await both(call, "aa", "ff")
    await call("device_remove", tokens=tokens, providers=providers)
    assert await listed(call) == left


async def test_a_device_of_a_voip_token_alone_is_removed_with_it(call: Call) -> None:
    for names in (["apns_voip"], ["apns"], None):
        await registered(call, "ff", provider="apns_voip")
        await call("device_remove", tokens=["ff"], providers=names)
        assert await listed(call) == []


async def test_the_voip_tokens_of_a_user_can_be_removed(call: Call) -> None:
    await both(call, "aa", "ff", user="ann")
    await registered(call, "bb", provider="apns_voip", user="ann")
    await call("device_remove", users=["ann"], providers=["apns_voip"])
    assert await listed(call) == [("aa", "")]


async def test_providers_alone_remove_nothing(call: Call) -> None:
    await registered(call, provider="gcm")
    with pytest.raises(BadRequestError):
        await call("device_remove", providers=["gcm"])
    assert len(await listed(call)) == 1
