"""VoIP tokens and accounts: calls that meet, and a database that had VoIP tokens before there were rules for them."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from storage import accounts, devices, migrations
from storage.database import Database
from storage.devices import NewDevice
from storage.ids import new_id

_HELD = b"select voip_token, count(*) from devices where voip_token <> '' group by 1 order by 1"
_BY_USER = b"select user_id from device_accounts order by 1"
_LISTED = b"select distinct name from devices, unnest(accounts) name order by 1"


def new(token: str, voip_token: str = "", *, id: str = "", users: tuple[str, ...] = ("",)) -> NewDevice:
    """An APNs device; one whose token is its VoIP token has no other."""
    return NewDevice(
        id=id or new_id(),
        provider="apns",
        platform="ios",
        token=token,
        token_kind="voip" if token == voip_token else "token",
        voip_token=voip_token,
        user_id=users[0],
        accounts=list(users[1:]),
    )


async def together(calls: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


async def test_a_voip_token_that_many_register_at_once_is_on_one_device(database: Database) -> None:
    ids = [new_id() for _ in range(4)]
    calls = [devices.register(database, new(f"a{n % 5}", f"f{n % 3}"), by_id=False) for n in range(30)]
    calls += [devices.register(database, new(f"a{n % 5}", f"f{n % 3}", id=ids[n % 4]), by_id=True) for n in range(30)]
    calls += [devices.register(database, new(f"f{n % 3}", f"f{n % 3}"), by_id=False) for n in range(15)]
    await together(calls)
    held = await database.values(_HELD, {})
    assert [count for _, count in held] == [1] * len(held)
    assert 1 <= len(held) <= 3


async def test_the_index_of_accounts_is_right_after_changes_at_once(database: Database) -> None:
    device = await devices.register(database, new("aa", users=("u0", "u1")), by_id=False)
    calls: list[Coroutine[Any, Any, Any]] = []
    for n in range(8):
        calls += [
            accounts.change(database, device.id, "set" if n % 3 else "add", [f"u{n}", f"u{n + 1}", "all"]),
            devices.register(database, new("aa", users=("main", f"v{n}")), by_id=False),
            accounts.log_in(database, new("aa", users=(f"w{n}", f"x{n}"))),
            devices.remove(database, ids=[device.id], users=[f"u{n}", "nobody"], tokens=None),
        ]
    await together(calls)
    assert await database.values(_BY_USER, {}) == await database.values(_LISTED, {})


async def test_voip_tokens_of_before_are_left_with_who_registered_last(empty_database_url: str) -> None:
    known = migrations.available()
    ours = next(step for step in known if step.name == "accounts")
    row = b"insert into devices (id, provider, token, platform, voip_token, registered_at) values"
    async with Database(empty_database_url) as database:
        await migrations.apply(database, [step for step in known if step.version < ours.version])
        for provider, token, day in (("apns", "first", 1), ("apns", "last", 2), ("fcm", "other", 3)):
            values = {"id": new_id(), "provider": provider, "token": token, "day": f"2026-11-0{day}"}
            await database.execute(
                row + b" (%(id)s, %(provider)s, %(token)s, 'ios', 'ff', %(day)s::timestamptz)", values
            )
        await migrations.apply(database)
        assert await database.values(b"select token from devices where voip_token <> ''", {}) == [("last",)]
