"""Stops a credential, or a part of it, when its answers say so; tries it again; follows what other workers stopped."""

import logging
from collections.abc import Callable

from delivery.batches import Batch
from delivery.breaker import Breaker, is_suspicious
from delivery.endings import answered
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.registry import Registry
from delivery.queues.contract import Queue
from delivery.submission import InFlight
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)

Version = tuple[str, int | None]


def held_by(credential: str, scope: str, batch: Batch) -> bool:
    """Whether a pause of this scope holds the batch."""
    return batch.credential == credential and scope in ("", batch.scope)


class Pausing:
    """The breakers of this process, and the pauses of all."""

    def __init__(self, queue: Queue, registry: Registry) -> None:
        self._queue = queue
        self._registry = registry
        self._breakers: dict[str, tuple[int | None, Breaker]] = {}
        self._tripped: dict[Version, str] = {}
        self._paused: dict[tuple[str, str], str] = {}

    def suspicion(self, entry: InFlight) -> str | None:
        """The reason to think, by the answers to this batch, that the credential is wrong rather than the tokens."""
        batch = entry.batch
        if entry.probe:  # one answer decides; that a token is gone speaks against the credential if it paused for that
            reasons = {self._paused.get((batch.credential, scope)) for scope in ("", batch.scope)}
            dead = (o for o in entry.results.exceptions.values() if o.kind is Kind.DEAD)
            return next((o.reason for o in dead if is_suspicious(o) or o.reason in reasons), None)
        reason = self._breaker(batch).observe(entry.results)
        if reason is not None:
            self._tripped[batch.credential, batch.version] = reason
        return reason

    def spare(self, entry: InFlight) -> None:
        """Keep the recipients of a batch whose refusals are the credential's fault: they are sent to again."""
        reason = self._tripped.get((entry.batch.credential, entry.batch.version))
        if reason is None or entry.probe:  # a probe that is refused has an end: else one bad token were tried for ever
            return
        for position, outcome in entry.results.exceptions.items():
            if outcome.reason == reason and is_suspicious(outcome):
                entry.results.exceptions[position] = Outcome(Kind.RETRY, reason, outcome.status)

    async def record(self, entry: InFlight, pauses: dict[Pause, str]) -> None:
        """Write pauses down, or end one that a probe has refuted."""
        batch = entry.batch
        try:
            for pause, reason in pauses.items():
                known = self._paused.get((batch.credential, pause.scope)) == reason
                self._paused[batch.credential, pause.scope] = reason
                fields = {"provider_id": batch.credential, "scope": pause.scope, "reason": reason, "kind": pause.kind}
                _LOG.log(logging.INFO if known else logging.ERROR, "sending is paused", extra=fields)
                await self._queue.pause(batch.credential, pause, reason, version=batch.version, again=entry.probe)
            if entry.probe and not pauses and answered(entry.results):
                self._tripped.pop((batch.credential, batch.version), None)
                for scope in await self._queue.lift_pause(batch.credential, ["", batch.scope], batch.version):
                    _LOG.info("sending goes on", extra={"provider_id": batch.credential, "scope": scope})
        except DatabaseUnavailableError as error:
            _LOG.warning("a pause was not recorded", extra={"provider_id": batch.credential, "error": str(error)})

    async def follow(self) -> Callable[[Batch], bool]:
        """Read the pauses; tells which batches are behind one that was not there when last looked."""
        known, self._paused = self._paused, await self._queue.paused()
        fresh = self._paused.keys() - known.keys()
        return lambda batch: (batch.credential, "") in fresh or (batch.credential, batch.scope) in fresh

    def _breaker(self, batch: Batch) -> Breaker:
        """The breaker of the credential as it is: what an earlier version was refused does not count."""
        version, breaker = self._breakers.get(batch.credential, (None, None))
        if breaker is None or version != batch.version:
            breaker = Breaker(self._registry.way(batch.credential).gone_percent / 100)
            self._breakers[batch.credential] = batch.version, breaker
            self._tripped = {key: why for key, why in self._tripped.items() if key[0] != batch.credential}
        return breaker
