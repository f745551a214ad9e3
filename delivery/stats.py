"""Keeps the counts behind push_stats: a consumer of the record that counts each outcome exactly once."""

import time

from delivery.feed import Moving
from storage import stats
from storage.database import Database
from storage.feed import Span, Stream

CONSUMER = "stats"
_UPKEEP_SECONDS = 3600.0


class StatsWriter:
    """A consumer of the record (delivery/feed.py); counts by minute and by hour are kept for so many days."""

    name = CONSUMER
    streams: tuple[Stream, ...] = ("outcomes", "receipts")
    from_start = True
    repeats = False

    def __init__(self, database: Database, *, minute_days: int = 8, hour_days: int = 400) -> None:
        self._database = database
        self._minute_days = minute_days
        self._hour_days = hour_days
        self._upkept_at = float("-inf")

    async def take(self, span: Span, moving: Moving) -> None:
        """Count a page in the transaction that moves the cursor."""
        async with moving() as connection:
            await stats.add(connection, span)
        if time.monotonic() > self._upkept_at + _UPKEEP_SECONDS:
            await stats.remove_old(self._database, minute_days=self._minute_days, hour_days=self._hour_days)
            self._upkept_at = time.monotonic()
