"""push_explain: why a device got a push, or did not."""

import time
from typing import Annotated

import msgspec
from msgspec import Meta

from methods.addressing import Addressing, addressing_of
from methods.context import Context
from methods.device_history import ExplainedEvent, history
from methods.errors import BadRequestError, NotFoundError
from methods.method import Params, Result
from methods.stopping import Uid
from methods.verdicts import Verdict, of_absence, of_record
from storage import record as storage
from storage import trial
from storage.ids import as_id
from storage.record import Record

_LATER_SECONDS = 86_400.0


class PushExplainParams(Params):
    """Which push, and which device.

    uid: the push's uid
    device_id: the device's id; it may have been removed since
    """

    uid: Uid
    device_id: Annotated[str, Meta(min_length=1, max_length=255)]


class OtherReason(Result):
    """Another reason why the device is in no batch of the push.

    verdict: what it would come to
    detail: the same in words
    reason: the reason in one word
    """

    verdict: str
    detail: str = ""
    reason: str = ""


class PushExplainResult(Result):
    """What became of a device in a push.

    uid: the push's uid
    device_id: the device
    verdict: accepted, failed, expired, cancelled, suppressed or dropped as in the ledger; pending: waiting, in flight, or not planned yet; and outside the ledger: skipped (no payload or no credential), inactive (its token is dead or refused), not_matched, unknown_device, unknown (the record does not tell)
    detail: the verdict in words
    reason: the provider's word, or ours
    also: when the device is in no batch, further reasons for that
    events: every decision and attempt, in order
    """  # noqa: E501 - one line a field

    uid: str
    device_id: str
    verdict: str
    detail: str = ""
    reason: str = ""
    also: list[OtherReason] = msgspec.field(default_factory=list)
    events: list[ExplainedEvent] = msgspec.field(default_factory=list)


async def push_explain(ctx: Context, params: PushExplainParams) -> PushExplainResult:
    """Tell what became of one device in a push, and why.

    Every decision and attempt in order, with times and the provider's answers, from the record and the queue. When the
    device is in no batch, the reasons for that, the most likely first: these are of now, because what a device was when
    the push was planned is not kept. Unknown uid: 104. A device_id that is not a UUID: 107.
    """
    device_id = as_id(params.device_id)
    if device_id is None:
        raise BadRequestError("the id of a device is a UUID", path="device_id")
    record = await storage.of_device(ctx.database, params.uid, device_id)
    if record is None:
        raise NotFoundError("there is no push with this uid", path="uid")
    addressing = addressing_of(record.request)
    topics = await storage.topics_now(ctx.database, device_id, addressing.topics) if addressing.topics else []
    found = of_record(record)
    verdict, *also = [found] if found else await _why_absent(ctx, record, device_id, addressing)
    return PushExplainResult(
        params.uid,
        device_id,
        verdict.word,
        verdict.detail,
        verdict.reason,
        [OtherReason(each.word, each.detail, each.reason) for each in also],
        history(record, addressing, topics),
    )


async def _why_absent(ctx: Context, record: Record, device_id: str, addressing: Addressing) -> list[Verdict]:
    matches = None
    if record.device is not None and addressing.audience is not None:
        matches = await _matches(ctx, record, device_id, addressing)
    kept_since = await storage.kept_since(ctx.database) if record.device is not None else 0
    return of_absence(record, device_id, addressing, matches=matches, kept_since=kept_since)


async def _matches(ctx: Context, record: Record, device_id: str, addressing: Addressing) -> bool | None:
    """Whether planning would find the device now; None when it is not active, and planning finds only those."""
    chosen = addressing.narrowed(device_id, record.send_at)
    if chosen is None:
        return False
    if record.device is None or record.device.state != "active":
        return None
    # whether it was registered in time is told apart from that
    parameters = {**chosen, "providers": [], "needs": [], "send_at": time.time() + _LATER_SECONDS, "page": 2}
    return bool(await trial.count(ctx.database, "filter", parameters))


METHODS = (push_explain,)
