"""Outcome webhooks on their way: deliveries are leased like batches, tried for a day, and then kept as dead letters."""

import time
from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec

from storage.database import Connection, Database
from storage.queries import load

_QUERIES = load("webhooks")
RETRY_SECONDS = 86_400.0
"""How long a delivery is tried."""
_MOST = 1000
_DAY_SECONDS = 86_400


class NewDelivery(msgspec.Struct):
    """A delivery to write: `secret` is a push's own, sealed; a credential's is looked up when it is sent."""

    id: str
    url: str
    credential: str
    secret: bytes | None
    body: bytes
    events: int

    def __repr__(self) -> str:
        return f"NewDelivery(id={self.id!r}, events={self.events})"


class ClaimedDelivery(msgspec.Struct):
    """A delivery to send, leased; `attempts` counts this one."""

    id: str
    url: str
    credential: str
    secret: bytes | None
    body: bytes
    attempts: int

    def __repr__(self) -> str:
        return f"ClaimedDelivery(id={self.id!r}, attempts={self.attempts})"


class FailedDelivery(msgspec.Struct):
    """A dead letter; times in Unix seconds, `last_status` 0 when the last try had no answer."""

    id: str
    url: str
    credential: str
    events: int
    attempts: int
    last_status: int
    last_error: str
    created_at: int
    failed_at: int


async def add(connection: Connection, deliveries: Sequence[NewDelivery]) -> None:
    """Write deliveries that are due at once, one or more."""
    columns = {
        "ids": [each.id for each in deliveries],
        "urls": [each.url for each in deliveries],
        "credentials": [each.credential for each in deliveries],
        "secrets": [each.secret for each in deliveries],
        "bodies": b"".join(each.body for each in deliveries),
        "starts": list(accumulate((len(each.body) for each in deliveries[:-1]), initial=1)),
        "lengths": [len(each.body) for each in deliveries],
        "events": [each.events for each in deliveries],
        "retry_seconds": RETRY_SECONDS,
    }
    await connection.execute(_QUERIES.add, columns)


class Deliveries:
    """The statements of one worker that sends deliveries: only what it holds can it end."""

    def __init__(self, database: Database, worker_id: str, lease_seconds: float) -> None:
        self._database = database
        self._own: dict[str, object] = {"worker": worker_id, "lease_seconds": lease_seconds}

    async def claim(self, room: int, each: int, busy: Mapping[str, int]) -> list[ClaimedDelivery]:
        """Claim up to `room` due deliveries, for each URL up to `each` less what `busy` says of it."""
        limits = {"room": room, "each": each, "busy": list(busy), "taken": list(busy.values())}
        return await self._database.rows(_QUERIES.claim, self._own | limits, ClaimedDelivery)

    async def delivered(self, delivery: str) -> bool:
        """It arrived, and is forgotten; False when it was not ours any more."""
        return bool(await self._database.execute(_QUERIES.delivered, self._own | {"id": delivery}))

    async def refused(self, delivery: str, *, seconds: float, status: int, error: str, final: bool) -> bool | None:
        """It is to be tried again in so many seconds; whether it became a dead letter, None when it was not ours."""
        said = {"id": delivery, "seconds": seconds, "status": status, "error": error, "final": final}
        found = await self._database.values(_QUERIES.refused, self._own | said)
        return found[0][0] if found else None

    async def release(self, deliveries: Sequence[str]) -> None:
        """Give back what was not ended."""
        await self._database.execute(_QUERIES.release, self._own | {"ids": list(deliveries)})


async def failures(database: Database, url: str | None, after: str | None, limit: int) -> list[FailedDelivery]:
    """Dead letters after the one with the id `after`, oldest first."""
    return await database.rows(
        _QUERIES.failures, {"url": url, "after": after, "limit": limit}, FailedDelivery, fresh=True
    )


async def retry(database: Database, ids: Sequence[str] | None, url: str | None) -> int:
    """Try these dead letters again, or all of a URL; how many there were."""
    parameters = {"ids": None if ids is None else list(ids), "url": url, "retry_seconds": RETRY_SECONDS, "most": _MOST}
    found = 0
    async with database.connection() as connection:
        while True:
            cursor = await connection.execute(_QUERIES.retry, parameters, prepare=False)
            found += cursor.rowcount
            if cursor.rowcount < _MOST:
                return found


async def remove_old(database: Database, days: int) -> int:
    """Remove dead letters that failed so many days ago; how many."""
    before = f"{int((time.time() - days * _DAY_SECONDS) * 1000):012x}".ljust(32, "0")
    parameters = {"days": days, "before": before, "most": _MOST}
    found = 0
    async with database.connection() as connection:
        while True:
            removed = (await connection.execute(_QUERIES.remove_old, parameters)).rowcount
            found += removed
            if removed < _MOST:
                return found
