"""The record asked about one device: what became of it in a push, and which pushes it was in."""

from collections.abc import Sequence

import msgspec

from storage.database import Database
from storage.pushes import NO_CURSOR
from storage.queries import load

_QUERIES = load("record")
_AFTER_ALL = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_MOST_BROAD = 200


class Attempt(msgspec.Struct):
    """What came of one attempt at the device, or of planning it (`attempt` 0). Times are Unix seconds.

    `position` is the device's place in the batch, from 0; `message_id` is None where it was not stored.
    """

    attempt: int
    batch_id: int
    provider: str
    credential: str
    environment: str
    started_at: int
    settled_at: int
    position: int
    outcome: str
    reason: str
    status: int
    message_id: str | None


class Waiting(msgspec.Struct):
    """A batch in the queue that the device is in. `due_at` is when its lease ends, if it is `claimed`.

    `waits`: not before `due_at`; else it is its turn that it waits for. `pause` is the kind of the pause it is behind.
    """

    batch_id: int
    provider: str
    credential: str
    environment: str
    attempt: int
    claimed: bool
    is_ahead: bool
    due_at: int
    waits: bool
    parked: bool
    paced: bool
    second_try: bool
    pause: str
    pause_reason: str
    pause_since: int
    next_probe_at: int


class DeviceNow(msgspec.Struct):
    """The device as it is; `credential` is the one that serves it, None when there is none.

    `registered_later`: after the push was sent; `changed_later`: after the push was planned.
    """

    provider: str
    provider_id: str
    state: str
    failing_reason: str
    user_id: str
    registered_later: bool
    changed_later: bool
    created_at: int
    updated_at: int
    registered_at: int
    hold_until: int
    credential: str | None


class _Push(msgspec.Struct):
    push_id: str
    state: str
    lane: int
    delivery: str
    providers: list[str]
    request: bytes
    cursor: str | None
    accepted_at: int
    send_at: int
    is_ahead: bool
    expire_at: int
    is_over: bool
    planned_at: int
    finished_at: int
    paused_at: int


class _Row(_Push):
    device: str | None
    attempts: str
    waiting: str
    receipts: str


class Record(_Push):
    """All that is known of a device in a push. Times are Unix seconds, 0 = not yet; `request` is as it came."""

    device: DeviceNow | None
    attempts: list[Attempt]
    waiting: list[Waiting]
    receipts: dict[str, int]


class LatestRow(msgspec.Struct):
    """A push that a device was in, with the attempts at it."""

    push_id: str
    uid: str
    state: str
    accepted_at: int
    attempts: list[Attempt]


class _LatestRow(msgspec.Struct):
    edge: str
    push_id: str
    uid: str
    state: str
    accepted_at: int
    attempts: str


_DEVICE = msgspec.json.Decoder(DeviceNow)
_ATTEMPTS = msgspec.json.Decoder(list[Attempt])
_WAITING = msgspec.json.Decoder(list[Waiting])
_RECEIPTS = msgspec.json.Decoder(dict[str, int])


async def of_device(database: Database, uid: str, device_id: str) -> Record | None:
    """What record and queue say of a device in a push, at one moment; None when there is no such push."""
    row = await database.row(_QUERIES.of_device, {"uid": uid, "device_id": device_id}, _Row)
    if row is None:
        return None
    return Record(
        **msgspec.structs.asdict(row)
        | {
            "device": _DEVICE.decode(row.device) if row.device else None,
            "attempts": _ATTEMPTS.decode(row.attempts),
            "waiting": _WAITING.decode(row.waiting),
            "receipts": _RECEIPTS.decode(row.receipts),
        }
    )


async def topics_now(database: Database, device_id: str, topics: Sequence[str]) -> list[str]:
    """Which of these topics the device has now."""
    parameters = {"device_id": device_id, "topics": list(topics)}
    return [row[0] for row in await database.values(_QUERIES.topics_now, parameters)]


async def kept_since(database: Database) -> int:
    """The first day of which outcomes are kept, in Unix seconds; 0 when none has left yet."""
    first: int = (await database.values(_QUERIES.kept_since, {}))[0][0]
    return first


async def latest(
    database: Database, device_id: str, before: str | None, limit: int, *, most_broad: int = _MOST_BROAD
) -> tuple[list[LatestRow], str | None]:
    """The newest pushes that a device was in, of those before the push `before`; and where to go on, None at the end.

    A page may be short, or empty, and not the last: of pushes to many devices only so many are looked at for it.
    """
    parameters = {
        "device_id": device_id,
        "before": before or _AFTER_ALL,
        "limit": limit + 1,
        "most_broad": most_broad,
    }
    found = await database.rows(_QUERIES.latest, parameters, _LatestRow, fresh=True)
    rows = [
        LatestRow(row.push_id, row.uid, row.state, row.accepted_at, _ATTEMPTS.decode(row.attempts))
        for row in found
        if row.push_id
    ]
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1].push_id
    edge = found[0].edge
    return rows, None if edge == NO_CURSOR else edge
