"""Accounts: several users on one device, and the tokens that bring them there."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.errors import BadRequestError, NotFoundError
from methods.sync_tokens import SyncTokens
from storage import accounts
from storage.database import Database
from storage.ids import new_id
from storage.vault import Vault
from tests.methods.device_calls import Call, register

_NOW = 1_790_000_000.0
_MALFORMED = ("", "a", "a.b", ".a.b", "é", "x" * 4096)


async def users(call: Call, **chosen: Any) -> list[list[str]]:
    """The users of the devices that a filter chooses, the main one first."""
    items = (await call("device_list", filter=chosen))["items"]
    return [[item.get("user", ""), *item.get("accounts", [])] for item in items]


async def sync_token(call: Call, user: str, **more: Any) -> str:
    return str((await call("device_sync_token", user=user, **more))["token"])


async def sync(call: Call, *names: str, token: str = "t1", **more: Any) -> Any:  # noqa: S107
    """Log these users in on the device of that token."""
    tokens = [await sync_token(call, name) for name in names]
    return await call("device_sync", **{"provider": "gcm", "token": token, "push_sync_tokens": tokens, **more})


async def indexed(database: Database) -> list[tuple[Any, ...]]:
    return list(await database.values(b"select user_id from device_accounts order by 1", {}))


async def test_further_users_are_registered_and_shown(call: Call) -> None:
    device = await register(call, user="ann", accounts=["bob", "cid"])
    assert (device["user"], device["accounts"]) == ("ann", ["bob", "cid"])
    assert await users(call) == [["ann", "bob", "cid"]]


async def test_each_user_of_a_device_counts_once_and_the_first_is_the_main_one(call: Call) -> None:
    assert (await register(call, "t1", user="ann", accounts=["bob", "ann", "bob"]))["accounts"] == ["bob"]
    device = await register(call, "t2", accounts=["bob", "cid"])
    assert (device["user"], device["accounts"]) == ("bob", ["cid"])


async def test_a_registration_without_accounts_clears_them(call: Call, database: Database) -> None:
    await register(call, user="ann", accounts=["bob"])
    assert "accounts" not in await register(call, user="ann")
    assert await indexed(database) == []


async def test_devices_are_found_by_each_of_their_users(call: Call) -> None:
    await register(call, "t1", user="ann", accounts=["bob", "cid"])
    await register(call, "t2", user="bob")
    await register(call, "t3")
    cases = [
        (["ann"], 1),
        (["bob"], 2),
        (["cid"], 1),
        (["ann", "bob", "cid"], 2),
        ([""], 1),
        (["dee"], 0),
        (["cid", ""], 2),
    ]
    for names, count in cases:
        found = await call("device_list", filter={"users": names}, include_total_count=True)
        assert (len(found["items"]), found.get("total_count", 0)) == (count, count), names


async def test_pages_of_a_users_devices_go_on_in_the_order_of_ids(call: Call) -> None:
    for n in range(5):
        await register(call, f"t{n}", user="ann" if n % 2 else "bob", accounts=["cid", "ann"])
    seen, cursor = [], None
    while True:
        page = await call("device_list", filter={"users": ["ann"]}, limit=2, cursor=cursor)
        seen += [item["token"] for item in page["items"]]
        if not (cursor := page.get("next_cursor")):
            break
    assert seen == [f"t{n}" for n in range(5)]


async def test_users_are_added_removed_and_set(call: Call) -> None:
    device = await register(call, user="ann")
    steps: list[tuple[str, list[str], list[str]]] = [
        ("add", ["bob", "cid", "bob", "ann"], ["ann", "bob", "cid"]),
        ("remove", ["bob", "nobody"], ["ann", "cid"]),
        ("set", ["dee", "cid"], ["cid", "dee"]),
        ("add", [], ["cid", "dee"]),
        ("set", ["ann"], ["ann"]),
        ("set", [], [""]),
        ("add", ["bob"], ["bob"]),
    ]
    for op, given_users, expected in steps:
        result = await call("device_accounts_update", device_id=device["id"], op=op, accounts=given_users)
        assert [result.get("user", ""), *result.get("accounts", [])] == expected, (op, given_users)
        assert await users(call) == [expected]


async def test_when_the_main_user_leaves_the_others_stay(call: Call) -> None:
    device = await register(call, user="ann", accounts=["bob", "cid"])
    result = await call("device_accounts_update", device_id=device["id"], op="remove", accounts=["ann"])
    assert (result["user"], result["accounts"]) == ("bob", ["cid"])


async def test_the_index_follows_every_change(call: Call, database: Database) -> None:
    device = await register(call, user="ann", accounts=["bob", "cid"])
    assert await indexed(database) == [("bob",), ("cid",)]
    await call("device_accounts_update", device_id=device["id"], op="remove", accounts=["ann"])
    assert await indexed(database) == [("cid",)]
    await call("device_update", ids=[device["id"]], user_update={"user": "cid"})
    assert await indexed(database) == []
    await call("device_accounts_update", device_id=device["id"], op="add", accounts=["dee"])
    await call("device_remove", ids=[device["id"]])
    assert await indexed(database) == []


async def test_a_device_is_named_by_provider_and_token_too(call: Call) -> None:
    await call("device_register", provider="apns_internal", token="AA", voip_token="BB", user="ann")
    await register(call, "t1", user="ann", provider_id="second")
    for named in ({"provider": "apns", "token": "aA"}, {"provider": "apns_internal_voip", "token": "bb"}):
        assert (await call("device_accounts_update", **named, op="add", accounts=["bob"]))["accounts"] == ["bob"]
    named = {"provider": "gcm", "token": "t1", "provider_id": "second"}
    assert (await call("device_accounts_update", **named, op="add", accounts=["cid"]))["accounts"] == ["cid"]


@pytest.mark.parametrize(
    "named",
    [
        {"device_id": new_id()},
        {"device_id": "no uuid"},
        {"provider": "fcm", "token": "t2"},
        {"provider": "apns", "token": "t1"},
        {"provider": "fcm", "token": "t1", "provider_id": "second"},
    ],
)
async def test_a_device_that_is_not_there_is_not_found(call: Call, named: dict[str, str]) -> None:
    await register(call, "t1")
    with pytest.raises(NotFoundError):
        await call("device_accounts_update", **named, op="add", accounts=["ann"])


@pytest.mark.parametrize("named", [{}, {"provider": "fcm"}, {"token": "t"}, {"device_id": "x", "token": "t"}])
async def test_a_device_must_be_named_in_one_way(call: Call, named: dict[str, str]) -> None:
    with pytest.raises(BadRequestError):
        await call("device_accounts_update", **named, op="add", accounts=["ann"])


async def test_a_device_has_at_most_101_users(call: Call) -> None:
    device = await register(call, user="ann", accounts=[f"u{n}" for n in range(99)])
    await call("device_accounts_update", device_id=device["id"], op="add", accounts=["u99"])
    with pytest.raises(BadRequestError):
        await call("device_accounts_update", device_id=device["id"], op="add", accounts=["v"])
    with pytest.raises(BadRequestError):
        await sync(call, "w")
    ((*found,),) = await users(call)
    assert (len(found), found[-1]) == (101, "u99")


async def test_a_change_of_the_user_keeps_the_accounts_apart(call: Call) -> None:
    device = await register(call, user="ann", accounts=["bob", "cid"])
    await call("device_update", ids=[device["id"]], user_update={"user": "cid"})
    assert await users(call) == [["cid", "bob"]]
    await call("device_update", ids=[device["id"]], locale_update={"locale": "en"})
    assert await users(call) == [["cid", "bob"]]
    await call("device_update", ids=[device["id"]], user_update={})
    assert await users(call) == [["bob"]]


async def test_a_user_that_logs_out_leaves_the_device_to_the_others(call: Call) -> None:
    await register(call, "t1", user="ann", accounts=["bob"])
    await register(call, "t2", user="ann")
    await register(call, "t3", user="cid", accounts=["ann"])
    await call("device_remove", users=["ann"], tokens=["t1"], providers=["gcm"])
    assert await users(call) == [["bob"], ["ann"], ["cid", "ann"]]
    await call("device_remove", users=["ann"])
    assert await users(call) == [["bob"], ["cid"]]
    await call("device_remove", users=["bob", "cid"])
    assert await users(call) == []


async def test_a_device_named_without_users_goes_whoever_is_on_it(call: Call) -> None:
    device = await register(call, user="ann", accounts=["bob"])
    await call("device_remove", ids=[device["id"]])
    assert await users(call) == []


async def test_one_call_puts_a_token_on_several_accounts(call: Call) -> None:
    result = await sync(call, "ann", "bob", "ann")
    assert result.pop("id")
    assert result == {"invalid_push_sync_tokens": [], "user": "ann", "accounts": ["bob"]}
    assert await users(call) == [["ann", "bob"]]


async def test_users_come_to_those_who_are_there(call: Call) -> None:
    await sync(call, "ann")
    await sync(call, "bob", "ann")
    await sync(call, "cid")
    assert await users(call) == [["ann", "bob", "cid"]]


async def test_what_a_sync_does_not_say_stays(call: Call) -> None:
    before = await register(call, "t1", user="ann", meta={"k": "v"}, topics=["a"], locale="en", app_version="1")
    await sync(call, "bob", app_version="2")
    (after,) = (await call("device_list", include_meta=True, include_topics=True))["items"]
    changed = {name: value for name, value in after.items() if value != before.get(name) and name != "updated_at"}
    assert changed == {"accounts": ["bob"], "app_version": "2"}


async def test_a_device_made_by_a_sync_has_the_topics_of_its_user_and_of_everyone(call: Call) -> None:
    await call("user_topic_update", user="ann", op="add", topics=["of ann"])
    await call("user_topic_update", user="", op="add", topics=["of everyone"])
    await sync(call, "ann")
    (device,) = (await call("device_list", include_topics=True))["items"]
    assert device["topics"] == ["of ann", "of everyone"]


async def test_a_sync_brings_a_voip_token_with_it(call: Call) -> None:
    await call("device_register", provider="apns_voip", token="ff")
    await sync(call, "ann", provider="apns_internal", token="AA", voip_token="FF")
    (device,) = (await call("device_list"))["items"]
    assert (device["token"], device["voip_token"], device["environment"]) == ("aa", "ff", "sandbox")
    await sync(call, "bob", provider="apns", token="aa")
    (device,) = (await call("device_list"))["items"]
    assert (device["voip_token"], device["environment"]) == ("ff", "sandbox")


async def test_a_dead_device_is_active_again_after_a_sync(call: Call, database: Database) -> None:
    await register(call, "t1", user="ann")
    await database.execute(b"update devices set state = 'dead', failing_reason = 'UNREGISTERED'", {})
    await sync(call, "bob")
    (device,) = (await call("device_list"))["items"]
    assert (device["state"], device.get("failing_reason")) == ("active", None)


async def test_tokens_that_are_not_valid_are_answered_and_the_others_count(call: Call, vault: Vault) -> None:
    good = await sync_token(call, "ann")
    expired = SyncTokens(vault).issue("bob", _NOW - 100, 50)
    foreign = SyncTokens(Vault(b"the secret key of another server")).issue("cid", _NOW, 10**9)
    changed = good[:-2] + ("AA" if not good.endswith("AA") else "BB")
    wrong = [expired, foreign, changed, *_MALFORMED]
    tokens = [*wrong[:4], good, *wrong[4:]]
    result = await call("device_sync", provider="gcm", token="t1", push_sync_tokens=tokens)
    assert result["invalid_push_sync_tokens"] == wrong
    assert await users(call) == [["ann"]]


async def test_nothing_changes_when_no_token_is_valid(call: Call) -> None:
    wrong = list(_MALFORMED)
    result = await call("device_sync", provider="gcm", token="t1", push_sync_tokens=wrong)
    assert result == {"invalid_push_sync_tokens": wrong}
    assert await users(call) == []


async def test_tokens_of_a_removed_user_are_not_taken_and_later_ones_are(call: Call, database: Database) -> None:
    before = await sync_token(call, "ann")
    claim = SyncTokens(Vault(b"a secret key of the tests, 32 b.")).read(before, 0.0)
    assert claim
    await accounts.end_sync_tokens(database, "ann", claim.issued_at + 1e-3)
    tokens = [before, await sync_token(call, "bob")]
    result = await call("device_sync", provider="gcm", token="t1", push_sync_tokens=tokens)
    assert (result["invalid_push_sync_tokens"], result["user"]) == ([before], "bob")
    await accounts.end_sync_tokens(database, "ann", claim.issued_at - 1)
    assert (await call("device_sync", provider="gcm", token="t1", push_sync_tokens=[before]))["accounts"] == ["ann"]


@pytest.mark.parametrize(
    ("method", "given_params", "path"),
    [
        ("device_sync_token", {"user": ""}, "user"),
        ("device_sync_token", {"user": "u", "ttl_s": 0}, "ttl_s"),
        ("device_sync_token", {"user": "u", "ttl_s": 30 * 86_400 + 1}, "ttl_s"),
        ("device_sync", {"provider": "gcm", "token": "t", "push_sync_tokens": []}, "push_sync_tokens"),
        ("device_sync", {"provider": "gcm", "token": "t"}, "push_sync_tokens"),
        ("device_sync", {"provider": "gcm", "token": "a b", "push_sync_tokens": ["x"]}, "token"),
        ("device_sync", {"provider": "fcm", "token": "t", "push_sync_tokens": ["x"]}, "platform"),
        (
            "device_sync",
            {"provider": "gcm", "token": "t", "push_sync_tokens": ["x"], "timezone": "Nowhere"},
            "timezone",
        ),
        ("device_register", {"provider": "gcm", "token": "t", "accounts": [""]}, "accounts[0]"),
        ("device_register", {"provider": "gcm", "token": "t", "accounts": ["u"] * 101}, "accounts"),
    ],
)
async def test_what_is_malformed_is_refused(call: Call, method: str, given_params: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        await call(method, **given_params)
    assert refused.value.path.replace("...", "0") == path


async def test_a_token_is_good_for_a_day_unless_told(call: Call, vault: Vault) -> None:
    for given_params, seconds in (({}, 86_400), ({"ttl_s": 60}, 60)):
        result = await call("device_sync_token", user="ann", **given_params)
        claim = SyncTokens(vault).read(result["token"], 0.0)
        assert claim
        assert (claim.user, claim.expires_at - claim.issued_at) == ("ann", seconds)
        assert result["expires_at"] == int(claim.expires_at)


def test_a_token_is_good_until_its_time_is_over(vault: Vault) -> None:
    signed = SyncTokens(vault)
    token = signed.issue("ann", _NOW, 60)
    assert signed.read(token, _NOW + 59.9)
    assert signed.read(token, _NOW + 60) is None


_VAULT = Vault(b"a secret key of the tests, 32 b.")


@settings(max_examples=100, deadline=None)
@given(user=st.text(min_size=1), cut=st.integers(0, 300), put=st.characters(codec="ascii"))
def test_a_token_that_was_changed_anywhere_says_nothing_else(user: str, cut: int, put: str) -> None:
    signed = SyncTokens(_VAULT)
    token = signed.issue(user, _NOW, 60)
    place = cut % len(token)
    changed = token[:place] + put + token[place + 1 :]
    claim = signed.read(changed, _NOW)
    assert claim is None or (claim.user, claim.expires_at) == (user, _NOW + 60)


async def test_logins_and_logouts_at_once_lose_nobody(call: Call) -> None:
    await register(call, "t1", user="main")
    stays = [sync(call, f"in{n}") for n in range(12)]
    device = {"provider": "gcm", "token": "t1"}
    leaves = [call("device_accounts_update", **device, op="remove", accounts=["main"]) for _ in range(4)]
    await asyncio.gather(*stays, *leaves)
    ((*found,),) = await users(call)
    assert sorted(found) == sorted(f"in{n}" for n in range(12))
