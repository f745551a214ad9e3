"""Where batches stand in the order of service, for engines that keep that order outside the database."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from storage.database import Database
from storage.queries import load

_QUERIES = load("queue")


class Standing(msgspec.Struct, frozen=True):
    """A batch by its number: of which credential, lane and scope, and its turn, or the time it waits for.

    `turn` is None for what waits for a time, as retries and leases do; `due_ms` is in Unix milliseconds.
    """

    id: int
    credential: str
    lane: int
    scope: str
    recipient_count: int
    turn: int | None
    parked: bool
    due_ms: float


class Share(msgspec.Struct, frozen=True):
    """Recipients that were taken from a credential's quota in advance, and its rate a second at that time."""

    credential: str
    recipients: int
    per_second: float


class Order:
    """Reads the order of service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def standing(self, batches: Sequence[int]) -> list[Standing]:
        """Where these batches stand; those that are gone are not in the answer."""
        return await self._database.rows(_QUERIES.standing, {"ids": list(batches)}, Standing)

    async def standing_after(self, after: int, missed: Sequence[int], limit: int) -> list[Standing]:
        """Where batches with higher numbers than this stand, and these that were not there before; by number."""
        parameters = {"after": after, "missed": list(missed), "limit": limit}
        return await self._database.rows(_QUERIES.standing_after, parameters, Standing)

    async def newest(self) -> int:
        """The highest number in the queue, 0 when it is empty."""
        found = await self._database.values(_QUERIES.newest, {})
        return int(found[0][0])

    async def unused(self, credentials: Iterable[str]) -> list[str]:
        """Those of these names that are no credential's, nor any batch's."""
        found = await self._database.values(_QUERIES.unused_credentials, {"names": list(credentials)})
        return [row[0] for row in found]

    async def take_share(self, room: Mapping[str, int]) -> list[Share]:
        """Take what these credentials may send just now; those without a quota are not in the answer."""
        wanted = [{"credential": credential, "recipients": recipients} for credential, recipients in room.items()]
        found = await self._database.values(_QUERIES.take_share, {"room": msgspec.json.encode(wanted).decode()})
        return [Share(*row) for row in found]

    async def name(self) -> str:
        """A name of this installation that no other has."""
        found = await self._database.values(_QUERIES.queue_name, {})
        return str(found[0][0])

    async def now(self) -> float:
        """The database's time, Unix seconds: what every host's batches are due by."""
        found = await self._database.values(_QUERIES.database_time, {})
        return float(found[0][0])
