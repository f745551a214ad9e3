"""What the reaction tables of all push services share."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from delivery.http2 import Failure, FailureKind
from delivery.outcomes import Kind
from delivery.providers.reactions import retry_after, transport_outcome

NOW = 1_800_000_000.0


def date(seconds: float) -> bytes:
    return format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True).encode()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"30", 30.0),
        (b" 30 ", 30.0),
        (b"12.5", 12.0),
        (b"0", 1.0),
        (b"999999", 3600.0),
        (date(120), 120.0),
        (date(-120), 1.0),
        (date(99_999), 3600.0),
        (b"", None),
        (b"soon", None),
        (b"-5", None),
        (b"\xff\xfe", None),
        (b"9" * 400, None),
        (None, None),
    ],
)
def test_a_time_to_come_back_at_is_read_in_both_forms_and_kept_within_bounds(
    value: bytes | None, seconds: float | None
) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("failure", "kind", "reason", "counts"),
    [
        (Failure(FailureKind.NOT_SENT, "could not connect"), Kind.RETRY, "NotConnected", False),
        (Failure(FailureKind.NOT_SENT, "cancelled"), Kind.RELEASED, "Released", True),
        (Failure(FailureKind.NOT_SENT, "pool closing"), Kind.RELEASED, "Released", True),
        (Failure(FailureKind.REFUSED, "refused"), Kind.RETRY, "RefusedStream", False),
        (Failure(FailureKind.UNKNOWN, "no answer in time"), Kind.UNKNOWN, "Timeout", True),
        (Failure(FailureKind.UNKNOWN, "something new"), Kind.UNKNOWN, "NoAnswer", True),
        (Failure(FailureKind.EXPIRED, "expired"), Kind.EXPIRED, "Expired", True),
    ],
)
def test_a_failure_of_the_wire_has_an_outcome(failure: Failure, kind: Kind, reason: str, counts: bool) -> None:
    outcome = transport_outcome(failure, cancelled=False)
    assert (outcome.kind, outcome.reason, outcome.counts_as_attempt) == (kind, reason, counts)


@pytest.mark.parametrize("kind", [FailureKind.NOT_SENT, FailureKind.REFUSED])
def test_what_was_not_processed_of_a_cancelled_batch_is_given_back(kind: FailureKind) -> None:
    assert transport_outcome(Failure(kind, "could not connect"), cancelled=True).kind is Kind.RELEASED
