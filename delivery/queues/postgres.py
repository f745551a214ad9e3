"""The queue in PostgreSQL, the default: batches are rows, a claim is a lease, settling is one transaction."""

import time
from collections.abc import Mapping, Sequence

import msgspec

from delivery.batches import Attributes, Batch, Results
from delivery.judge import Verdict, judge
from delivery.outcomes import Outcome, Pause
from delivery.queues.contract import Claim
from storage import queue as storage
from storage.queue import ClaimedBatch, Settlement

_ATTRIBUTES = msgspec.json.Decoder(list[Attributes])


class PostgresQueue:
    """The queue contract over the tables `batches` and `pauses`."""

    def __init__(self, queue: storage.Queue) -> None:
        self._queue = queue

    def noticed(self) -> None:
        """There may be new work: the next claim finds it."""

    async def run(self) -> None:
        """Nothing needs to be looked after: what the tables say is all there is."""

    async def claim(self, room: Mapping[str, int], known: Sequence[str], *, only_urgent: bool = False) -> list[Claim]:
        """Claim due batches: `room` is credential → recipients; `known` are pushes whose request is at hand."""
        return [claim_of(row) for row in await self._queue.claim(room, known, only_urgent=only_urgent)]

    async def claim_probe(self, credentials: Sequence[str], known: Sequence[str]) -> list[Claim]:
        """Claim one batch behind a pause whose next probe is due."""
        return [claim_of(row) for row in await self._queue.claim_probe(credentials, known)]

    async def claim_ended(self) -> list[Claim]:
        """Claim batches that can only end: their credential is gone, or their time is over behind a pause."""
        return [claim_of(row) for row in await self._queue.claim_ended()]

    async def extend(self, batches: Sequence[int], pushes: Sequence[str]) -> list[str]:
        """Keep these leases; tell which of these pushes are cancelled or paused."""
        return await self._queue.extend(batches, pushes)

    async def settle(self, results: Sequence[Results]) -> int:
        """Write what came of these batches; how many of them were no longer ours."""
        return len(results) - len(await self.settle_all(results))

    async def settle_all(self, results: Sequence[Results]) -> set[int]:
        """Write what came of these batches; those that were still ours."""
        now = time.time()
        settlement = Settlement()
        for result in results:
            _add(settlement, result, now)
        return await self._queue.settle(settlement)

    async def pause(self, credential: str, pause: Pause, reason: str, *, version: int | None, again: bool) -> None:
        """Stop a credential or a scope of it, if it still is the version that had the trouble."""
        await self._queue.pause(
            credential,
            pause.scope,
            kind=pause.kind,
            reason=reason,
            seconds=pause.seconds,
            again=again,
            version=version,
        )

    async def note_admitted(self, batch: Batch, admitted: Sequence[bool]) -> None:
        """Write down whom the push's limits have let pass, in the order of the recipients."""
        await self._queue.note_admitted(batch.id, batch.attempt, admitted)

    async def set_free(self, ahead_seconds: float) -> tuple[int, int]:
        """Let batches of pushes with a rate of their own go: (batches set free, such pushes)."""
        return await self._queue.set_free(ahead_seconds)

    async def paused(self) -> dict[tuple[str, str], str]:
        """The pauses in force: (credential, scope) → reason."""
        return await self._queue.paused()

    async def lift_pause(self, credential: str, scopes: Sequence[str], version: int | None = None) -> list[str]:
        """End these pauses of a credential, if it still is this version (None = any); the scopes that were paused."""
        return await self._queue.lift_pause(credential, scopes, version)

    async def lift_idle_pauses(self) -> list[tuple[str, str]]:
        """End the pauses that end by themselves: (credential, scope)."""
        return await self._queue.lift_idle_pauses()


def claim_of(row: ClaimedBatch) -> Claim:
    """Make a claim of a row."""
    batch = Batch(
        id=row.id,
        push_id=row.push_id,
        provider=row.provider,
        credential=row.credential,
        environment=row.environment,
        scope=row.scope,
        target=row.target,
        lane=row.lane,
        attempt=row.attempt,
        first_attempt_at=row.first_attempt_at,
        claimed_at=row.claimed_at,
        expire_at=row.expire_at,
        at_most_once=row.at_most_once,
        abandoned=row.abandoned,
        tokens=row.tokens.split(b"\n"),
        version=row.version,
        second_try=row.second_try,
        platform=row.platform,
        timezone=row.timezone,
        locale=row.locale,
        device_ids=row.device_ids,
        personal=row.personal,
        admitted=row.admitted,
        attributes=_ATTRIBUTES.decode(row.attributes) if row.attributes else None,
    )
    return Claim(batch, row.request, row.cancelled, row.paused, row.uid, row.analytics_uid)


def _add(settlement: Settlement, results: Results, now: float) -> None:
    batch = results.batch
    settlement.batches.append(batch.id)
    settlement.attempts.append(batch.attempt)
    settlement.started.append(batch.claimed_at)
    settlement.versions.append(batch.version)
    settlement.pushes.add(batch.push_id)
    settlement.plain = settlement.plain and not results.exceptions and not batch.second_try
    # 36 bytes a recipient that can be derived were a seventh of the sender's time, and more of the database's
    names = () if results.derived_ids else results.message_ids
    settlement.message_ids.append(b"\n".join([name for name in names if name]))
    verdicts: dict[Outcome, Verdict] = {}  # like outcomes of a batch share their next attempt: one new batch, not many
    for position, outcome in results.exceptions.items():
        verdict = verdicts.get(outcome)
        if verdict is None:
            verdict = verdicts[outcome] = judge(outcome, batch, now - batch.ahead_seconds)
        settlement.x_batches.append(batch.id)
        settlement.x_positions.append(position)
        settlement.x_outcomes.append(verdict.word)
        settlement.x_reasons.append(verdict.reason)
        settlement.x_statuses.append(verdict.status)
        settlement.x_due.append(verdict.due_at)
        settlement.x_proofs.append(verdict.proof_at)
        settlement.x_counts.append(verdict.counts)
