"""Pushes: accepting them, planning their audience page by page, cancelling, and what the record says of them."""

from collections.abc import Mapping, Sequence

import msgspec

from storage.database import Connection, Database, rows, values
from storage.queries import load

_QUERIES = load("pushes")

LANES = ("urgent", "normal", "bulk")
NO_CURSOR = "00000000-0000-0000-0000-000000000000"
_PAUSABLE = ["scheduled", "planning", "sending"]
NEEDS = ("device", "user", "account", "voip", "meta", "timezone", "locale")
"""What a push may ask its batches to say of their recipients."""


class NewPush(msgspec.Struct, kw_only=True):
    """A push to accept. Times are Unix seconds; `lane` is an index into LANES.

    `content` is what it says where the request alone does not say it.
    """

    id: str
    uid: str
    digest: bytes
    request: bytes
    analytics_uid: str
    delivery: str
    lane: int
    providers: list[str]
    apns_topic: str
    expire_at: float | None
    max_rate: int | None = None
    needs: list[str] = []
    webhook: str | None = None
    content: bytes | None = None

    def parameters(self, batch_size: int) -> dict[str, object]:
        """The values of its columns, and what enqueueing its batches takes."""
        return msgspec.structs.asdict(self) | enqueueing(self.max_rate, batch_size)


class KnownPush(msgspec.Struct):
    """What is kept of a request, to tell a repetition from a conflict."""

    id: str
    digest: bytes
    request: bytes


class PushToPlan(msgspec.Struct):
    """A push whose turn it is, kept from other planners until the transaction ends. `audience` is JSON text."""

    id: str
    providers: list[str]
    apns_topic: str
    lane: int
    expire_at: float | None
    audience: str
    cursor: str | None
    send_at: float
    turn: int
    needs: list[str]
    max_rate: int | None


class PushRow(msgspec.Struct):
    """A push with its ledger and reasons as JSON text; times are Unix seconds, 0 = not yet."""

    id: str
    uid: str
    state: str
    lane: int
    analytics_uid: str
    accepted_at: int
    send_at: int
    expire_at: int
    planned_at: int
    finished_at: int
    paused_at: int
    waiting: bool
    ledger: str
    reasons: str
    receipts: str
    pauses: str


class PushLine(msgspec.Struct):
    """A push in a list."""

    id: str
    uid: str
    state: str
    lane: int
    accepted_at: int
    send_at: int
    finished_at: int
    planned: int
    settled: int
    waiting: bool
    paused: bool


def enqueueing(max_rate: int | None, batch_size: int) -> dict[str, object]:
    """The parameters of a push's first batches; one with a rate of its own is cut for ten portions a second."""
    portion = batch_size if max_rate is None else max(1, min(batch_size, max_rate // 10))
    return {"paced": max_rate is not None, "batch_size": portion, "turn": 0, "cursor": NO_CURSOR}


async def accept_devices(
    database: Database, push: NewPush, device_ids: Sequence[str] | None, users: Sequence[str] | None, batch_size: int
) -> bool:
    """Accept a push to these devices or users' devices with its batches; False when its uid is taken."""
    query = _QUERIES.accept_users if device_ids is None else _QUERIES.accept_ids
    return bool(await database.values(query, push.parameters(batch_size) | {"users": users, "device_ids": device_ids}))


async def accept_raw(database: Database, push: NewPush, raw: dict[str, object], batch_size: int) -> bool:
    """Accept a push to raw addresses (`provider`, `provider_id`, `target`, `tokens`); False when its uid is taken."""
    query = _QUERIES.accept_raw
    return bool(await database.values(query, push.parameters(batch_size) | raw))


async def accept_planned(database: Database, push: NewPush, audience: str, send_at: float | None) -> bool:
    """Accept a push whose audience (JSON text) is planned later; False when its uid is taken."""
    more = {"audience": audience, "send_at": send_at}
    return bool(await database.values(_QUERIES.accept_planned, push.parameters(1) | more))


async def by_uid(database: Database, uid: str) -> KnownPush | None:
    """Find what was accepted under this uid."""
    return await database.row(_QUERIES.by_uid, {"uid": uid}, KnownPush)


async def next_to_plan(connection: Connection, ahead_batches: int, most_batches: int) -> PushToPlan | None:
    """Take the push whose turn it is, skipping those that are `ahead_batches` ahead, or have `most_batches` waiting."""
    parameters = {"ahead": ahead_batches, "most": max(ahead_batches, most_batches)}
    found = await rows(connection, _QUERIES.next_to_plan, parameters, PushToPlan)
    return found[0] if found else None


async def plan_page(connection: Connection, kind: str, parameters: Mapping[str, object]) -> str | None:
    """Plan one page of `kind` (topics, filter, raw) in one statement; the push's state after it, None if it ended."""
    query = {"topics": _QUERIES.plan_topics, "filter": _QUERIES.plan_filter, "raw": _QUERIES.plan_raw}[kind]
    async with connection.cursor(binary=True) as cursor:
        # planned anew each time: the NULL branches of a filter fold away only when the values are known
        await cursor.execute(query, parameters, prepare=False)
        row = await cursor.fetchone()
    return row[0] if row else None


async def put_off(database: Database, push_id: str, seconds: float) -> None:
    """Let a push that could not be planned wait for its next turn."""
    await database.execute(_QUERIES.put_off, {"push_id": push_id, "seconds": seconds})


async def seconds_to_next_plan(database: Database) -> float | None:
    """How long until a push wants planning, None when none waits; negative when one is late."""
    found = await database.values(_QUERIES.next_plan_at, {})
    return found[0][0] if found else None


async def cancel(database: Database, uid: str) -> str | None:
    """Cancel a push: its id, or None when there is no such push. A finished one is left as it is."""
    return await _change(database, uid, _QUERIES.cancel)


async def pause(database: Database, uid: str) -> str | None:
    """Stop a push until it is resumed: its id, or None when there is no such push. A finished one is left as it is."""
    return await _change(database, uid, _QUERIES.pause)


async def resume(database: Database, uid: str) -> str | None:
    """Let a paused push go on: its id, or None when there is no such push."""
    return await _change(database, uid, _QUERIES.resume)


async def _change(database: Database, uid: str, query: bytes) -> str | None:
    async with database.transaction() as connection:
        found = await values(connection, _QUERIES.lock_by_uid, {"uid": uid})
        if not found:
            return None
        push_id: str = found[0][0]
        await connection.execute(query, {"push_id": push_id})
        return push_id


async def status(database: Database, uid: str) -> PushRow | None:
    """Everything the record says of a push."""
    return await database.row(_QUERIES.status, {"uid": uid}, PushRow)


async def page(database: Database, states: list[str] | None, cursor: str | None, limit: int) -> list[PushLine]:
    """Pushes in one of these states (`paused` is one), newest first, after the push with id `cursor`."""
    stored = states and sorted({each for state in states for each in (_PAUSABLE if state == "paused" else [state])})
    parameters = {"states": states, "stored": stored, "cursor": cursor, "limit": limit}
    return await database.rows(_QUERIES.list, parameters, PushLine, fresh=True)


async def record_receipt(database: Database, analytics_uid: str, status: str, device_id: str, msg_id: str) -> None:
    """Note that a device reported a push as delivered or interacted; a repeated report changes nothing."""
    parameters = {"analytics_uid": analytics_uid, "status": status, "device_id": device_id, "msg_id": msg_id}
    await database.execute(_QUERIES.receipt, parameters)


async def configured_providers(database: Database) -> set[str]:
    """The providers that have a credential."""
    return {row[0] for row in await database.values(_QUERIES.configured_providers, {})}


async def credential_provider(database: Database, provider_id: str) -> str | None:
    """The provider that a named credential is for."""
    found = await database.values(_QUERIES.credential_provider, {"provider_id": provider_id})
    return found[0][0] if found else None
