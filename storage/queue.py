"""The queue's tables: claiming batches, settling them, and pauses of credentials."""

from collections.abc import Mapping, Sequence

import msgspec

from storage.database import Database, values
from storage.queries import load
from storage.queue_order import Share

_QUERIES = load("queue")


class ClaimedBatch(msgspec.Struct):
    """A claimed batch as the database has it; `tokens` one a line, `request` only when its push was not known."""

    id: int
    push_id: str
    provider: str
    credential: str
    environment: str
    scope: str
    target: str
    lane: int
    attempt: int
    first_attempt_at: float
    claimed_at: float
    expire_at: float | None
    at_most_once: bool
    cancelled: bool
    paused: bool
    abandoned: bool
    second_try: bool
    platform: str
    timezone: str
    locale: str
    version: int | None
    tokens: bytes
    device_ids: list[str] | None
    personal: bool
    attributes: str | None
    admitted: list[bool] | None
    request: bytes | None
    uid: str
    analytics_uid: str


class Settlement(msgspec.Struct):
    """What came of several batches, as columns; the `x_` ones are one exception each (see sql/queue.sql, settle)."""

    batches: list[int] = []
    attempts: list[int] = []
    started: list[float] = []
    message_ids: list[bytes] = []
    versions: list[int | None] = []
    pushes: set[str] = set()
    plain: bool = True  # every recipient accepted, and no device to be moved
    x_batches: list[int] = []
    x_positions: list[int] = []
    x_outcomes: list[str] = []
    x_reasons: list[str] = []
    x_statuses: list[int] = []
    x_due: list[float | None] = []
    x_proofs: list[float | None] = []
    x_counts: list[bool] = []


class Queue:
    """The queue's statements for one worker: every claim carries its id, and only its own claims can be settled."""

    def __init__(self, database: Database, worker_id: str, lease_seconds: float) -> None:
        self._database = database
        self._own: dict[str, object] = {"worker": worker_id, "lease_seconds": lease_seconds}

    async def claim(
        self, room: Mapping[str, int], known: Sequence[str], *, only_urgent: bool = False
    ) -> list[ClaimedBatch]:
        """Claim batches with about `room[credential]` recipients; `known` are pushes whose request is at hand."""
        wanted = [{"credential": credential, "recipients": recipients} for credential, recipients in room.items()]
        lanes = [0] if only_urgent else [0, 1, 2]
        parameters = {"room": msgspec.json.encode(wanted).decode(), "known": list(known), "lanes": lanes}
        return await self._database.rows(_QUERIES.claim, self._own | parameters, ClaimedBatch)

    async def claim_chosen(
        self, batches: Sequence[int], known: Sequence[str], taken: Sequence[Share] = ()
    ) -> list[ClaimedBatch]:
        """Claim these batches, as far as they can be had; `taken` are the shares of quotas that were taken for them."""
        parameters = {"ids": list(batches), "known": list(known), "taken": msgspec.json.encode(taken).decode()}
        return await self._database.rows(_QUERIES.claim_chosen, self._own | parameters, ClaimedBatch)

    async def claim_probe(self, credentials: Sequence[str], known: Sequence[str]) -> list[ClaimedBatch]:
        """Claim one batch of a paused credential whose next probe is due."""
        parameters = {"credentials": list(credentials), "known": list(known)}
        return await self._database.rows(_QUERIES.claim_probe, self._own | parameters, ClaimedBatch)

    async def claim_ended(self) -> list[ClaimedBatch]:
        """Claim batches that can only end: their credential is gone, or their time is over."""
        return await self._database.rows(_QUERIES.claim_ended, self._own | {"known": []}, ClaimedBatch)

    async def extend(self, batches: Sequence[int], pushes: Sequence[str]) -> list[str]:
        """Keep these leases; tell which of these pushes are cancelled."""
        parameters = {"batches": list(batches), "pushes": list(pushes)}
        return [row[0] for row in await self._database.values(_QUERIES.extend, self._own | parameters)]

    async def settle(self, settlement: Settlement) -> set[int]:
        """Write what came of these batches, all or nothing; the ids of those that were still ours."""
        parameters = msgspec.structs.asdict(settlement)
        pushes = {"pushes": sorted(parameters.pop("pushes"))}
        versions = parameters.pop("versions")
        if parameters.pop("plain"):
            return {
                row[0]
                for row in await self._database.values(_QUERIES.settle_accepted, {**self._own, **parameters, **pushes})
            }
        async with self._database.transaction() as connection:
            await connection.execute(_QUERIES.lock_pushes, pushes)
            return {
                row[0]
                for row in await values(connection, _QUERIES.settle, self._own | parameters | {"versions": versions})
            }

    async def pause(
        self,
        credential: str,
        scope: str,
        *,
        kind: str,
        reason: str,
        seconds: float | None,
        again: bool,
        version: int | None = None,
    ) -> None:
        """Stop a credential (or a scope of it); `again` after a failed probe."""
        parameters = {
            "credential": credential,
            "scope": scope,
            "kind": kind,
            "reason": reason,
            "seconds": seconds,
            "again": int(again),
            "version": version,
        }
        await self._database.execute(_QUERIES.pause, parameters)

    async def paused(self) -> dict[tuple[str, str], str]:
        """The pauses in force: (credential, scope) → reason."""
        return {(row[0], row[1]): row[2] for row in await self._database.values(_QUERIES.paused, {})}

    async def lift_pause(self, credential: str, scopes: Sequence[str], version: int | None = None) -> list[str]:
        """End these pauses of a credential: a probe was accepted. The scopes that were paused."""
        parameters = {"credential": credential, "scopes": list(scopes), "version": version}
        return [row[0] for row in await self._database.values(_QUERIES.lift_pause, parameters)]

    async def note_admitted(self, batch: int, attempt: int, admitted: Sequence[bool]) -> None:
        """Write down whom the push's limits have let pass, in the order of the recipients."""
        parameters = {"batch": batch, "attempt": attempt, "admitted": list(admitted)}
        await self._database.execute(_QUERIES.note_admitted, self._own | parameters)

    async def set_free(self, ahead_seconds: float) -> tuple[int, int]:
        """Let batches of paced pushes go, as many as their rates allow: (set free, pushes with a rate of their own)."""
        found = await self._database.values(_QUERIES.set_free, {"ahead_seconds": ahead_seconds})
        return found[0][0], found[0][1]

    async def lift_idle_pauses(self) -> list[tuple[str, str]]:
        """End the pauses that end by themselves: (credential, scope)."""
        return [(row[0], row[1]) for row in await self._database.values(_QUERIES.lift_idle_pauses, {})]


async def depth(database: Database, limit: int) -> int:
    """Count the batches in the queue, up to `limit`."""
    found = await database.values(_QUERIES.depth, {"limit": limit})
    count: int = found[0][0]
    return count
