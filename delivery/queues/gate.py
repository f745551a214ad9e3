"""What is asked before a push is accepted, and need not be asked of the database for each."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeVar

from storage import pushes, queue
from storage.database import Database, DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_KEPT_INTERVALS = 4

Value = TypeVar("Value")


class _Known(Generic[Value]):
    """An answer of the database, renewed in a task beside the calls; `restless` ones are renewed until they change."""

    def __init__(
        self, read: Callable[[], Awaitable[Value]], interval_seconds: float, restless: Callable[[Value], bool]
    ) -> None:
        self._read = read
        self._interval = interval_seconds
        self._restless = restless
        self._values: list[Value] = []  # the last one; none yet
        self._known_at = self._tried_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    @property
    def age(self) -> float:
        """Seconds since it was read."""
        return time.monotonic() - self._known_at

    async def answer(self) -> Value:
        """Return the last answer and have it renewed; DatabaseUnavailableError when there is none and none comes."""
        due = not self._values or time.monotonic() - self._tried_at >= self._interval
        if due and (self._task is None or self._task.done()):
            self._tried.clear()
            self._task = asyncio.create_task(self._renew(), name="gate")
        if not self._values:
            await self._tried.wait()
        if not self._values:
            raise DatabaseUnavailableError("the gate knows nothing yet")
        return self._values[0]

    async def ask(self) -> Value:
        """Read it now; raises what the database raises."""
        self._values = [await self._read()]
        self._known_at = time.monotonic()
        return self._values[0]

    async def close(self) -> None:
        """Stop renewing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _renew(self) -> None:
        while True:
            self._tried_at = time.monotonic()
            try:
                await self.ask()
            except DatabaseUnavailableError as error:
                _LOG.debug("the gate keeps its last answer", extra={"reason": str(error)})
            except Exception as error:
                _LOG.error("the gate could not look", extra={"error": type(error).__name__})
                return
            finally:
                self._tried.set()
            if not self._values or not self._restless(self._values[0]):
                return
            await asyncio.sleep(self._interval)


class Gate:
    """Knows how full the queue is and which providers have a credential; `async with Gate(...)` where it ends.

    The database is asked at most once in `interval_seconds`, beside the calls: they take the last answer and wait
    only for the first. `most_batches` waiting batches are where the gate closes; a closed one looks by itself until
    it opens, an open one when it is asked.
    """

    def __init__(self, database: Database, most_batches: int, *, interval_seconds: float = 0.5) -> None:
        self._database = database
        self.most_batches = most_batches
        self._interval = interval_seconds
        self._full = _Known(self._look, interval_seconds, restless=bool)
        self._configured = _Known(self._read_configured, interval_seconds, lambda found: False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ask no more."""
        await self._full.close()
        await self._configured.close()

    async def is_full(self) -> bool:
        """Whether a push should be turned away now; DatabaseUnavailableError while that was never known."""
        return await self._full.answer()

    async def any_configured(self, providers: list[str]) -> bool:
        """Whether one of these providers has a credential; a no is never an old answer."""
        known = self._configured
        if known.age <= self._interval * _KEPT_INTERVALS and (await known.answer()).intersection(providers):
            return True
        return bool((await known.ask()).intersection(providers))

    async def _look(self) -> bool:
        return await queue.depth(self._database, self.most_batches) >= self.most_batches

    async def _read_configured(self) -> frozenset[str]:
        return frozenset(await pushes.configured_providers(self._database))
