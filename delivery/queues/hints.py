"""A throttled hint that there is work, so that workers need not wait for their next poll.

NOTIFY takes a database-wide lock at commit, so a hint is never part of a push's own transaction and never sent more
often than once an interval: the first goes out at once, those of the same interval become one at its end.
"""

import asyncio
import logging
from typing import Self

from storage.database import Database, DatabaseUnavailableError
from storage.queries import load

_QUERIES = load("queue")
_LOG = logging.getLogger(__name__)

CHANNEL_WORK = "tocsin_work"
CHANNEL_CREDENTIALS = "tocsin_credentials"
CHANNEL_STOPPED = "tocsin_stopped"


class Hints:
    """Sends hints; use as `async with Hints(database)`. A hint that is lost costs a poll interval, nothing else."""

    def __init__(self, database: Database, *, interval_seconds: float = 0.01) -> None:
        self._database = database
        self._interval = interval_seconds
        self._wanted: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="hints")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._flush()

    def work(self) -> None:
        """Say that there may be something to plan or to send."""
        self._want(CHANNEL_WORK)

    def credentials(self) -> None:
        """Say that credentials have changed."""
        self._want(CHANNEL_CREDENTIALS)

    def stopped(self, push_id: str) -> None:
        """Say that this push was cancelled or paused."""
        self._want(CHANNEL_STOPPED, push_id)

    def _want(self, channel: str, payload: str = "") -> None:
        self._wanted.add((channel, payload))
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._flush()
            await asyncio.sleep(self._interval)

    async def _flush(self) -> None:
        wanted, self._wanted = self._wanted, set()
        if not wanted:
            return
        channels, payloads = zip(*wanted, strict=True)
        try:
            await self._database.execute(_QUERIES.hint, {"channels": list(channels), "payloads": list(payloads)})
        except DatabaseUnavailableError:
            _LOG.warning("a hint was not sent; workers find the work at their next poll")
