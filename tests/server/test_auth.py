import logging
import time
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.all import TABLE
from methods.callers import CallRate, DeviceUser
from methods.device_keys import DeviceClaim, DeviceKeys
from methods.errors import TooManyRequestsError
from server.auth import KeyRing, key_of
from storage import api_keys, user_removal
from storage.api_keys import KeyBounds
from storage.database import Database
from storage.vault import Vault
from tests.contract.serving import in_process, served


def test_the_places_of_a_key_are_looked_at_in_order() -> None:
    headers = {b"x-api-key": b"a", b"authorization": b"apikey b"}
    assert key_of(headers, b"api_key=c") == b"a"
    assert key_of({b"authorization": b"apikey b"}, b"api_key=c") == b"b"
    assert key_of({}, b"x=1&api_key=c%2B") == b"c+"
    assert key_of({}, b"x=1") is None


@pytest.mark.parametrize("scheme", [b"apikey", b"APIKEY", b"Bearer", b"bearer"])
def test_both_schemes_are_known_in_any_case(scheme: bytes) -> None:
    assert key_of({b"authorization": scheme + b"  k "}, b"") == b"k"


@pytest.mark.parametrize("value", [b"", b"apikey", b"apikey ", b"Basic k", b"k"])
def test_another_authorization_holds_no_key(value: bytes) -> None:
    assert key_of({b"authorization": value}, b"") is None


def test_a_query_with_very_many_fields_holds_no_key() -> None:
    assert key_of({}, b"a=b&" * 1000 + b"api_key=k") is None


async def test_a_valid_key_names_its_caller(database: Database) -> None:
    key = await api_keys.create(database, "backend")
    async with KeyRing(database, settings_key="of the settings") as ring:
        named = [await ring.caller(each) for each in (key.encode(), b"of the settings", b"other", b"\xff")]
    assert [caller and caller.key_name for caller in named] == ["backend", "settings", None, None]


async def test_a_new_key_is_known_after_a_refresh_and_a_revoked_one_is_not(database: Database) -> None:
    async with KeyRing(database) as ring:
        key = (await api_keys.create(database, "backend")).encode()
        await ring.refresh()
        assert await ring.caller(key)
        await api_keys.revoke(database, "backend")
        await ring.refresh()
        assert await ring.caller(key) is None


async def test_the_ring_refreshes_itself(database: Database) -> None:
    async with KeyRing(database, refresh_seconds=0.01) as ring:
        key = (await api_keys.create(database, "backend")).encode()
        while await ring.caller(key) is None:
            await database.values(b"select 1", {})


async def test_the_last_known_keys_stay_valid_while_the_database_is_gone(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    key = await api_keys.create(database, "backend")
    async with KeyRing(database) as ring:
        await database.__aexit__(None, None, None)
        await ring.refresh()
        await ring.refresh()
        assert await ring.caller(key.encode())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert key not in caplog.text


async def test_a_key_that_was_just_made_is_known_by_its_first_use(database: Database) -> None:
    async with KeyRing(database, refresh_seconds=3600) as ring:
        for name in ("one", "two"):
            assert await ring.caller((await api_keys.create(database, name)).encode())


class Counted(Database):
    """A database that counts how often rows were read."""

    reads = 0

    async def rows(self, *given: Any, **more: Any) -> Any:
        self.reads += 1
        return await super().rows(*given, **more)


async def test_keys_that_do_not_exist_are_looked_for_a_few_times_a_second_only(database_url: str) -> None:
    async with Counted(database_url) as database, KeyRing(database, refresh_seconds=3600) as ring:
        started = time.monotonic()
        for number in range(2000):
            assert await ring.caller(b"%d" % number) is None
        assert database.reads <= 12 + 5 * (time.monotonic() - started)


async def test_a_key_is_valid_until_it_expires(database: Database) -> None:
    soon = time.time() + 0.2
    key = (await api_keys.add(database, "backend", KeyBounds(expires_at=soon))).encode()
    async with KeyRing(database, refresh_seconds=3600) as ring:
        assert await ring.caller(key)
        while await ring.caller(key):
            await database.values(b"select 1", {})
    assert time.time() >= soon


async def test_a_caller_has_the_bounds_of_the_key(database: Database) -> None:
    bounds = KeyBounds(
        methods=["@users", "info", "@gone"],
        credentials=["shop"],
        addresses=["10.0.0.0/8"],
        rate=2.0,
        burst=5,
        expires_at=float(int(time.time()) + 60),
    )
    key = await api_keys.add(database, "backend", bounds)
    async with KeyRing(database) as ring:
        caller = await ring.caller(key.encode())
    assert caller
    assert caller.methods >= {"info", "user_remove", "badge_update", "user_preferences_get"}
    assert not caller.may_call("device_remove")
    assert caller.credentials == frozenset({"shop"})
    assert caller.addresses == (ip_network("10.0.0.0/8"),)
    assert caller.rate
    assert (caller.rate.rate, caller.rate.burst, caller.expires_at) == (2.0, 5, bounds.expires_at)


async def test_a_key_whose_methods_are_all_unknown_may_call_nothing(database: Database) -> None:
    key = await api_keys.create(database, "backend", ["@gone", "gone"])
    async with KeyRing(database) as ring:
        caller = await ring.caller(key.encode())
    assert caller
    assert not any(caller.may_call(name) for name in TABLE.keys() - {"batch"})


async def test_a_refresh_gives_a_key_no_new_rate(database: Database) -> None:
    key = (await api_keys.add(database, "backend", KeyBounds(rate=0.001, burst=1))).encode()
    async with KeyRing(database) as ring:
        for refused in (False, True):
            caller = await ring.caller(key)
            assert caller
            if refused:
                with pytest.raises(TooManyRequestsError):
                    caller.take("info")
            else:
                caller.take("info")
            await ring.refresh()


async def test_the_use_of_keys_is_noted(database: Database) -> None:
    used = (await api_keys.create(database, "used")).encode()
    await api_keys.create(database, "unused")
    async with KeyRing(database, settings_key="of the settings", refresh_seconds=3600) as ring:
        for key in (used, b"of the settings", b"none"):
            await ring.caller(key)
        await ring.refresh()
    noted = {key.name: key.last_used_at > 0 for key in await api_keys.list_all(database)}
    assert noted == {"used": True, "unused": False}


def app_key(vault: Vault, **claim: Any) -> bytes:
    """A device key of ann's."""
    now = time.time()
    given = {"user": "ann", "device_id": "", "issued_at": now, "expires_at": now + 60, "methods": ["device_register"]}
    return DeviceKeys(vault).issue(DeviceClaim(**{**given, "credentials": [], **claim})).encode()


async def test_a_device_key_names_its_user_and_what_it_may_call(database: Database, vault: Vault) -> None:
    async with KeyRing(database, vault=vault) as ring:
        caller = await ring.caller(app_key(vault, credentials=["shop"]))
    assert caller
    assert caller.device == DeviceUser("ann")
    assert caller.methods == frozenset({"device_register"})
    assert caller.credentials == frozenset({"shop"})


async def test_a_device_key_that_is_past_its_time_or_not_ours_is_not_valid(database: Database, vault: Vault) -> None:
    key = app_key(vault)
    forged = [
        key[:-1],
        key + b"A",
        key.replace(b"dk_", b"dk_A"),
        b"dk_",
        b"dk_%",
        b"dk_\xff",
        key[:20],
        b"dk_" + b"A" * 9000,
    ]
    others = [app_key(vault, expires_at=time.time()), app_key(Vault(b"another secret key of the tests!"))]
    async with KeyRing(database, vault=vault) as ring:
        assert [await ring.caller(each) for each in (*forged, *others)] == [None] * (len(forged) + len(others))


async def test_a_device_key_ends_when_it_is_revoked_or_its_user_is_removed(database: Database, vault: Vault) -> None:
    keys = [app_key(vault, user=user) for user in ("ann", "bob", "cid")]
    async with KeyRing(database, vault=vault) as ring:
        assert all([await ring.caller(key) for key in keys])
        await api_keys.end_device_keys(database, "ann", time.time())
        await user_removal.remove(database, "bob", time.time())
        assert [bool(await ring.caller(key)) for key in keys] == [False, False, True]


async def test_a_device_key_is_answered_when_the_database_is_away(database_url: str, vault: Vault) -> None:
    async with served(database_url) as server, in_process(server.app) as client:
        await server.database.__aexit__(None, None, None)
        headers = {"X-API-Key": app_key(vault).decode()}
        answer = await client.post("/api/device_register", headers=headers, json={})
    assert (answer.json()["error"]["code"], answer.headers["retry-after"]) == (100, "1")


@settings(deadline=None)
@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.1, 50), st.integers(1, 20))
def test_no_more_calls_are_taken_than_the_rate_and_the_burst_allow(gaps: list[float], rate: float, burst: int) -> None:
    taking, now, taken = CallRate(rate, burst), 1000.0, []
    for gap in gaps:
        now += gap
        wait = taking.wait(now)
        if wait:
            assert CallRate(rate, burst).wait(now) == 0
            assert 0 < wait <= 1 / rate + 1e-6
        else:
            taken.append(now)
    for index, start in enumerate(taken):
        for count, moment in enumerate(taken[index:], 1):
            assert count <= burst + (moment - start) * rate + 1e-3


def test_a_call_is_taken_after_the_wait_that_was_told() -> None:
    rate = CallRate(3, 2)
    assert [rate.wait(5.0) for _ in range(2)] == [0, 0]
    wait = rate.wait(5.0)
    assert wait > 0
    assert rate.wait(5.0 + wait) == 0
