"""Decides what an outcome means for the queue: settled for good, or sent again, and when."""

import random
from dataclasses import dataclass

from delivery.batches import Batch
from delivery.outcomes import Kind, Outcome

RETRY_FOR_SECONDS = 3600.0  # FCM advises to stop after about an hour; so do the libraries we read for APNs
BACKOFF_CAP_SECONDS = 900.0  # Apple advises 15 minutes for its 5xx
RETRY_AFTER_CAP_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The word for the record and, when it is to be sent again, the time (Unix seconds) and if it was an attempt."""

    word: str
    reason: str
    status: int = 0
    due_at: float | None = None
    proof_at: float | None = None
    counts: bool = True


def judge(outcome: Outcome, batch: Batch, now: float) -> Verdict:
    """Judge one recipient's outcome."""
    if outcome.kind is Kind.RETRY:
        return _again(outcome, batch, now)
    if outcome.kind is Kind.UNKNOWN:
        if batch.at_most_once:
            return Verdict("failed", outcome.reason or "Unknown", outcome.status)
        return _again(outcome, batch, now)
    if outcome.kind is Kind.HELD:
        due_at = now if outcome.due_at is None else outcome.due_at
        if batch.expire_at is not None and due_at >= batch.expire_at:
            return Verdict("expired", outcome.reason)
        return Verdict("held", outcome.reason, due_at=due_at, counts=False)
    if outcome.kind is Kind.RELEASED:
        return Verdict("released", outcome.reason, due_at=now, counts=False)
    return Verdict(outcome.kind.value, outcome.reason, outcome.status, proof_at=outcome.proof_at)


def _again(outcome: Outcome, batch: Batch, now: float) -> Verdict:
    """Send again, unless the push's time or the time for trying is over."""
    due_at = now + delay(outcome, batch.attempt, now - batch.first_attempt_at)
    if batch.expire_at is not None and due_at >= batch.expire_at:
        return Verdict("expired", outcome.reason, outcome.status)
    if outcome.counts_as_attempt and due_at - batch.first_attempt_at > RETRY_FOR_SECONDS:
        return Verdict("failed", outcome.reason, outcome.status)
    return Verdict("retry", outcome.reason, outcome.status, due_at=due_at, counts=outcome.counts_as_attempt)


def delay(outcome: Outcome, attempt: int, tried_seconds: float = float("inf")) -> float:
    """Seconds to wait before the next attempt, after trying for so long.

    The provider's Retry-After is a floor with a tenth of jitter on top. Without one: exponential from the outcome's
    base, between one and two steps, so that "at least 10 s" of a provider holds and a storm still spreads.
    """
    if outcome.pause is not None:
        return 0.0  # the pause holds it back
    if outcome.retry_after_seconds is not None:
        wished = min(outcome.retry_after_seconds, RETRY_AFTER_CAP_SECONDS)
        return wished * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, guards nothing
    step = min(outcome.backoff_base_seconds * 2 ** min(attempt - 1, 20), BACKOFF_CAP_SECONDS)
    # a claim whose sender died counts as an attempt: ten of them in a minute are no reason to wait for an hour
    step = min(step, outcome.backoff_base_seconds + 2 * max(tried_seconds, 0.0))
    return random.uniform(step, min(2 * step, BACKOFF_CAP_SECONDS))  # noqa: S311 - as above
