"""What a push service's answer asks of us, as data; and the part of it that all services share (providers.md 9)."""

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

from delivery.http2 import Failure, FailureKind
from delivery.outcomes import Kind, Outcome

MAX_RETRY_AFTER_SECONDS = 3600.0
_MIN_RETRY_AFTER_SECONDS = 1.0
_SECONDS = re.compile(rb"\s*([0-9]{1,9})(?:\.[0-9]*)?\s*")


class Again(Enum):
    """Whether a request goes again at once, from here, before anybody hears of it. Each happens once a request."""

    NO = "no"
    ELSEWHERE = "on another connection"
    RENEWED = "on another connection with renewed authorisation"


class Pausing(Enum):
    """What must stop sending, if anything."""

    NOTHING = "nothing"
    CREDENTIAL = "the credential"
    TOPIC = "the topic that the push names"
    PLATFORM = "the platform that the batch is for"
    THROTTLE = "the credential, because the service asks for less"


@dataclass(frozen=True, slots=True)
class Reaction:
    """One row of a reaction table.

    `again` is tried first, once; then `kind` and `pausing` hold. `new_connection` retires the connection that the
    answer came over (CONN in providers.md). `keep_token` forbids signing another provider token for a while. `alarm`
    logs a warning: an operator should look.
    """

    kind: Kind
    again: Again = Again.NO
    pausing: Pausing = Pausing.NOTHING
    new_connection: bool = False
    keep_token: bool = False
    alarm: bool = False
    backoff_base_seconds: float = 1.0


_TRANSPORT_REASONS = (
    ("no answer in time", "Timeout"),
    ("stream reset", "StreamReset"),
    ("connection lost", "ConnectionLost"),
)


CLOSING = "pool closing"
"""The multiplexer's reason for what waited in a pool that we closed."""
_OUR_OWN_DOING = ("cancelled", CLOSING)


def transport_outcome(failure: Failure, cancelled: bool) -> Outcome:
    """What comes of a request without an answer; `cancelled` when its batch was given back meanwhile.

    Not processed for certain: sent again without counting. Unknown: the push's delivery policy decides, not we.
    """
    if failure.kind is FailureKind.EXPIRED:
        return Outcome(Kind.EXPIRED, "Expired")
    if failure.kind is FailureKind.UNKNOWN:
        words = (word for start, word in _TRANSPORT_REASONS if failure.reason.startswith(start))
        return Outcome(Kind.UNKNOWN, next(words, "NoAnswer"))
    if cancelled or failure.reason in _OUR_OWN_DOING:
        return Outcome(Kind.RELEASED, "Released")
    if failure.kind is FailureKind.REFUSED:
        return Outcome(Kind.RETRY, "RefusedStream", retry_after_seconds=0.0, counts_as_attempt=False)
    return Outcome(Kind.RETRY, "NotConnected", counts_as_attempt=False)


def retry_after(value: bytes | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date (RFC 9110, 10.2.3); None when it says nothing.

    Kept within 1 second and 1 hour: longer is for the push's own expiry to decide.
    """
    if value is None:
        return None
    if found := _SECONDS.fullmatch(value):
        seconds = float(found[1])
    else:
        try:
            seconds = parsedate_to_datetime(value.decode("ascii")).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, _MIN_RETRY_AFTER_SECONDS), MAX_RETRY_AFTER_SECONDS)


def unlisted(status: int) -> Reaction:
    """An answer that no table knows: 4xx will not get better, everything else may. Always an alarm."""
    return Reaction(Kind.FAILED if 400 <= status < 500 else Kind.RETRY, alarm=True)
