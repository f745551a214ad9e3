"""Outcomes counted by minute and by hour, kept by a consumer of the record together with its cursor."""

from collections.abc import Sequence

import msgspec

from storage.database import Connection, Database
from storage.feed import Span
from storage.queries import load

_QUERIES = load("stats")
_MOST_REMOVED = 5000
MINUTE, HOUR = 60, 3600


class CountFilter(msgspec.Struct, kw_only=True):
    """What is counted: any of each list, everything where it is None."""

    providers: Sequence[str] | None = None
    provider_ids: Sequence[str] | None = None
    platforms: Sequence[str] | None = None
    outcomes: Sequence[str] | None = None
    reasons: Sequence[str] | None = None


class CountRow(msgspec.Struct):
    """A count; columns that are not told apart are empty. `at` is where its bucket begins, Unix seconds."""

    at: int
    provider: str
    provider_id: str
    platform: str
    outcome: str
    reason: str
    count: int


async def add(connection: Connection, span: Span) -> None:
    """Count a page of the record."""
    query = _QUERIES.add_outcomes if span.stream == "outcomes" else _QUERIES.add_receipts
    await connection.execute(query, span.parameters())


async def counts(
    database: Database, begin: int, end: int, interval: str, groups: Sequence[str], chosen: CountFilter, limit: int
) -> list[CountRow]:
    """Counts of buckets (minute, hour or day) from `begin` to before `end` (Unix seconds), in order."""
    parameters = {
        **msgspec.structs.asdict(chosen),
        "begin": begin,
        "end": end,
        "interval": interval,
        "width": MINUTE if interval == "minute" else HOUR,
        "groups": list(groups),
        "limit": limit,
    }
    return await database.rows(_QUERIES.counts, parameters, CountRow, fresh=True)


async def remove_old(database: Database, *, minute_days: int, hour_days: int) -> None:
    """Remove counts past their retention, in small deletes."""
    async with database.connection() as connection:
        for width, days in ((MINUTE, minute_days), (HOUR, hour_days)):
            parameters = {"width": width, "days": days, "most": _MOST_REMOVED}
            while (await connection.execute(_QUERIES.remove_old, parameters)).rowcount >= _MOST_REMOVED:
                continue
