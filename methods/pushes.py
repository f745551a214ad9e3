"""What became of a push: its state, its ledger, and what devices report back."""

from typing import Literal

import msgspec

from methods.context import Context
from methods.errors import BadRequestError, NotFoundError
from methods.filters import page_limit
from methods.method import Params, Result
from methods.stopping import PushUidParams
from storage import pushes
from storage.ids import as_id
from storage.pushes import LANES

State = Literal["scheduled", "planning", "sending", "paused", "done", "cancelled"]


class Ledger(msgspec.Struct):
    """Where the recipients are; planned is always the sum of the others.

    planned: recipients that the push was planned for so far
    accepted: taken by the provider
    failed: refused for good
    expired: not sent before expire_at
    cancelled: not sent because the push was cancelled
    suppressed: not sent because the device left
    dropped: not sent because of a limit
    pending: waiting or in flight
    """

    planned: int = 0
    accepted: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    suppressed: int = 0
    dropped: int = 0
    pending: int = 0


class ReasonCount(Result):
    """How many recipients came to one end for one reason.

    provider: the provider
    outcome: failed, expired, cancelled, suppressed, dropped; outside the ledger skipped, held and retried (attempts)
    reason: the provider's word, or ours
    count: recipients
    examples: up to three devices that this happened to; push_explain tells more of each
    """

    provider: str
    outcome: str
    reason: str
    count: int
    examples: list[str] = msgspec.field(default_factory=list)


class PausedPart(Result):
    """A credential that does not send now.

    provider_id: the credential
    scope: the part of it that is paused; empty means all of it
    reason: why
    next_probe_at: when it is tried again, Unix seconds
    """

    provider_id: str
    scope: str = ""
    reason: str = ""
    next_probe_at: int = 0


class PushStatusResult(Result):
    """A push and what came of it. Times are Unix seconds.

    uid: the push's uid
    state: scheduled, planning, sending, paused (it, or a credential it needs), done, cancelled
    priority: its lane
    analytics_uid: the id under which receipts are counted
    accepted_at: when it was committed
    send_at: when it is or was due
    expire_at: when it ends unsent
    planned_at: when its audience was planned completely
    finished_at: when its last recipient was settled
    paused_at: when push_pause stopped it; absent when it is not
    ledger: all recipients
    providers: the ledger by provider
    reasons: everything that was not accepted, by reason
    paused: the credentials it waits for
    delivered: devices that reported it as delivered
    interacted: devices that reported an interaction
    """

    uid: str
    state: State
    priority: str
    ledger: Ledger
    analytics_uid: str = ""
    accepted_at: int = 0
    send_at: int = 0
    expire_at: int = 0
    planned_at: int = 0
    finished_at: int = 0
    paused_at: int = 0
    providers: dict[str, Ledger] = msgspec.field(default_factory=dict)
    reasons: list[ReasonCount] = msgspec.field(default_factory=list)
    paused: list[PausedPart] = msgspec.field(default_factory=list)
    delivered: int = 0
    interacted: int = 0


class PushListParams(Params):
    """Which pushes.

    states: only pushes in one of these states; one that waits for a paused credential is listed as sending
    cursor: next_cursor of the page before
    limit: items on a page, 100 unless told, 1000 at most
    """

    states: list[State] | None = None
    cursor: str | None = None
    limit: int | None = None


class PushItem(Result):
    """A push in a list. Times are Unix seconds.

    uid: the push's uid
    state: its state
    priority: its lane
    accepted_at: when it was committed
    send_at: when it is or was due
    finished_at: when its last recipient was settled
    planned: recipients planned so far
    pending: recipients waiting or in flight
    """

    uid: str
    state: State
    priority: str
    accepted_at: int = 0
    send_at: int = 0
    finished_at: int = 0
    planned: int = 0
    pending: int = 0


class PushListResult(Result):
    """A page of pushes, newest first.

    items: the pushes
    next_cursor: give it to get the next page; absent on the last
    has_more: whether there is a next page
    """

    items: list[PushItem]
    next_cursor: str = ""
    has_more: bool = False


class _LedgerRow(msgspec.Struct):
    provider: str
    planned: int
    accepted: int
    failed: int
    expired: int
    cancelled: int
    suppressed: int
    dropped: int


class _PauseRow(msgspec.Struct):
    credential: str
    scope: str
    reason: str
    next_probe_at: int


async def push_status(ctx: Context, params: PushUidParams) -> PushStatusResult:
    """Tell what became of a push.

    The ledger accounts for every recipient: planned = accepted + failed + expired + cancelled + suppressed + dropped
    + pending, in total and by provider. Devices whose provider has no payload or no credential are in `reasons` as
    skipped, outside the ledger. Unknown uid: 104.
    """
    row = await pushes.status(ctx.database, params.uid)
    if row is None:
        raise NotFoundError("there is no push with this uid", path="uid")
    by_provider = {entry.provider: _ledger(entry) for entry in msgspec.json.decode(row.ledger, type=list[_LedgerRow])}
    total = Ledger()
    for ledger in by_provider.values():
        for name in Ledger.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(ledger, name))
    paused = msgspec.json.decode(row.pauses, type=list[_PauseRow])
    receipts = msgspec.json.decode(row.receipts, type=dict[str, int])
    state = _state(row.state, waiting=row.waiting)
    return PushStatusResult(
        uid=row.uid,
        state="paused" if row.paused_at or (paused and state == "sending") else state,
        priority=LANES[row.lane],
        ledger=total,
        analytics_uid=row.analytics_uid,
        accepted_at=row.accepted_at,
        send_at=row.send_at,
        expire_at=row.expire_at,
        planned_at=row.planned_at,
        finished_at=row.finished_at,
        paused_at=row.paused_at,
        providers=by_provider,
        reasons=msgspec.json.decode(row.reasons, type=list[ReasonCount]),
        paused=[PausedPart(p.credential, p.scope, p.reason, p.next_probe_at) for p in paused],
        delivered=receipts.get("delivered", 0),
        interacted=receipts.get("interacted", 0),
    )


async def push_list(ctx: Context, params: PushListParams) -> PushListResult:
    """List pushes, newest first.

    Pages by cursor: a push accepted meanwhile never moves another to a second page.
    """
    limit = page_limit(params.limit)
    cursor = as_id(params.cursor) if params.cursor else None
    if params.cursor and cursor is None:
        raise BadRequestError("the cursor is not one of ours", path="cursor")
    states = [str(state) for state in params.states] if params.states else None
    rows = await pushes.page(ctx.database, states, cursor, limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    items = [
        PushItem(
            uid=row.uid,
            state="paused" if row.paused else _state(row.state, waiting=row.waiting),
            priority=LANES[row.lane],
            accepted_at=row.accepted_at,
            send_at=row.send_at,
            finished_at=row.finished_at,
            planned=row.planned,
            pending=row.planned - row.settled,
        )
        for row in rows
    ]
    return PushListResult(items, rows[-1].id if more else "", more)


def _ledger(row: _LedgerRow) -> Ledger:
    settled = row.accepted + row.failed + row.expired + row.cancelled + row.suppressed + row.dropped
    fields = {name: getattr(row, name) for name in _LedgerRow.__struct_fields__ if name != "provider"}
    return Ledger(**fields, pending=row.planned - settled)


def _state(stored: str, *, waiting: bool) -> State:
    """A push that is due and not yet planned is being planned."""
    if stored == "scheduled":
        return "scheduled" if waiting else "planning"
    state: State = msgspec.convert(stored, State)
    return state


METHODS = (push_status, push_list)
