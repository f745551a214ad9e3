"""What is asked before a push is accepted, and need not be asked of the database for each."""

import time

from storage import pushes, queue
from storage.database import Database


class Gate:
    """Remembers for `interval_seconds` how full the queue is and which providers have a credential.

    `most_batches` waiting batches are where it closes.
    """

    def __init__(self, database: Database, most_batches: int, *, interval_seconds: float = 0.5) -> None:
        self._database = database
        self._most = most_batches
        self._interval = interval_seconds
        self._looked_at = float("-inf")
        self._full = False
        self._asked_at = float("-inf")
        self._configured: frozenset[str] = frozenset()

    async def is_full(self) -> bool:
        """Whether a push should be turned away now."""
        now = time.monotonic()
        if now - self._looked_at >= self._interval:
            self._looked_at = now  # before the wait: the calls meanwhile use the last answer
            self._full = await queue.depth(self._database, self._most) >= self._most
        return self._full

    async def any_configured(self, providers: list[str]) -> bool:
        """Whether one of these providers has a credential; a no is never an old answer."""
        fresh = time.monotonic() - self._asked_at < self._interval
        if not (fresh and self._configured.intersection(providers)):
            self._configured = frozenset(await pushes.configured_providers(self._database))
            self._asked_at = time.monotonic()
        return bool(self._configured.intersection(providers))
