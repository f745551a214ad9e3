"""What happens to a claimed batch until its provider has it: limits are judged, messages rendered, the rest is sent."""

import asyncio
import dataclasses
import logging
from collections.abc import Iterable, Mapping

from delivery.admission import Admissions, asks
from delivery.batches import Batch, Results
from delivery.contents import Content
from delivery.endings import RELEASED, settle_all, settle_rest
from delivery.messages import Messages, Rendered, UnknownPushError
from delivery.outcomes import Kind, Outcome
from delivery.portions import portion
from delivery.providers.contract import Attempt
from delivery.providers.registry import Registry
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_DEFECT = Outcome(Kind.RETRY, "InternalError")


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
        try:
            content = self._messages.content(batch.push_id)
        except UnknownPushError:
            settle_all(results, RELEASED)
            return
        if not asks(batch, content):
            self._try(entry, batch, results)
            return
        task = asyncio.create_task(self._judge(entry, batch, results, content), name="judge a batch")
        self._judging.add(task)
        task.add_done_callback(self._judging.discard)

    async def _judge(self, entry: InFlight, batch: Batch, results: Results, content: Content) -> None:
        try:
            blocked: Mapping[int, Outcome] = await self._admissions.judge(batch, content)
        except DatabaseUnavailableError as error:
            _LOG.warning("limits wait for the database", extra={"batch": batch.id, "error": str(error)})
            settle_all(results, RELEASED)
            return
        except Exception:  # a defect of ours: it must not keep the batch for ever
            _LOG.exception("a batch could not be judged", extra={"batch": batch.id})
            settle_all(results, _DEFECT)
            return
        if not blocked:
            self._try(entry, batch, results)
            return
        free = [position for position in range(len(batch.tokens)) if position not in blocked]
        if free:
            self._try(entry, *portion(batch, free, results))
        for position, outcome in blocked.items():
            results.settled(position, outcome)

    def _try(self, entry: InFlight, batch: Batch, results: Results) -> None:
        """Send a batch; if a defect of ours prevents it, it is tried again as others are, and ends as they do."""
        try:
            self._send(entry, batch, results)
        except Exception:
            _LOG.exception("a batch could not be sent", extra={"batch": batch.id, "push_id": batch.push_id})
            if entry.attempt is None:
                settle_rest(results, _DEFECT)

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
        if rendered.message is not None:
            chosen = _chosen(entry, rendered)
            part, found = (batch, results) if chosen is None else portion(batch, chosen, results)
            each = rendered.each and rendered.each[: len(part.tokens)]
            entry.attempt = provider.submit(part, rendered.message, found, each)
            for position in _left_out(entry, rendered, chosen, len(batch.tokens)):
                results.settled(position, RELEASED)
        for position, outcome in rendered.failed.items():
            results.settled(position, outcome)


def _chosen(entry: InFlight, rendered: Rendered) -> list[int] | None:
    """The recipients to send to, None for the whole batch.

    One is enough to try a paused credential with: the first that may have the push and that it can be rendered for, so
    that a batch of which nobody may is done with by one probe.
    """
    if entry.probe:
        return [0] if rendered.positions is None else rendered.positions[:1]
    return rendered.positions if rendered.failed else None


def _left_out(entry: InFlight, rendered: Rendered, chosen: list[int] | None, recipients: int) -> Iterable[int]:
    """Those that a probe gives back."""
    if not entry.probe or chosen is None:
        return ()
    return sorted(set(range(recipients)) - set(chosen) - rendered.failed.keys())
