"""The events of a device in a push, in order, as push_explain tells them."""

from collections.abc import Iterator

import msgspec

from delivery.providers.apns_message import derived_id
from methods.addressing import Addressing
from methods.method import Result
from methods.verdicts import AGAIN, UNSENT, said_of, why_waiting
from storage.pushes import LANES
from storage.record import Attempt, Record, Waiting

_SENT = ("accepted", "failed", "dead", "retry")
_SAME_SECONDS = 2


class ExplainedEvent(Result):
    """Something that happened to a device, or is going on. Times are Unix seconds.

    event: accepted (the push, by us), scheduled, planned, attempt, second_try, abandoned, released, held, expired, cancelled, suppressed, dropped; with `until`, still going on: held, waiting, in_flight, paused; and delivered, interacted as reported
    at: when it happened or began; absent when that is not recorded
    until: when what is going on ends: a hold, a wait, a lease, the next try of a paused credential
    settled_at: when what came of an attempt was written
    detail: the same in words
    attempt: which attempt, 1 for the first
    provider: the provider
    provider_id: the credential
    environment: APNs: production or sandbox
    outcome: what came of an attempt: accepted, failed, dead (failed, and the token is dead) or retry
    reason: the provider's word, or ours
    status: the provider's HTTP status; absent when there was no answer
    message_id: the provider's id of the message (the apns-id, the FCM message name)
    topics: of the topics that the recipient of the push names, those that the device has now
    """  # noqa: E501 - one line a field

    event: str
    at: int = 0
    until: int = 0
    settled_at: int = 0
    detail: str = ""
    attempt: int = 0
    provider: str = ""
    provider_id: str = ""
    environment: str = ""
    outcome: str = ""
    reason: str = ""
    status: int = 0
    message_id: str = ""
    topics: list[str] = msgspec.field(default_factory=list)


def message_id_of(push_id: str, attempt: Attempt) -> str:
    """The provider's id of an accepted message: as it was stored, else as it follows for APNs."""
    if attempt.outcome != "accepted":
        return ""
    if attempt.message_id is None and attempt.provider == "apns":
        return derived_id(push_id, attempt.batch_id, attempt.attempt, attempt.position)
    return attempt.message_id or ""


def history(record: Record, addressing: Addressing, topics_now: list[str]) -> list[ExplainedEvent]:
    """Everything that record and queue say, in order."""
    events = [_accepted(record, addressing, topics_now)]
    if record.send_at > record.accepted_at:
        events.append(ExplainedEvent("scheduled", at=record.send_at, detail="it was not to be sent before"))
    events.extend(_planned(record))
    events.extend(_attempts(record))
    for batch in record.waiting:
        events.extend(_going_on(record, batch, addressing))
    events.extend(_ended(record))
    events.extend(
        ExplainedEvent(status, at=record.receipts[status], detail="as the device reported")
        for status in ("delivered", "interacted")
        if status in record.receipts
    )
    return events


def _accepted(record: Record, addressing: Addressing, topics_now: list[str]) -> ExplainedEvent:
    by = f", addressed by {addressing.form}" if addressing.form else ""
    if addressing.topics:
        named = ", ".join(addressing.topics[:10]) + (", …" if len(addressing.topics) > 10 else "")
        by += f" (topics: {named}); `topics` are those of them that the device has now"
    detail = f"the push was accepted in the lane {LANES[record.lane]}{by}"
    return ExplainedEvent("accepted", at=record.accepted_at, detail=detail, topics=topics_now)


def _planned(record: Record) -> Iterator[ExplainedEvent]:
    """That the device was put into a batch: when, only the push knows, and only once it is planned to its end."""
    if record.attempts and record.attempts[0].attempt > 0:
        first: Attempt | Waiting = record.attempts[0]
        started_at = record.attempts[0].started_at
    elif record.waiting and not record.attempts:
        first, started_at = record.waiting[0], 0
    else:
        return
    known = record.planned_at and (not started_at or record.planned_at <= started_at)
    yield ExplainedEvent(
        "planned",
        at=record.planned_at if known else 0,
        detail="it was put into a batch",
        provider=first.provider,
        provider_id=first.credential,
        environment=first.environment,
    )


def _attempts(record: Record) -> Iterator[ExplainedEvent]:
    before: Attempt | None = None
    for attempt in record.attempts:
        if before is not None and before.environment != attempt.environment:
            yield _second_try(before, attempt)
        if _was_abandoned(before, attempt.attempt):
            yield _abandoned(attempt)
        yield _attempt(record.push_id, attempt)
        before = attempt


def _attempt(push_id: str, attempt: Attempt) -> ExplainedEvent:
    is_sent = attempt.attempt > 0 and attempt.outcome in _SENT
    return ExplainedEvent(
        "attempt" if is_sent else attempt.outcome,
        at=attempt.started_at if is_sent else attempt.settled_at,
        settled_at=attempt.settled_at if is_sent else 0,
        detail=said_of(attempt),
        attempt=attempt.attempt,
        provider=attempt.provider,
        provider_id=attempt.credential,
        environment=attempt.environment,
        outcome=attempt.outcome if is_sent else "",
        reason=attempt.reason,
        status=attempt.status,
        message_id=message_id_of(push_id, attempt),
    )


def _second_try(before: Attempt | Waiting, after: Attempt | Waiting) -> ExplainedEvent:
    return ExplainedEvent(
        "second_try",
        at=before.settled_at if isinstance(before, Attempt) else 0,
        detail=f"its token is not known in {before.environment}: it is tried in {after.environment}",
        provider=after.provider,
        provider_id=after.credential,
        environment=after.environment,
    )


def _was_abandoned(before: Attempt | None, number: int) -> bool:
    """Whether an attempt has no row: its sender died, or lost the lease."""
    counted = 0 if before is None else before.attempt - (before.outcome in UNSENT)
    return number > counted + 1


def _abandoned(later: Attempt | Waiting) -> ExplainedEvent:
    detail = "a sender took it and ended without a word: whether it was sent is not known"
    return ExplainedEvent("abandoned", detail=detail, attempt=later.attempt - 1, provider_id=later.credential)


def _going_on(record: Record, batch: Waiting, addressing: Addressing) -> Iterator[ExplainedEvent]:
    before = record.attempts[-1] if record.attempts else None
    if before is not None and batch.second_try and before.environment != batch.environment:
        yield _second_try(before, batch)
    if _was_abandoned(before, batch.attempt if batch.claimed else batch.attempt + 1):
        yield _abandoned(batch)
    name, detail = _state(record, batch, addressing)
    yield ExplainedEvent(
        name,
        at=_since(record, batch, name),
        until=batch.next_probe_at if name == "paused" and batch.pause else batch.due_at if _is_timed(batch) else 0,
        detail=detail,
        attempt=batch.attempt if batch.claimed else 0,
        provider=batch.provider,
        provider_id=batch.credential,
        environment=batch.environment,
        reason=batch.pause_reason if name == "paused" else "",
    )


def _state(record: Record, batch: Waiting, addressing: Addressing) -> tuple[str, str]:
    detail = why_waiting(record, batch)
    if batch.claimed:
        return "in_flight", detail
    if record.paused_at or batch.pause:
        return "paused", detail
    if record.attempts or not _is_timed(batch):
        return "held" if record.attempts and record.attempts[-1].outcome == "held" else "waiting", detail
    held = record.device.hold_until if record.device else 0
    if abs(held - batch.due_at) <= _SAME_SECONDS:
        return "held", "its provider asked to leave this device alone for a while (429)"
    by = "of the push" if addressing.is_limited else "of the push or of its user"
    return "held", f"it is held by a window or a limit {by}"


def _is_timed(batch: Waiting) -> bool:
    return batch.is_ahead and (batch.waits or batch.claimed)


def _since(record: Record, batch: Waiting, name: str) -> int:
    if name != "paused":
        return 0
    return record.paused_at or batch.pause_since


def _ended(record: Record) -> Iterator[ExplainedEvent]:
    """The end of a push that left the queue without a row for each device."""
    told = any(each.outcome == "cancelled" for each in record.attempts)
    if record.state == "cancelled" and not told and all(each.outcome in AGAIN for each in record.attempts):
        yield ExplainedEvent("cancelled", at=record.finished_at, detail="the push was cancelled")
