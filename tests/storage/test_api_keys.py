"""Keys of the API in the database: names, replacement, use; and what ends the keys of apps."""

import time
from typing import Any

import pytest

from storage import api_keys, devices
from storage.api_keys import KeyBounds, KeyGoneError, NameTakenError, ValidKey
from storage.database import Database
from storage.devices import NewDevice
from storage.ids import new_id

_SOON = 3600.0


async def one(database: Database, query: str, **params: Any) -> Any:
    return (await database.values(query.encode(), params))[0][0]


async def test_a_key_is_shown_once_and_stored_as_its_digest(database: Database) -> None:
    key = await api_keys.create(database, "backend")
    assert len(key) == 46
    assert key.startswith("tk_")
    stored = await database.values(b"select name, encode(digest, 'hex') from api_keys", {})
    assert stored == [("backend", api_keys.digest_of(key.encode()).hex())]


async def test_a_key_is_found_with_its_bounds(database: Database) -> None:
    bounds = KeyBounds(
        methods=["@send", "info"],
        credentials=["shop"],
        addresses=["10.0.0.0/8", "2001:db8::/32"],
        rate=2.5,
        burst=10,
        expires_at=float(int(time.time()) + 60),
    )
    key = await api_keys.add(database, "backend", bounds)
    (valid,) = await api_keys.valid_keys(database)
    assert valid.digest == api_keys.digest_of(key.encode())
    assert KeyBounds(**{name: getattr(valid, name) for name in KeyBounds.__struct_fields__}) == bounds


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


async def test_an_expired_key_is_not_valid_and_gives_its_name_away(database: Database) -> None:
    await api_keys.add(database, "backend", KeyBounds(methods=["info"], expires_at=1.0))
    assert await api_keys.valid_keys(database) == []
    assert await api_keys.find(database, "backend") is None
    assert not await api_keys.revoke(database, "backend")
    assert await api_keys.any_exists(database)
    await api_keys.create(database, "backend")
    assert [(key.methods, key.expires_at) for key in await api_keys.valid_keys(database)] == [([], 0)]


async def replaced(database: Database, overlap_seconds: float, **bounds: Any) -> float:
    """Replace a key by another one; when the first one ends then."""
    await api_keys.add(database, "old", KeyBounds(**bounds))
    old = await api_keys.find(database, "old")
    assert old
    new = KeyBounds()
    _, until = await api_keys.replace(database, "new", new, replaced_id=old.id, overlap_seconds=overlap_seconds)
    return until


async def test_a_replaced_key_stays_valid_for_the_overlap(database: Database) -> None:
    until = await replaced(database, _SOON)
    assert abs(until - time.time() - _SOON) < 60
    assert [key.name for key in await api_keys.valid_keys(database)] == ["new", "old"]
    assert [key.expires_at for key in await api_keys.valid_keys(database)] == [0, until]


async def test_without_an_overlap_the_replaced_key_ends_at_once(database: Database) -> None:
    await replaced(database, 0)
    assert [key.name for key in await api_keys.valid_keys(database)] == ["new"]


async def test_an_overlap_makes_no_key_live_longer(database: Database) -> None:
    ends = float(int(time.time()) + 60)
    assert await replaced(database, _SOON, expires_at=ends) == ends


async def test_a_replacement_that_fails_changes_nothing(database: Database) -> None:
    await api_keys.create(database, "old")
    await api_keys.create(database, "taken")
    old = await api_keys.find(database, "old")
    assert old
    for name, replaced_id, error in (("taken", old.id, NameTakenError), ("new", new_id(), KeyGoneError)):
        with pytest.raises(error):
            await api_keys.replace(database, name, KeyBounds(), replaced_id=replaced_id, overlap_seconds=0)
    assert [key.name for key in await api_keys.valid_keys(database)] == ["old", "taken"]


async def test_the_use_of_a_key_is_kept_to_the_hour_and_written_once_in_it(database: Database) -> None:
    digest = api_keys.digest_of((await api_keys.create(database, "used")).encode())
    await api_keys.create(database, "unused")
    await api_keys.note_uses(database, {digest})
    version = await one(database, "select xmin::text from api_keys where name = 'used'")
    await api_keys.note_uses(database, {digest})
    assert version == await one(database, "select xmin::text from api_keys where name = 'used'")
    used = {key.name: key.last_used_at for key in await api_keys.list_all(database)}
    assert used["unused"] == 0
    assert used["used"] % 3600 == 0
    assert abs(used["used"] - time.time()) < 2 * 3600


async def test_a_valid_key_does_not_show_itself(database: Database) -> None:
    await api_keys.create(database, "backend")
    (key,) = await api_keys.valid_keys(database)
    assert isinstance(key, ValidKey)
    assert repr(key) == "ValidKey('backend')"


async def test_device_keys_of_a_user_end_and_later_ones_do_not(database: Database) -> None:
    await api_keys.end_device_keys(database, "ann", 1000.0)
    ended = [await api_keys.device_key_ended(database, user, at) for user, at in (("ann", 999.9), ("ann", 1000.0))]
    assert ended == [True, False]
    assert not await api_keys.device_key_ended(database, "bob", 999.9)


async def test_the_end_of_device_keys_does_not_move_back(database: Database) -> None:
    await api_keys.end_device_keys(database, "ann", 1000.0)
    await api_keys.end_device_keys(database, "ann", 500.0)
    assert await api_keys.device_key_ended(database, "ann", 999.9)


async def test_device_keys_of_everyone_end(database: Database) -> None:
    await api_keys.end_device_keys(database, "", 1000.0)
    assert await api_keys.device_key_ended(database, "bob", 999.9)


async def test_ends_that_hold_back_nothing_any_more_are_forgotten(database: Database) -> None:
    await api_keys.end_device_keys(database, "ann", 1000.0)
    await api_keys.end_device_keys(database, "bob", time.time())
    assert await one(database, "select array_agg(user_id) from device_key_limits") == ["bob"]


async def test_the_users_of_a_device_are_all_who_are_logged_in(database: Database) -> None:
    device = NewDevice(id=new_id(), provider="fcm", token="t", platform="android", user_id="ann", accounts=["bob"])
    await devices.register(database, device, by_id=False)
    assert sorted(await api_keys.device_owners(database, device.id) or []) == ["ann", "bob"]
    assert await api_keys.device_owners(database, new_id()) is None
