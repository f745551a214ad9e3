"""A batch on its way to a push service: encrypted and sent in slices, so that the event loop serves others between."""

import logging
import time
from collections.abc import Sequence

from delivery.batches import Batch, Results
from delivery.guard import AddressNotAllowedError
from delivery.http2 import Answer, Failure, Head
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.attempt import BatchAttempt
from delivery.providers.reactions import Pausing, retry_after
from delivery.providers.webpush_encryption import InvalidKeysError, encrypt
from delivery.providers.webpush_message import WebpushMessage, is_windows
from delivery.providers.webpush_origins import ADDRESS_REFUSED, NO_SUCH_HOST, OriginPool
from delivery.providers.webpush_reactions import (
    QUOTA_BACKOFF_SECONDS,
    message_id,
    reaction,
    read_refusal,
)
from delivery.providers.webpush_subscription import SubscriptionError, read_subscription

RELEASED = Outcome(Kind.RELEASED, "Released")
_DEFECT = Outcome(Kind.RETRY, "InternalError")
_INVALID_KEYS = Outcome(Kind.FAILED, "InvalidKeys")
_INVALID_SUBSCRIPTION = Outcome(Kind.FAILED, "InvalidSubscription")
_LOG = logging.getLogger(__name__)
_NO_CONNECTION = ("connect failed: ", "not connected: ")
_ADDRESS_REFUSED = (ADDRESS_REFUSED, AddressNotAllowedError.__name__)
_NO_HTTP2 = "did not choose h2"
_RECONNECT_SECONDS = 5.0
"""How long an origin waits that has answered before; one that never has waits for the default backoff."""


class Slice(BatchAttempt):
    """Recipients of a batch whose messages are encrypted: the group that goes to the pool."""

    provider = "webpush"

    __slots__ = ("_positions", "_whole")

    def __init__(
        self, whole: "WebpushAttempt", positions: Sequence[int], targets: Sequence[bytes], bodies: Sequence[bytes]
    ) -> None:
        super().__init__(
            whole.head,
            whole.batch,
            whole.results,
            whole.origin.pool,
            bodies,
            paths=targets,
            count=len(positions),
        )
        self._positions = positions
        self._whole = whole
        self.wants_headers = True  # the message's id is in one
        self._logged = whole.logged

    def settle(self, index: int, outcome: Outcome) -> None:
        """Report to the recipient's place in the batch."""
        self.results.settled(self._positions[index], outcome)

    def on_answer(self, index: int, answer: Answer) -> None:
        """Accepted as a rule with 201; else the reaction table says what follows."""
        self._whole.origin.heard()
        refusal = read_refusal(answer, windows=self._whole.windows)
        row = reaction(answer.status, refusal.row)
        if row is None:
            self.results.accepted(self._positions[index], message_id(answer))
            return
        wait = retry_after(answer.header(b"retry-after"), time.time()) if row.kind is Kind.RETRY else None
        if row.pausing is Pausing.THROTTLE and wait is None:
            wait = QUOTA_BACKOFF_SECONDS
        pause = self.pause(row.pausing, "", wait)
        outcome = Outcome(
            row.kind,
            refusal.reason,
            answer.status,
            retry_after_seconds=wait,
            backoff_base_seconds=row.backoff_base_seconds,
            proof_at=self.batch.claimed_at if row.kind is Kind.DEAD else None,
            pause=pause,
            counts_as_attempt=pause is None,
        )
        self.react(index, answer, row, refusal.reason, outcome)
        if pause is not None:
            self._whole.cancel()

    def on_failure(self, index: int, failure: Failure) -> None:
        """No answer. Where there is no connection to be had, the origin waits; other origins do not."""
        if self.cancelled or not failure.reason.startswith(_NO_CONNECTION):
            super().on_failure(index, failure)
            return
        outcome = self._without_connection(failure.reason)
        self.settle(index, outcome)
        if outcome.pause is not None:
            self._whole.cancel()

    def pause(self, pausing: Pausing, topic: str, retry_after_seconds: float | None) -> Pause | None:
        """A service that asks for less asks for itself alone."""
        if pausing is Pausing.THROTTLE:
            return Pause("throttle", self.batch.scope, retry_after_seconds)
        return super().pause(pausing, topic, retry_after_seconds)

    def _without_connection(self, reason: str) -> Outcome:
        """What becomes of a recipient whose push service cannot be connected to; the log says why."""
        self._log(logging.WARNING, "a push service cannot be reached", reason, 0, origin=self.batch.scope)
        origin = self._whole.origin
        if reason.endswith(_ADDRESS_REFUSED):
            origin.refuse()
            return address_not_allowed(origin)
        if (
            reason.endswith(NO_SUCH_HOST) and not origin.overridden
        ):  # a browser's word alone: not waited for without end
            return Outcome(Kind.RETRY, "NoSuchHost", backoff_base_seconds=QUOTA_BACKOFF_SECONDS)
        word = "NoHttp2" if _NO_HTTP2 in reason else "NotConnected"
        seconds = _RECONNECT_SECONDS if origin.answered else None
        return Outcome(Kind.RETRY, word, pause=Pause("throttle", self.batch.scope, seconds), counts_as_attempt=False)


def address_not_allowed(origin: OriginPool) -> Outcome:
    """Browsers that subscribed at a private address fail; an `endpoint` there is for the operator to mend."""
    if not origin.overridden:
        return Outcome(Kind.FAILED, "AddressNotAllowed")
    return Outcome(Kind.RETRY, "AddressNotAllowed", pause=Pause("trouble"), counts_as_attempt=False)


class WebpushAttempt:
    """A batch on its way. `seal` encrypts and sends its next recipients; until then they wait here."""

    __slots__ = (
        "_cancelled",
        "_messages",
        "_next",
        "_slices",
        "batch",
        "head",
        "logged",
        "origin",
        "results",
        "windows",
    )

    def __init__(
        self,
        batch: Batch,
        messages: Sequence[WebpushMessage],
        results: Results,
        origin: OriginPool,
        head: Head,
    ) -> None:
        self.batch = batch
        self.results = results
        self.origin = origin
        self.head = head
        self.logged: set[str] = set()
        self.windows = is_windows(batch.scope)
        self._messages = messages
        self._slices: list[Slice] = []
        self._next = 0
        self._cancelled = False
        origin.waiting += len(batch.tokens)

    def __repr__(self) -> str:
        return f"<WebpushAttempt {self.batch!r}>"

    @property
    def waiting(self) -> int:
        """Recipients that are not encrypted yet."""
        return len(self.batch.tokens) - self._next

    @property
    def urgent(self) -> bool:
        """Whether it goes before others."""
        return self.batch.lane == 0

    def cancel(self) -> None:
        """Give back what is not sent yet; the rest runs on."""
        if self._cancelled:
            return
        self._cancelled = True
        for each in self._slices:
            each.pool.cancel(each)
        self.settle_waiting(RELEASED)

    def settle_waiting(self, outcome: Outcome) -> None:
        """Report the same of all that are not encrypted yet."""
        first, last = self._take(self.waiting)
        for position in range(first, last):
            self.results.settled(position, outcome)

    def seal(self, most: int) -> None:
        """Encrypt for the next `most` recipients and send to them; those that cannot be encrypted for fail."""
        sealed: list[tuple[int, bytes, bytes]] = []
        failed: list[tuple[int, Outcome]] = []
        for position in range(*self._take(most)):
            try:
                sealed.append((position, *self._seal_one(position)))
            except SubscriptionError:
                failed.append((position, _INVALID_SUBSCRIPTION))
            except InvalidKeysError:
                failed.append((position, _INVALID_KEYS))
            except Exception:  # a defect of ours: it must not keep the batch for ever
                _LOG.exception("a message could not be encrypted", extra={"batch": self.batch.id})
                failed.append((position, _DEFECT))
        if sealed:
            part = Slice(self, *zip(*sealed, strict=True))
            self._slices.append(part)
            part.pool.submit(part)  # a closed one reports what it is given as released
        for position, outcome in failed:
            self.results.settled(position, outcome)

    def _seal_one(self, position: int) -> tuple[bytes, bytes]:
        """Path and body of a recipient's request."""
        message = self._messages[0 if len(self._messages) == 1 else position]
        target, point, secret = read_subscription(self.batch.tokens[position], self.batch.scope)
        return target, encrypt(message.payload, point, secret)

    def _take(self, most: int) -> tuple[int, int]:
        """Positions that wait no longer."""
        first, self._next = self._next, min(self._next + most, len(self.batch.tokens))
        self.origin.waiting -= self._next - first
        return first, self._next
