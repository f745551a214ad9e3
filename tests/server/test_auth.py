import logging

import pytest

from server.auth import KeyRing, key_of
from storage import api_keys
from storage.api_keys import NameTakenError
from storage.database import Database


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


async def test_a_key_is_shown_once_and_stored_as_its_digest(database: Database) -> None:
    key = await api_keys.create(database, "backend")
    assert len(key) == 46
    assert key.startswith("tk_")
    stored = await database.values(b"select name, encode(digest, 'hex') from api_keys", {})
    assert stored == [("backend", api_keys.digest_of(key.encode()).hex())]


async def test_two_keys_have_two_names(database: Database) -> None:
    await api_keys.create(database, "backend")
    with pytest.raises(NameTakenError):
        await api_keys.create(database, "backend")


async def test_a_revoked_name_may_be_used_again(database: Database) -> None:
    old = await api_keys.create(database, "backend")
    assert await api_keys.revoke(database, "backend")
    assert not await api_keys.revoke(database, "backend")
    assert not await api_keys.any_exists(database)
    new = await api_keys.create(database, "backend")
    assert old != new
    assert [(key.name, key.revoked_at) for key in await api_keys.list_all(database)] == [("backend", 0)]


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


def test_a_digest_does_not_show_itself() -> None:
    assert repr(api_keys.KeyDigest("backend", b"secret")) == "KeyDigest('backend')"
