"""What the tests of removing users share: devices of users, and what queue and record say of them."""

import time
from typing import Any

from storage import user_removal
from storage.database import Database
from storage.ids import new_id
from storage.user_removal import Removed

NOBODY = "00000000-0000-0000-0000-000000000000"


async def add(database: Database, user: str, *accounts: str, **columns: str) -> str:
    """A device of this user, with these further users logged in on it; its id."""
    device = columns.get("id", new_id())
    await database.execute(
        b"insert into devices (id, provider, platform, token, user_id, accounts)"
        b" values (%(id)s::text::uuid, 'apns', 'ios', 'token of ' || %(id)s::text, %(user)s, %(accounts)s)",
        {"id": device, "user": user, "accounts": list(accounts)},
    )
    return device


async def remove(database: Database, user: str = "ann") -> Removed:
    return await user_removal.remove(database, user, time.time())


async def ledger(database: Database, uid: str) -> dict[str, Any]:
    """State and ledger of a push, which sums."""
    row = (
        await database.values(
            b"select state, p.planned, settled, l.planned, accepted, failed, suppressed, finished_at is not null,"
            b" coalesce((select sum(recipient_count) from batches b where b.push_id = p.id), 0)"
            b" from pushes p join push_ledger l on l.push_id = p.id where uid = %(uid)s",
            {"uid": uid},
        )
    )[0]
    names = ("state", "planned", "settled", "l_planned", "accepted", "failed", "suppressed", "finished", "waiting")
    found = dict(zip(names, row, strict=True))
    assert found["planned"] == found["l_planned"] == found["settled"] + found["waiting"]
    assert found["settled"] == found["accepted"] + found["failed"] + found["suppressed"]
    return found


async def queued(database: Database) -> list[tuple[list[str], list[str]]]:
    """Devices and tokens of each batch, in the order of the batches."""
    rows = await database.values(
        b"select device_ids::text[], string_to_array(tokens, E'\\n'), recipient_count from batches order by id", {}
    )
    assert all(len(ids) == len(tokens) == count for ids, tokens, count in rows)
    return [(ids, tokens) for ids, tokens, _ in rows]


async def named(database: Database, device: str) -> int:
    """In how many rows of queue and record a device is named."""
    return (  # type: ignore[no-any-return]
        await database.values(
            b"select (select count(*) from outcomes where %(id)s::text::uuid = any (device_ids))"
            b" + (select count(*) from batches where %(id)s::text::uuid = any (device_ids))"
            b" + (select count(*) from push_reasons where %(id)s::text::uuid = any (examples))"
            b" + (select count(*) from receipts where device_id = %(id)s::text)"
            b" + (select count(*) from user_removals)",
            {"id": device},
        )
    )[0][0]
