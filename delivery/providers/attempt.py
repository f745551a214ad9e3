"""A batch on its way through the multiplexer: answers become outcomes by the provider's table, each exactly once."""

import logging
from collections.abc import Sequence
from typing import ClassVar

from delivery.batches import Batch, Results
from delivery.http2 import Answer, Failure, Group, Head, Link
from delivery.outcomes import Outcome, Pause
from delivery.providers.reactions import Again, Pausing, Reaction, transport_outcome
from delivery.providers.transport import Transport

_LOG = logging.getLogger(__name__)


class BatchAttempt(Group):
    """The requests of one batch. A provider adds how an answer reads, and how authorisation is renewed.

    When a credential or a part of it must pause, what has not been sent of this batch is given back: every refusal
    more would count against us.
    """

    provider: ClassVar[str] = ""

    __slots__ = ("_logged", "_repeated", "batch", "pool", "results")

    def __init__(
        self,
        head: Head,
        batch: Batch,
        results: Results,
        pool: Transport,
        bodies: bytes | Sequence[bytes],
        *,
        paths: Sequence[bytes] | None = None,
        ids: Sequence[bytes] | None = None,
        count: int | None = None,
    ) -> None:
        super().__init__(
            head,
            len(batch.tokens) if count is None else count,
            bodies,
            paths=paths,
            ids=ids,
            expires_at=None if batch.expire_at is None else batch.expire_at + batch.ahead_seconds,
            urgent=batch.lane == 0,
        )
        self.batch = batch
        self.results = results
        self.pool = pool
        self._repeated: set[int] = set()
        self._logged: set[str] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.batch!r}>"

    def cancel(self) -> None:
        """Give back what is not sent yet; the rest runs on."""
        self.pool.cancel(self)

    def on_failure(self, index: int, failure: Failure) -> None:
        """No answer: what is known decides."""
        outcome = transport_outcome(failure, self.cancelled)
        if not outcome.status and outcome.reason not in ("Released", "Expired"):
            self._log(logging.INFO, "a push got no answer", failure.reason, 0)
        self.settle(index, outcome)

    def react(self, index: int, answer: Answer, reaction: Reaction, reason: str, outcome: Outcome) -> None:
        """Follow the table: go again once where it says so, else settle with `outcome`."""
        if reaction.new_connection:
            answer.connection.retire(reason)
        if reaction.again is not Again.NO and self._goes_again(index, answer, reaction.again):
            return
        if reaction.alarm:
            self._log(logging.WARNING, "the push service refuses", reason, answer.status)
        self.settle(index, outcome)
        if outcome.pause is not None and not self.cancelled:
            self.pool.cancel(self)

    def settle(self, index: int, outcome: Outcome) -> None:
        """Report what came of a request: one for each recipient, unless a provider puts several into one."""
        self.results.settled(index, outcome)

    def send_again(self, index: int, avoid: Link) -> None:
        """Send the request again over another connection."""
        self.pool.resubmit(self, index, avoid=avoid)

    def renew(self, index: int, answer: Answer) -> bool:
        """Send the request again with renewed authorisation; False when there is none to be had."""
        raise NotImplementedError

    def pause(self, pausing: Pausing, topic: str, retry_after_seconds: float | None) -> Pause | None:
        """What must stop sending. A platform that is not known pauses nothing: others would stop with it."""
        if pausing is Pausing.CREDENTIAL:
            return Pause("trouble")
        if pausing is Pausing.TOPIC:
            return Pause("trouble", topic)
        if pausing is Pausing.PLATFORM:
            return Pause("trouble", self.batch.scope) if self.batch.scope else None
        if pausing is Pausing.THROTTLE:
            return Pause("throttle", seconds=retry_after_seconds)
        return None

    def log_refused_message(self, reason: str, status: int, field: str) -> None:
        """Log once which fields of the message the service names."""
        self._log(logging.INFO, "the push service refuses the message", reason, status, field=field)

    def _goes_again(self, index: int, answer: Answer, again: Again) -> bool:
        if index in self._repeated or self.cancelled:
            return False
        self._repeated.add(index)
        if again is Again.RENEWED:
            return self.renew(index, answer)
        self.send_again(index, answer.connection)
        return True

    def _log(self, level: int, message: str, reason: str, status: int, **more: str) -> None:
        """Log once for a batch and reason, not for each recipient."""
        if reason not in self._logged:
            self._logged.add(reason)
            facts: dict[str, object] = {"provider": self.provider, "credential": self.batch.credential}
            facts |= {"push_id": self.batch.push_id, "batch": self.batch.id, "reason": reason, "status": status, **more}
            _LOG.log(level, message, extra=facts)
