"""Gathers finished batches and settles them together: many small writes become one."""

import asyncio
import logging
from collections import deque
from typing import Self

from delivery.batches import Results
from delivery.queues.contract import Queue
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_MOST_BATCHES = 128
_MOST_EXCEPTIONS = 20_000


class Settler:
    """Writes what is given to `add` as soon as the write before has ended; drains on exit.

    While the database is away it keeps the results and tries again: they are bounded by what is in flight, and
    nothing new is claimed meanwhile. Use as `async with Settler(queue)`.
    """

    def __init__(self, queue: Queue, *, retry_seconds: float = 0.5) -> None:
        self._queue = queue
        self._retry_seconds = retry_seconds
        self._waiting: deque[Results] = deque()
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
        self._wake.set()

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._write(self._next())

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
            if lost:
                _LOG.warning("leases were lost before settling; their new holder settles them", extra={"batches": lost})
            return
