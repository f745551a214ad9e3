"""What a claimed batch comes to without being sent, and whether an answer speaks well of its credential."""

from delivery.batches import Results
from delivery.outcomes import Kind, Outcome
from delivery.queues.contract import Claim

EXPIRED = Outcome(Kind.EXPIRED, "Expired")
CANCELLED = Outcome(Kind.CANCELLED, "Cancelled")
REMOVED = Outcome(Kind.FAILED, "CredentialRemoved")
UNKNOWN = Outcome(Kind.FAILED, "Unknown")
RELEASED = Outcome(Kind.RELEASED, "Released")


def ended(claim: Claim) -> Outcome | None:
    """What a batch comes to that is not to be sent any more."""
    batch = claim.batch
    if batch.abandoned and batch.at_most_once:
        return UNKNOWN
    if claim.cancelled:
        return CANCELLED
    if batch.expire_at is not None and batch.expire_at <= batch.claimed_at:
        return EXPIRED
    if claim.paused:
        return RELEASED
    return None


def settle_all(results: Results, outcome: Outcome) -> None:
    """Report one outcome for every recipient of a batch."""
    for position in range(len(results.batch.tokens)):
        results.settled(position, outcome)


def answered(results: Results) -> bool:
    """Whether the provider took a message or found fault with the message alone: its credential works again."""
    if any(name is not None for name in results.message_ids):
        return True
    return any(o.kind in {Kind.FAILED, Kind.DEAD} and o.status for o in results.exceptions.values())


def settle_rest(results: Results, outcome: Outcome) -> None:
    """Report the same for every recipient that nothing was reported of yet."""
    for position, message_id in enumerate(results.message_ids.copy()):
        if message_id is None and position not in results.exceptions:
            results.settled(position, outcome)
