"""Calls that meet: each must come out as if they had come one after the other, and none may fail."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from storage import devices, topics
from storage.database import Database
from storage.devices import DeviceChange, DeviceRow, NewDevice
from storage.ids import new_id


def new(token: str, *, id: str = "", user: str = "", own: list[str] | None = None) -> NewDevice:
    return NewDevice(id=id or new_id(), provider="fcm", platform="web", token=token, user_id=user, topics=own or [])


async def together(calls: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


async def stored(database: Database) -> list[DeviceRow]:
    names = (
        "ids",
        "users",
        "topics",
        "providers",
        "platforms",
        "tokens",
        "provider_ids",
        "locales",
        "c_topics",
        "c_program",
    )
    return await devices.page(database, dict.fromkeys(names), after=None, limit=1000, include_topics=True)


async def test_first_registrations_of_one_token_get_one_id(database: Database) -> None:
    calls = [devices.register(database, new(f"t{n % 5}"), by_id=False) for n in range(50)]
    found = {(row.token, row.id) for row in await together(calls)}
    assert len(found) == 5
    assert {(row.token, row.id) for row in await stored(database)} == found


async def test_first_registrations_of_one_id_make_one_device(database: Database) -> None:
    ids = [new_id() for _ in range(5)]
    await together([devices.register(database, new(f"t{n}", id=ids[n % 5]), by_id=True) for n in range(50)])
    assert [row.id for row in await stored(database)] == sorted(ids)


async def test_devices_that_take_tokens_from_each_other_keep_one_token_each(database: Database) -> None:
    ids = [new_id() for _ in range(4)]
    calls = [devices.register(database, new(f"t{n * 7 % 3}", id=ids[n % 4]), by_id=True) for n in range(60)]
    for n, row in enumerate(await together(calls)):
        assert (row.id, row.token) == (ids[n % 4], f"t{n * 7 % 3}")
    left = await stored(database)
    assert len({row.token for row in left}) == len(left) > 0


async def test_registrations_with_and_without_id_meet_at_one_token(database: Database) -> None:
    ids = [new_id() for _ in range(3)]
    calls = [devices.register(database, new("t", id=ids[n % 3]), by_id=True) for n in range(25)]
    calls += [devices.register(database, new("t"), by_id=False) for _ in range(25)]
    assert {row.token for row in await together(calls)} == {"t"}
    assert len(await stored(database)) == 1


async def test_the_whole_state_is_that_of_one_registration_never_a_mixture(database: Database) -> None:
    for _ in range(10):
        calls = [devices.register(database, new("t", user=f"u{n}", own=[f"of u{n}"]), by_id=False) for n in range(8)]
        await together(calls)
        (row,) = await stored(database)
        assert row.topics == [f"of {row.user_id}"]


async def test_sets_of_topics_that_meet_do_not_mix(database: Database) -> None:
    device = await devices.register(database, new("t", user="u"), by_id=False)
    for _ in range(10):
        by_id = [topics.change_device(database, device.id, "set", [f"a{n}", f"b{n}"]) for n in range(5)]
        by_user = [
            devices.update(database, DeviceChange(topics_op="set", topics=[f"a{n}", f"b{n}"]), ids=None, users=["u"])
            for n in range(5, 10)
        ]
        await together([*by_id, *by_user])
        (row,) = await stored(database)
        assert len(row.topics) == 2
        assert row.topics[0][1:] == row.topics[1][1:]


async def test_no_new_device_misses_a_topic_that_its_user_is_given_meanwhile(database: Database) -> None:
    for round_ in range(10):
        user = f"u{round_}"
        registering = [devices.register(database, new(f"{user} t{n}", user=user), by_id=False) for n in range(6)]
        giving = [topics.change_user(database, user, "add", [f"topic {n}"]) for n in range(4)]
        await together([call for pair in zip(registering, giving, strict=False) for call in pair] + registering[4:])
    assert {tuple(row.topics) for row in await stored(database)} == {tuple(f"topic {n}" for n in range(4))}


async def test_changes_registrations_and_removals_in_any_order_do_not_fail(database: Database) -> None:
    rows = [await devices.register(database, new(f"t{n}", user="u"), by_id=False) for n in range(6)]
    ids = [row.id for row in rows]
    change = DeviceChange(topics_op="add", topics=["x", "y"])
    calls: list[Coroutine[Any, Any, Any]] = []
    for n in range(8):
        calls += [
            devices.update(database, change, ids=ids[::-1] if n % 2 else ids, users=None),
            devices.remove(database, ids=[ids[n % 6]], users=None, tokens=None),
            devices.register(database, new(f"t{n % 6}", id=ids[(n + 1) % 6], user="u", own=["x"]), by_id=True),
            topics.change_user(database, "u", "set", ["y", "x"] if n % 2 else ["x"]),
            topics.change_device(database, ids[n % 6], "set", ["y"]),
        ]
    await together(calls)
    left = await stored(database)
    assert len({row.token for row in left}) == len(left)
