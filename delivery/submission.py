"""What happens to a claimed batch until its provider has it: limits are judged, messages rendered, the rest is sent."""

import asyncio
import dataclasses
import logging
from collections.abc import Mapping

from delivery.admission import Admissions
from delivery.batches import Batch, Results
from delivery.contents import Limits
from delivery.endings import RELEASED, settle_all
from delivery.messages import Messages, UnknownPushError
from delivery.outcomes import Outcome
from delivery.portions import portion
from delivery.providers.contract import Attempt
from delivery.providers.registry import Registry
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class InFlight:
    """A batch that was claimed and not yet finished; `attempt` is None while it has not been submitted."""

    batch: Batch
    results: Results
    extended_at: float
    attempt: Attempt | None = None
    probe: bool = False
    stopped: bool = False

    def stop(self) -> None:
        """Give back what is not sent yet."""
        self.stopped = True
        if self.attempt is not None:
            self.attempt.cancel()


class Submission:
    """Takes batches to their providers; what cannot be sent is reported in the batch's results."""

    def __init__(self, registry: Registry, messages: Messages, admissions: Admissions) -> None:
        self._registry = registry
        self._messages = messages
        self._admissions = admissions
        self._judging: set[asyncio.Task[None]] = set()

    def submit(self, entry: InFlight) -> None:
        """Send a batch, at once or when its limits have been judged."""
        batch, results = entry.batch, entry.results
        if entry.probe and len(batch.tokens) > 1:  # one recipient is enough to try a paused credential with
            batch, results = portion(batch, [0], entry.results)
            for position in range(1, len(entry.batch.tokens)):
                entry.results.settled(position, RELEASED)
        try:
            limits = self._messages.content(batch.push_id).limits
        except UnknownPushError:
            settle_all(results, RELEASED)
            return
        if limits is None:
            self._send(entry, batch, results)
            return
        task = asyncio.create_task(self._judge(entry, batch, results, limits), name="judge limits")
        self._judging.add(task)
        task.add_done_callback(self._judging.discard)

    async def _judge(self, entry: InFlight, batch: Batch, results: Results, limits: Limits) -> None:
        try:
            blocked: Mapping[int, Outcome] = await self._admissions.judge(batch, limits)
        except DatabaseUnavailableError as error:
            _LOG.warning("limits wait for the database", extra={"batch": batch.id, "error": str(error)})
            settle_all(results, RELEASED)
            return
        if not blocked:
            self._send(entry, batch, results)
            return
        free = [position for position in range(len(batch.tokens)) if position not in blocked]
        if free:
            self._send(entry, *portion(batch, free, results))
        for position, outcome in blocked.items():
            results.settled(position, outcome)

    def _send(self, entry: InFlight, batch: Batch, results: Results) -> None:
        provider = self._registry.get(batch.credential)
        if provider is None or entry.stopped:  # it is being replaced just now; or the push was stopped meanwhile
            settle_all(results, RELEASED)
            return
        try:
            rendered = self._messages.render(batch, provider)
        except UnknownPushError:
            settle_all(results, RELEASED)
            return
        if rendered.failed:
            reasons = sorted({outcome.reason for outcome in rendered.failed.values()})
            facts = {"push_id": batch.push_id, "reasons": reasons, "recipients": len(rendered.failed)}
            _LOG.warning("a push could not be rendered", extra=facts)
        part, found = batch, results
        if rendered.failed and rendered.positions:
            part, found = portion(batch, rendered.positions, results)
        if rendered.message is not None:
            entry.attempt = provider.submit(part, rendered.message, found, rendered.each)
        for position, outcome in rendered.failed.items():
            results.settled(position, outcome)
