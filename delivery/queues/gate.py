"""Says when the queue holds so much that a new push should come later."""

import time

from storage import queue
from storage.database import Database


class Gate:
    """Counts the waiting batches, at most once an interval; `most_batches` is where it closes."""

    def __init__(self, database: Database, most_batches: int, *, interval_seconds: float = 0.5) -> None:
        self._database = database
        self._most = most_batches
        self._interval = interval_seconds
        self._looked_at = float("-inf")
        self._full = False

    async def is_full(self) -> bool:
        """Whether a push should be turned away now."""
        now = time.monotonic()
        if now - self._looked_at >= self._interval:
            self._looked_at = now  # before the wait: the calls meanwhile use the last answer
            self._full = await queue.depth(self._database, self._most) >= self._most
        return self._full
