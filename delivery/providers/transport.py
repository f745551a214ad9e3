"""What a provider needs of whatever carries its requests, and how a one-request-at-a-time library becomes that.

The multiplexer's `Pool` is the transport of every day. The others serve a purpose of their own, and answer through
the same groups, so that tables, tokens and payloads are one code for all.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Protocol

from delivery.http2 import Answer, Failure, FailureKind, Group, Head, Link
from delivery.providers.reactions import CLOSING

_LOG = logging.getLogger(__name__)
_CANCELLED = Failure(FailureKind.NOT_SENT, "cancelled")
_CLOSING = Failure(FailureKind.NOT_SENT, CLOSING)
_EXPIRED = Failure(FailureKind.EXPIRED, "expired before it was sent")
_CUT_SHORT = Failure(FailureKind.UNKNOWN, "closed before the answer")


class Transport(Protocol):
    """Carries groups of requests to one origin: the part of `delivery.http2.Pool` that providers use."""

    def submit(self, group: Group) -> None:
        """Queue all requests of a group."""

    def resubmit(self, group: Group, index: int, *, avoid: Link | None = None, head: Head | None = None) -> None:
        """Send one request again after it was reported."""

    def cancel(self, group: Group) -> None:
        """Report what waits of the group as NOT_SENT before returning."""

    def free_slots(self) -> int:
        """How many more requests are worth submitting now."""

    async def warm_up(self) -> None:
        """Make sure that the origin can be reached; raises ConnectFailed."""

    async def close(self, grace: float = 5.0) -> None:
        """Report what waits as NOT_SENT, wait for answers, report the rest UNKNOWN."""


class LibraryTransport(ABC):
    """A transport over a client library: up to `concurrency` requests at once, each awaited by a task."""

    def __init__(self, concurrency: int, backlog: int = 1000) -> None:
        self._concurrency = concurrency
        self._backlog = backlog
        self._queue: deque[tuple[Group, int, Head]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0
        self._closing = False

    def submit(self, group: Group) -> None:
        """Queue all requests of a group."""
        self._add([(group, index, group.head) for index in range(group.count)])

    def resubmit(self, group: Group, index: int, *, avoid: Link | None = None, head: Head | None = None) -> None:
        """Queue one request again. Which connection it takes is the library's choice, so `avoid` is not followed."""
        self._add([(group, index, head or group.head)])

    def cancel(self, group: Group) -> None:
        """Report what waits of the group as NOT_SENT."""
        group.cancelled = True
        self._drop(_CANCELLED, group)

    def free_slots(self) -> int:
        """How many more requests are worth queueing."""
        return 0 if self._closing else max(0, self._backlog - len(self._queue))

    async def close(self, grace: float = 5.0) -> None:
        """Give back what waits, let the rest be answered within `grace` seconds, then close the library's client."""
        self._closing = True
        self._drop(_CLOSING)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        late = list(self._tasks)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        await self.disconnect()

    @abstractmethod
    async def warm_up(self) -> None:
        """Make sure that the origin can be reached; raises ConnectFailed."""

    @abstractmethod
    async def perform(self, group: Group, index: int, head: Head) -> Answer | Failure:
        """Send one request through the library and say what came of it."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close the library's client."""

    def _add(self, requests: list[tuple[Group, int, Head]]) -> None:
        self._queue.extend(requests)
        if self._closing:
            self._drop(_CLOSING)
        for _ in range(min(len(self._queue), self._concurrency - self._running)):
            self._running += 1
            task = asyncio.create_task(self._run(), name=type(self).__name__)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _drop(self, failure: Failure, group: Group | None = None) -> None:
        dropped = [request for request in self._queue if group is None or request[0] is group]
        kept = [request for request in self._queue if group is not None and request[0] is not group]
        self._queue.clear()
        self._queue.extend(kept)
        for one, index, _ in dropped:
            one.on_failure(index, failure)

    async def _run(self) -> None:
        try:
            while self._queue:
                await self._next()
        finally:
            # Not when the task is done, which is a turn of the loop later: what is queued in between would lie there.
            self._running -= 1

    async def _next(self) -> None:
        group, index, head = self._queue.popleft()
        if group.expires_at is not None and group.expires_at <= time.time():
            group.on_failure(index, _EXPIRED)
            return
        outcome: Answer | Failure = _CUT_SHORT
        try:
            outcome = await self.perform(group, index, head)
        except Exception:
            _LOG.exception("a client library failed")
        finally:
            _report(group, index, outcome)


def _report(group: Group, index: int, outcome: Answer | Failure) -> None:
    if isinstance(outcome, Failure):
        group.on_failure(index, outcome)
    elif outcome.status == 200 and not group.wants_headers:
        group.on_ok(index, outcome.body)
    else:
        group.on_answer(index, outcome)


class NoLink:
    """Stands for a connection that its library keeps to itself: it cannot be retired from outside."""

    def retire(self, reason: str) -> None:
        """Nothing can be done; the library goes on with the connection."""
