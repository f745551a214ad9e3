"""Keys of the API and of apps: what they may do, make, and hand on; every call goes the way of the door."""

import json
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from delivery.queues.hints import Hints
from delivery.receipts import RECEIPTS, Receipts
from methods.all import TABLE
from methods.callers import Caller, CallRate, DeviceUser
from methods.context import ServerFacts
from methods.device_keys import DEVICE_METHODS, DeviceKeys
from methods.groups import GROUPS, group_of, permitted
from methods.replies import ErrorObject
from server.auth import KeyRing
from server.dispatcher import Dispatcher, Resources
from storage import api_keys
from storage.api_keys import KeyBounds
from storage.database import Database
from storage.ids import new_id
from storage.vault import Vault

Ask = Callable[..., Awaitable[Any]]
_DEVICE = {"provider": "fcm", "platform": "android", "token": "t1"}


@pytest.fixture
def ask(database: Database, vault: Vault, hints: Hints, facts: ServerFacts) -> Ask:
    """What calls a method for a caller and answers its result, or (code, path) of an error."""
    dispatcher = Dispatcher(TABLE, Resources(database, vault, hints, facts), dict)

    async def call(caller: Caller, method: str, /, **params: Any) -> Any:
        reply = await dispatcher.execute(caller, method, json.dumps(params).encode())
        if isinstance(reply, ErrorObject):
            return reply.code, reply.data.path if reply.data else ""
        return json.loads(reply)

    return call


def limited(*methods: str, **bounds: Any) -> Caller:
    """The caller with a key that is bound."""
    return Caller("limited", permitted(methods, TABLE), **bounds)


def app(user: str = "ann", device_id: str = "", *methods: str, credentials: tuple[str, ...] = ()) -> Caller:
    """The caller with a device key."""
    names = frozenset(methods or DEVICE_METHODS)
    return Caller("device key", names, credentials=frozenset(credentials), device=DeviceUser(user, device_id))


_ALL = Caller("all")


def test_every_method_is_in_a_group() -> None:
    grouped = frozenset().union(*(group_of(name, TABLE) for name in GROUPS))
    assert TABLE.keys() - grouped == set()


def test_every_group_has_methods_that_exist() -> None:
    assert all(group_of(name, TABLE) for name in GROUPS)
    assert {method for group in GROUPS.values() for method in group.methods} <= TABLE.keys()


def test_who_may_read_may_change_nothing() -> None:
    changing = ("_register", "_update", "_remove", "_put", "_create", "_revoke", "_add", "_retry", "_sync", "send_")
    assert [name for name in group_of("@read", TABLE) if name.endswith(changing) or name.startswith(changing)] == []
    assert not group_of("@read", TABLE) & group_of("@admin", TABLE) & {"key_list", "key_create", "provider_put"}


def test_the_docs_tell_what_is_in_each_group() -> None:
    text = (Path(__file__).parents[2] / "docs" / "keys.md").read_text(encoding="utf-8")
    for name in GROUPS:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
        assert sorted(group_of(name, TABLE)) == sorted(part.strip(" `") for part in row.split("|")[2].split(","))


async def test_a_key_is_made_shown_once_and_listed_with_its_bounds(ask: Ask) -> None:
    ends = int(time.time()) + 60
    bounds = {"methods": ["@send", "info"], "credentials": ["shop"], "rate": 2.5, "addresses": ["10.0.0.0/8", "::1"]}
    made = await ask(_ALL, "key_create", name="sender", expires_at=ends, **bounds)
    assert made["key"].startswith("tk_")
    (item,) = (await ask(_ALL, "key_list"))["items"]
    assert abs(item.pop("created_at") - time.time()) < 60
    shown = {**bounds, "burst": 3, "addresses": ["10.0.0.0/8", "::1/128"], "expires_at": ends}
    assert item == {"name": "sender", "state": "valid", **shown}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"name": ""}, "name"),
        ({"methods": ["info", "nope"]}, "methods[1]"),
        ({"methods": ["@nope"]}, "methods[0]"),
        ({"addresses": ["10.0.0.1/8"]}, "addresses[0]"),
        ({"addresses": ["nowhere"]}, "addresses[0]"),
        ({"rate": -1}, "rate"),
        ({"rate": 5e-324}, "rate"),
        ({"burst": 5}, "burst"),
        ({"expires_at": 1000}, "expires_at"),
        ({"overlap_s": 5}, "overlap_s"),
        ({"replaces": "k"}, "replaces"),
    ],
)
async def test_bounds_that_mean_nothing_are_refused(ask: Ask, params: dict[str, Any], path: str) -> None:
    assert await ask(_ALL, "key_create", **{"name": "k", **params}) == (107, path)


async def test_a_name_is_one_keys_until_it_is_revoked(ask: Ask) -> None:
    await ask(_ALL, "key_create", name="k")
    assert await ask(_ALL, "key_create", name="k") == (113, "name")
    assert await ask(_ALL, "key_revoke", name="k") == {}
    assert await ask(_ALL, "key_revoke", name="k") == (104, "name")
    assert [item["state"] for item in (await ask(_ALL, "key_list"))["items"]] == ["revoked"]
    assert "key" in await ask(_ALL, "key_create", name="k")


async def test_a_replacement_has_the_bounds_of_the_old_key_and_both_are_valid(ask: Ask) -> None:
    bounds = {"methods": ["@send"], "credentials": ["shop"], "rate": 5.0, "burst": 9, "addresses": ["10.0.0.0/8"]}
    await ask(_ALL, "key_create", name="old", **bounds)
    made = await ask(_ALL, "key_create", name="new", replaces="old", overlap_s=100, addresses=[])
    items = {item["name"]: item for item in (await ask(_ALL, "key_list"))["items"]}
    assert items["old"]["expires_at"] == made["replaced_until"]
    assert abs(made["replaced_until"] - time.time() - 100) < 60
    assert {name: items["new"].get(name) for name in bounds} == {**bounds, "addresses": None}
    assert [item["state"] for item in items.values()] == ["valid", "valid"]


async def test_only_a_valid_key_is_replaced(ask: Ask) -> None:
    assert await ask(_ALL, "key_create", name="new", replaces="old") == (104, "replaces")
    assert (await ask(_ALL, "key_list"))["items"] == []


_BOUND = limited(
    "@send",
    "key_create",
    "key_revoke",
    credentials=frozenset({"shop", "news"}),
    addresses=(ip_network("10.0.0.0/8"),),
    rate=CallRate(1000, 1000),
    expires_at=4e9,
)
_WITHIN: dict[str, Any] = {
    "methods": ["@send"],
    "credentials": ["shop"],
    "addresses": ["10.1.0.0/16"],
    "rate": 10,
    "expires_at": 3_900_000_000,
}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"methods": None}, "methods"),
        ({"methods": []}, "methods"),
        ({"methods": ["send_push_notification", "info"]}, "methods"),
        ({"methods": ["@admin"]}, "methods"),
        ({"credentials": None}, "credentials"),
        ({"credentials": ["shop", "other"]}, "credentials"),
        ({"addresses": None}, "addresses"),
        ({"addresses": ["10.0.0.0/7"]}, "addresses"),
        ({"addresses": ["10.1.0.0/16", "::/0"]}, "addresses"),
        ({"rate": None}, "rate"),
        ({"rate": 1001}, "rate"),
        ({"burst": 1001}, "rate"),
        ({"expires_at": None}, "expires_at"),
        ({"expires_at": 4_100_000_000}, "expires_at"),
    ],
)
async def test_a_key_makes_no_key_that_may_do_more(ask: Ask, params: dict[str, Any], path: str) -> None:
    assert await ask(_BOUND, "key_create", name="k", **{**_WITHIN, **params}) == (112, path)
    assert (await ask(_ALL, "key_list"))["items"] == []


async def test_a_key_makes_a_key_that_may_do_less(ask: Ask) -> None:
    assert "key" in await ask(_BOUND, "key_create", name="k", **_WITHIN)


async def test_a_key_gives_no_group_away_of_which_it_has_the_methods_of_today_only(ask: Ask) -> None:
    caller = Caller("listed", group_of("@send", TABLE) | {"key_create"})
    assert await ask(caller, "key_create", name="k", methods=["@send"]) == (112, "methods")
    assert "key" in await ask(caller, "key_create", name="k", methods=["send_push_notification"])


async def test_a_key_ends_no_key_that_may_do_more(ask: Ask) -> None:
    await ask(_ALL, "key_create", name="strong")
    await ask(_ALL, "key_create", name="weak", methods=["cancel_push"], credentials=["shop"])
    assert await ask(_BOUND, "key_revoke", name="strong") == (112, "methods")
    assert await ask(_BOUND, "key_create", name="k", **_WITHIN, replaces="strong", overlap_s=0) == (112, "methods")
    assert await ask(_BOUND, "key_revoke", name="weak") == {}
    states = {item["name"]: item["state"] for item in (await ask(_ALL, "key_list"))["items"]}
    assert states == {"strong": "valid", "weak": "revoked"}


async def test_calls_beyond_the_rate_are_told_when_to_come_again(ask: Ask, database: Database, vault: Vault) -> None:
    key = await api_keys.add(database, "slow", KeyBounds(rate=0.01, burst=2))
    async with KeyRing(database) as ring:
        caller = await ring.caller(key.encode())
    assert caller
    assert [await ask(caller, "info") != (111, "") for _ in range(3)] == [True, True, False]
    reply = await Dispatcher(TABLE, Resources(database, vault, None, None), dict).execute(caller, "nope", b"{}")  # type: ignore[arg-type]
    assert isinstance(reply, ErrorObject)
    assert reply.data
    assert reply.code == 111
    assert 0 < reply.data.retry_after <= 100


async def test_each_command_of_a_batch_counts_as_a_call(ask: Ask) -> None:
    caller = Caller("slow", rate=CallRate(0.01, 2))
    replies = (await ask(caller, "batch", commands=[{"key_list": {}}] * 3))["replies"]
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, None, 111]


_SHOP = Caller("shop", credentials=frozenset({"shop"}))


@pytest.mark.parametrize("name", ["other", None])
async def test_a_key_for_a_credential_registers_and_manages_no_other(ask: Ask, name: str | None) -> None:
    refused = (112, "provider_id")
    assert await ask(_SHOP, "device_register", **_DEVICE, provider_id=name) == refused
    if name:
        assert await ask(_SHOP, "provider_put", provider_id=name, provider="fcm") == refused
        assert await ask(_SHOP, "provider_remove", provider_id=name) == refused
        assert await ask(_SHOP, "provider_check", provider_id=name) == refused


async def test_a_key_for_a_credential_registers_and_manages_that_one(ask: Ask) -> None:
    assert "id" in await ask(_SHOP, "device_register", **_DEVICE, provider_id="shop")
    assert await ask(_SHOP, "provider_remove", provider_id="shop") == (104, "provider_id")
    assert await ask(_SHOP, "provider_put", provider_id="shop", provider="fcm", default=True) == (112, "default")


_PUSH = {"notification": {"title": "x"}}


@pytest.mark.parametrize(
    ("recipient", "path"),
    [
        ({"fcm_tokens": ["t"]}, "recipient.provider_id"),
        ({"fcm_tokens": ["t"], "provider_id": "other"}, "recipient.provider_id"),
        ({"fcm_topic": "t"}, "recipient.provider_id"),
        ({"hms_tokens": ["t"], "provider_id": "other"}, "recipient.provider_id"),
        ({"hms_topic": "t"}, "recipient.provider_id"),
        ({"webpush_tokens": ["{}"]}, "recipient.provider_id"),
        ({"users": ["ann"]}, "recipient.provider_id"),
        ({"device_ids": [new_id()]}, "recipient.provider_id"),
        ({"channels": ["news"]}, "recipient.provider_id"),
        ({"condition": "'a' in topics"}, "recipient.provider_id"),
        ({"filter": {"users": ["ann"]}}, "recipient.filter.provider_ids"),
        ({"filter": {"all": True}}, "recipient.filter.provider_ids"),
        ({"filter": {"users": ["ann"], "provider_ids": ["shop", "other"]}}, "recipient.filter.provider_ids"),
        ({"filter": {"users": ["ann"], "provider_ids": ["shop", ""]}}, "recipient.filter.provider_ids"),
    ],
)
async def test_a_key_for_a_credential_sends_with_no_other(ask: Ask, recipient: dict[str, Any], path: str) -> None:
    assert await ask(_SHOP, "send_push_notification", recipient=recipient, **_PUSH) == (112, path)


async def test_a_key_for_a_credential_sends_with_that_one(ask: Ask) -> None:
    raw = {"fcm_tokens": ["t"], "provider_id": "shop"}
    assert await ask(_SHOP, "send_push_notification", recipient=raw, **_PUSH) == (104, "recipient.provider_id")
    stored = {"filter": {"users": ["ann"], "provider_ids": ["shop"]}}
    assert await ask(_SHOP, "send_push_notification", recipient=stored, **_PUSH) == (108, "notification")
    named_twice = {"users": ["ann"], "provider_id": "shop"}
    assert await ask(_SHOP, "send_push_notification", recipient=named_twice, **_PUSH) == (107, "recipient.provider_id")


async def test_a_device_key_says_what_was_asked_for(ask: Ask, vault: Vault) -> None:
    device = new_id()
    made = await ask(
        Caller("all", expires_at=time.time() + 50, credentials=frozenset({"shop"})),
        "device_key_create",
        user="ann",
        device_id=device.upper(),
        ttl_s=100,
        allow=["device_register", "device_register"],
    )
    claim = DeviceKeys(vault).read(made["key"].encode(), time.time())
    assert claim
    assert claim.caller.device == DeviceUser("ann", device)
    assert (claim.methods, claim.credentials) == (["device_register"], ["shop"])
    assert made["allow"] == ["device_register"]
    assert claim.expires_at - time.time() <= 50


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"allow": ["send_push_notification"]}, (107, "allow[0]")),
        ({"allow": ["device_register", "device_update"]}, (112, "allow[1]")),
        ({"device_id": "x"}, (107, "device_id")),
        ({"ttl_s": 0}, (107, "ttl_s")),
        ({"user": ""}, (107, "user")),
    ],
)
async def test_a_device_key_may_do_no_more_than_apps_and_than_who_makes_it(
    ask: Ask, params: dict[str, Any], error: tuple[int, str]
) -> None:
    caller = limited("device_key_create", "device_register")
    assert await ask(caller, "device_key_create", **{"user": "ann", **params}) == error
    assert (await ask(caller, "device_key_create", user="ann"))["allow"] == ["device_register"]
    assert await ask(limited("device_key_create"), "device_key_create", user="ann") == (112, "allow")


async def test_device_keys_are_revoked_for_one_user_or_for_everyone(ask: Ask, database: Database) -> None:
    assert await ask(_ALL, "device_key_revoke") == (107, "user")
    assert await ask(_ALL, "device_key_revoke", user="ann", everyone=True) == (107, "user")
    before = time.time()
    assert await ask(_ALL, "device_key_revoke", user="ann") == {}
    ended = [await api_keys.device_key_ended(database, user, before) for user in ("ann", "bob")]
    assert ended == [True, False]
    assert await ask(_ALL, "device_key_revoke", everyone=True) == {}
    assert await api_keys.device_key_ended(database, "bob", before)


async def test_an_app_may_call_what_its_key_allows_and_no_more(ask: Ask) -> None:
    for name in sorted(TABLE.keys() - set(DEVICE_METHODS) - {"batch"}):
        assert await ask(app(), name) == (112, ""), name
    assert await ask(app("ann", "", "device_register"), "user_preferences_get") == (112, "")
    replies = (await ask(app(), "batch", commands=[{"info": {}}, {"user_preferences_get": {}}]))["replies"]
    assert [reply.get("error", {}).get("code") for reply in replies] == [112, None]


async def test_what_an_app_leaves_out_is_filled_in(ask: Ask) -> None:
    device = (await ask(app(), "device_register", **_DEVICE))["device"]
    assert device["user"] == "ann"
    assert (await ask(app(), "user_preferences_get"))["user"] == "ann"
    assert (await ask(app(), "user_preferences_update", user=None, level="high"))["level"] == "high"
    bound = app("ann", device["id"])
    assert await ask(bound, "device_topic_update", op="add", topics=["news"]) == {}
    assert await ask(bound, "device_update", locale_update={"locale": "pt-BR"}) == {}
    (found,) = (await ask(_ALL, "device_list", include_topics=True))["items"]
    assert (found["topics"], found["locale"]) == (["news"], "pt-BR")
    assert await ask(bound, "device_remove") == {}
    assert (await ask(_ALL, "device_list"))["items"] == []


@pytest.mark.parametrize(
    ("name", "params", "path"),
    [
        ("device_register", {**_DEVICE, "user": "bob"}, "user"),
        ("device_register", {**_DEVICE, "user": ["ann"]}, "user"),
        ("device_register", {**_DEVICE, "accounts": ["ann", "bob"]}, "accounts"),
        ("device_register", {**_DEVICE, "provider": "webhook"}, "provider"),
        ("device_update", {"users": ["bob"], "topics_update": {"op": "set"}}, "users"),
        ("device_update", {"users": ["ann", "bob"]}, "users"),
        ("device_update", {"users": "ann"}, "users"),
        ("device_update", {"users": ["ann"], "user_update": {"user": "bob"}}, "user_update.user"),
        ("device_remove", {"users": ["bob"], "tokens": ["t"]}, "users"),
        ("device_topic_update", {"device_id": new_id(), "op": "set", "user": "bob"}, "user"),
        ("user_preferences_get", {"user": "bob"}, "user"),
        ("user_preferences_update", {"user": "bob", "level": "none"}, "user"),
    ],
)
async def test_an_app_speaks_for_no_other_user(ask: Ask, name: str, params: dict[str, Any], path: str) -> None:
    assert await ask(app(), name, **params) == (112, path)


async def test_a_member_that_is_there_twice_says_one_thing(
    ask: Ask, database: Database, vault: Vault, hints: Hints, facts: ServerFacts
) -> None:
    dispatcher = Dispatcher(TABLE, Resources(database, vault, hints, facts), dict)
    for users in (b'"user":"ann","user":"bob"', b'"\\u0075ser":"bob","user":"ann"'):
        await dispatcher.execute(app(), "user_preferences_update", b'{"level":"none",' + users + b"}")
    assert (await ask(_ALL, "user_preferences_get", user="bob"))["level"] == "low"


async def test_an_app_takes_no_device_of_another_user_by_its_id(ask: Ask) -> None:
    theirs = (await ask(_ALL, "device_register", **_DEVICE, user="bob"))["id"]
    other = {**_DEVICE, "token": "t2"}
    assert await ask(app(), "device_register", **other, id=theirs) == (112, "id")
    assert await ask(app(), "device_register", **other, id=theirs.upper()) == (112, "id")
    assert await ask(app(), "device_register", **other, id="x") == (107, "id")
    assert await ask(app(), "device_topic_update", device_id=theirs, op="add", topics=["a"]) == (113, "user")
    for name in ("device_remove", "device_update"):
        assert await ask(app(), name, ids=[theirs]) == {}
    assert [item["user"] for item in (await ask(_ALL, "device_list"))["items"]] == ["bob"]
    assert (await ask(app("ann", theirs), "device_register", **other))["id"] == theirs
    assert (await ask(app("ann"), "device_register", **other, id=new_id()))["device"]["user"] == "ann"


async def test_a_key_for_one_device_is_good_for_no_other(ask: Ask) -> None:
    mine = (await ask(app(), "device_register", **_DEVICE))["id"]
    other = app("ann", new_id())
    assert await ask(other, "device_register", **_DEVICE, id=mine) == (112, "id")
    assert await ask(other, "device_update", ids=[mine]) == (112, "ids")
    assert await ask(other, "device_remove", ids=[mine, new_id()]) == (112, "ids")
    assert await ask(other, "device_topic_update", device_id=mine, op="set") == (112, "device_id")
    assert await ask(app("ann", mine), "device_remove", ids=[mine.upper()]) == {}


async def test_an_app_without_a_device_says_which_of_the_users_it_removes(ask: Ask) -> None:
    for number in range(2):
        await ask(app(), "device_register", **{**_DEVICE, "token": f"t{number}"})
    incomplete: list[dict[str, Any]] = [{}, {"ids": []}, {"users": ["ann"]}, {"ids": None, "tokens": []}]
    for params in incomplete:
        assert await ask(app(), "device_remove", **params) == (107, "ids")
    assert await ask(app(), "device_remove", tokens=["t1"]) == {}
    assert [item["token"] for item in (await ask(_ALL, "device_list"))["items"]] == ["t0"]


async def test_an_app_reports_for_devices_of_its_user_only(ask: Ask, vault: Vault) -> None:
    mine = (await ask(app(), "device_register", **_DEVICE))["id"]
    theirs = (await ask(_ALL, "device_register", **{**_DEVICE, "token": "t2"}, user="bob"))["id"]
    report = {"analytics_uid": "p", "status": "delivered"}
    assert await ask(app(), "update_push_status", **report, device_id=mine) == {}
    assert await ask(app("ann", mine), "update_push_status", **report) == {}
    assert await ask(app(), "update_push_status", **report) == (107, "device_id")
    for device_id in (theirs, new_id(), "x"):
        assert await ask(app(), "update_push_status", **report, device_id=device_id) == (112, "device_id")
    token = Receipts(vault.derived(RECEIPTS)).token("p", theirs)
    assert await ask(app("ann", mine), "update_push_status", status="delivered", receipt_token=token) == {}


async def test_a_device_key_has_the_credentials_of_the_key_that_made_it(ask: Ask) -> None:
    bound = app(credentials=("shop",))
    assert await ask(bound, "device_register", **_DEVICE) == (112, "provider_id")
    assert "id" in await ask(bound, "device_register", **_DEVICE, provider_id="shop")


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b'"x"', b'{"user":' + b"[" * 5000 + b"]" * 5000 + b"}"])
async def test_parameters_of_an_app_that_are_malformed_are_refused(
    database: Database, vault: Vault, hints: Hints, facts: ServerFacts, body: bytes
) -> None:
    reply = await Dispatcher(TABLE, Resources(database, vault, hints, facts), dict).execute(
        app(), "device_remove", body
    )
    assert isinstance(reply, ErrorObject)
    assert reply.code == 107


def test_keys_do_not_show_themselves(vault: Vault) -> None:
    assert repr(DeviceKeys(vault)) == "DeviceKeys()"
