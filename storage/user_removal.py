"""Removing a user: what has the user's name on it at once, then what queue and record hold of the user's devices.

The devices are noted when they leave, and forgotten when queue and record have forgotten them: what was interrupted is
finished by removing the user again.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from storage.database import Database
from storage.pipeline import last_rows
from storage.queries import load

_LOG = logging.getLogger(__name__)
_QUERIES = load("users")
_FIRST = "00000000-0000-0000-0000-000000000000"

_DEVICES = 500  # at once
_PUSHES = 1000  # looked at in one statement, for one device; fewer for more
_MOST_POLLS = 250
_POLL_SECONDS = 0.02


class Removed(msgspec.Struct):
    """How much of a user was removed.

    `shared_devices` are those that stayed with others who are logged in on them; `suppressed` is how many recipients
    left batches that waited; `outcomes` how many attempts of the record do not name a device any more.
    """

    devices: int
    shared_devices: int
    topics: int
    preferences: int
    presence: int
    badge: int
    receipts: int
    suppressed: int = 0
    outcomes: int = 0


class _Gone(msgspec.Struct):
    devices: int
    shared_devices: int
    topics: int
    preferences: int
    presence: int
    badge: int
    receipts: int
    xact: str


class _ToForget(msgspec.Struct):
    id: str
    is_whole: bool
    is_gone: bool


class _Found(msgspec.Struct):
    push_id: str
    pages: list[str]


class _Left(msgspec.Struct):
    devices: int


async def remove(database: Database, user: str, now: float) -> Removed:
    """Remove a user and everything that is kept under the user's name; again does no harm.

    Devices leave with what was reported of them, unless others are logged in on them. Recipients in batches that wait
    are taken out and counted as suppressed. What is in flight may still arrive. The record keeps its numbers, with
    nobody (the nil UUID) in the place of the devices. Sync tokens issued before `now` (Unix seconds) end.
    """
    gone = await _remove_named(database, user, now)
    noted = await database.rows(_QUERIES.to_forget, {"user": user}, _ToForget)
    removed = Removed(**{name: getattr(gone, name) for name in _Gone.__struct_fields__ if name != "xact"})
    if noted:
        await _older_statements(database, gone.xact)
    for begin in range(0, len(noted), _DEVICES):
        devices = noted[begin : begin + _DEVICES]
        removed.suppressed += await _leave_queue(database, user, devices)
        removed.outcomes += await _leave_record(database, [device.id for device in devices if device.is_whole])
        await database.execute(_QUERIES.forgotten, {"user": user, "ids": [device.id for device in devices]})
    return removed


async def unfinished(database: Database, seconds: float, most: int) -> list[str]:
    """Up to `most` users whose removal began `seconds` ago or longer, and was interrupted: remove them again."""
    found = await database.values(_QUERIES.unfinished, {"seconds": seconds, "most": most})
    return [row[0] for row in found]


async def _remove_named(database: Database, user: str, now: float) -> _Gone:
    parameters = {"user": user, "now": now}
    queries = (_QUERIES.lock_user, _QUERIES.lock_devices, _QUERIES.remove_user)
    return (await last_rows(database, [(query, parameters) for query in queries], _Gone))[0]


async def _older_statements(database: Database, xact: str) -> None:
    """Wait for the statements that may still see the devices: planning a page, accepting a push, settling."""
    for _ in range(_MOST_POLLS):
        if not (await database.values(_QUERIES.older_statements, {"xact": xact}))[0][0]:
            return
        await asyncio.sleep(_POLL_SECONDS)
    _LOG.warning("a long statement runs while a user is removed: what it may yet put into the queue stays there")


async def _leave_queue(database: Database, user: str, devices: Sequence[_ToForget]) -> int:
    """Take the devices out of the batches; return how many recipients left those that waited."""
    ids = [device.id for device in devices]
    whole = [device.id for device in devices if device.is_whole and device.is_gone]
    suppressed = 0
    after: str | None = _FIRST
    while after is not None:
        found, after = await _page(database, _QUERIES.waiting_pushes, ids, after)
        for push in found:
            parameters = {"push_id": push.push_id, "pages": push.pages, "ids": ids, "whole": whole, "user": user}
            queries = (_QUERIES.lock_push, _QUERIES.lock_batches, _QUERIES.leave_batches)
            left = await last_rows(database, [(query, parameters) for query in queries], _Left)
            suppressed += left[0].devices
    return suppressed


async def _leave_record(database: Database, ids: Sequence[str]) -> int:
    """Put nobody in the place of the devices; return how many rows of the record that changed."""
    if not ids:
        return 0
    parameters: dict[str, object] = {"ids": list(ids)}
    await database.execute(_QUERIES.forget_examples, parameters)
    changed = await database.execute(_QUERIES.forget_single, parameters)
    changed += await database.execute(_QUERIES.forget_few, parameters)
    after: str | None = _FIRST
    while after is not None:
        found, after = await _page(database, _QUERIES.broad_pushes, ids, after)
        for push in found:
            place = {"push_id": push.push_id, "pages": push.pages}
            changed += await database.execute(_QUERIES.forget_broad, parameters | place)
    return changed


async def _page(database: Database, query: bytes, ids: Sequence[str], after: str) -> tuple[list[_Found], str | None]:
    """The next pushes that the devices are in, of those after the push `after`; and where to go on, None at the end."""
    most = max(1, _PUSHES // len(ids))
    found = await database.rows(query, {"ids": list(ids), "after": after, "most": most}, _Found)
    return [push for push in found if push.pages], found[-1].push_id if len(found) == most else None
