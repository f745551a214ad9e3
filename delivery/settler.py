"""Gathers finished batches and settles them together: many small writes become one."""

import asyncio
import logging
import time
from collections import deque
from typing import Self

from delivery.batches import Results
from delivery.queues.contract import Queue
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_MOST_BATCHES = 128
_MOST_EXCEPTIONS = 20_000


class Settler:
    """Writes what is given to `add`: at once after a pause, together with what comes within an interval when busy.

    Drains on exit. Settling 4 batches a statement costs the database four times what 128 cost it.
    While the database is away it keeps the results and tries again: they are bounded by what is in flight, and
    nothing new is claimed meanwhile. Use as `async with Settler(queue)`.
    """

    def __init__(self, queue: Queue, *, retry_seconds: float = 0.5, interval_seconds: float = 0.05) -> None:
        self._queue = queue
        self._retry_seconds = retry_seconds
        self._interval = interval_seconds
        self._waiting: deque[Results] = deque()
        self._added_at: dict[int, float] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="settler")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def add(self, results: Results) -> None:
        """Settle this batch soon."""
        self._waiting.append(results)
        self._added_at[results.batch.id] = time.monotonic()
        self._wake.set()

    def waiting(self, older_than_seconds: float) -> list[int]:
        """The batches that wait to be settled for longer than this: their leases are to be kept."""
        limit = time.monotonic() - older_than_seconds
        return [batch for batch, added_at in self._added_at.items() if added_at < limit]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                started = loop.time()
                await self._write(self._next())
                if len(self._waiting) < _MOST_BATCHES and not self._closing:
                    await asyncio.sleep(started + self._interval - loop.time())

    def _next(self) -> list[Results]:
        """Take what one statement should hold."""
        taken: list[Results] = []
        exceptions = 0
        while self._waiting and len(taken) < _MOST_BATCHES and exceptions < _MOST_EXCEPTIONS:
            results = self._waiting.popleft()
            exceptions += len(results.exceptions)
            taken.append(results)
        return taken

    async def _write(self, results: list[Results]) -> None:
        while True:
            try:
                lost = await self._queue.settle(results)
            except DatabaseUnavailableError as error:
                _LOG.warning("settling waits for the database", extra={"batches": len(results), "error": str(error)})
                await asyncio.sleep(self._retry_seconds)
                continue
            for result in results:
                self._added_at.pop(result.batch.id, None)
            if lost:
                _LOG.warning("leases were lost before settling; their new holder settles them", extra={"batches": lost})
            return
