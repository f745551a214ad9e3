"""Lets the batches of pushes with a rate of their own (`max_rate`) go at that rate, whoever sends them.

The rate is kept in the database: any number of workers may pump, and together they let go no more than it allows.
"""

import asyncio
import logging
from collections.abc import Callable

from delivery.queues.contract import Queue
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_PORTION_SECONDS = 0.1
_IDLE_SECONDS = 0.5


class Pump:
    """Looks every tenth of a second while there are such pushes, else every half second; says `freed` when it did."""

    def __init__(self, queue: Queue, freed: Callable[[], None]) -> None:
        self._queue = queue
        self._freed = freed

    async def run(self) -> None:
        """Pump until cancelled."""
        while True:
            try:
                freed, paced = await self._queue.set_free(_PORTION_SECONDS)
            except DatabaseUnavailableError as error:
                _LOG.warning("pacing waits for the database", extra={"error": str(error)})
                freed, paced = 0, 0
            if freed:
                self._freed()
            await asyncio.sleep(_PORTION_SECONDS if paced else _IDLE_SECONDS)
