"""What providers hold: one pool per credential and origin, which takes groups and reports each request once."""

import asyncio
import random
from collections.abc import Callable
from typing import Self

from .backlog import Piece
from .errors import Failure, FailureKind
from .fleet import Fleet
from .group import Group, Head, Link
from .options import Origin, PoolOptions
from .reports import report_failure
from .stats import PoolStats

_CLOSING = Failure(FailureKind.NOT_SENT, "pool closing")
_GOODBYE_SECONDS = 1.0
_PROBE_SLOTS = 32
"""Requests worth queueing while the origin cannot be connected to: enough to notice when it can."""


class Pool:
    """Serves one origin with one credential; never share it between tenants (APNs binds a connection to a team).

    An async context manager; build it inside the running loop and use it from there only. `jitter` gives numbers from
    0 to 1 for the backoff.
    """

    def __init__(
        self, origin: Origin, options: PoolOptions | None = None, *, jitter: Callable[[], float] = random.random
    ) -> None:
        self._options = options or PoolOptions()
        self._fleet = Fleet(origin, self._options, jitter, self._notify)
        self._waiters: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def stats(self) -> PoolStats:
        """Counters since the pool was built; live, not a copy."""
        return self._fleet.stats

    @property
    def queued(self) -> int:
        """Requests submitted and not yet written."""
        return self._fleet.backlog.queued

    @property
    def in_flight(self) -> int:
        """Requests written and not yet answered."""
        return self._fleet.in_flight

    def capacity(self) -> int:
        """Requests that the open connections may have in flight at once."""
        return sum(connection.limit for connection in self._fleet.serving)

    def free_slots(self) -> int:
        """How many more requests are worth submitting now: about one full round of the connections is kept waiting."""
        return max(0, self._level() - self.queued)

    def _level(self) -> int:
        if self._fleet.closing:
            return 0
        return _PROBE_SLOTS if self._fleet.failing else max(self._options.backlog, self.capacity())

    async def wait_for_room(self, at_least: int = 1) -> int:
        """Wait until `free_slots` is `at_least` that many, or all there can be, or the pool closes; returns it."""
        await self._wait_until(lambda: self.free_slots() >= min(at_least, self._level()))
        return self.free_slots()

    def submit(self, group: Group) -> None:
        """Queue all requests of a group. Never blocks; a closing pool reports them NOT_SENT before it returns."""
        if self._fleet.closing:
            for index in range(group.count):
                report_failure(group, index, _CLOSING)
            return
        self._fleet.backlog.add(group)
        self._fleet.pump_soon()

    def resubmit(self, group: Group, index: int, *, avoid: Link | None = None, head: Head | None = None) -> None:
        """Send one request again after it was reported; it goes first and is reported once more.

        `avoid`: the connection not to use while there is another. `head`: in place of the group's, after a renewal of
        the credential; it must agree with the group's about `id_name` (ValueError).
        """
        head = head or group.head
        if (head.id_name is None) != (group.ids is None):
            raise ValueError("ids and head.id_name go together")
        if self._fleet.closing:
            report_failure(group, index, _CLOSING)
            return
        self._fleet.backlog.add_again(Piece(group, index, index + 1, head, avoid=avoid))
        self._fleet.pump_soon()

    def cancel(self, group: Group) -> None:
        """Report what waits of the group as NOT_SENT before returning; what is written runs on."""
        group.cancelled = True
        self._fleet.backlog.cancel(group)
        self._notify()

    async def warm_up(self) -> None:
        """Have a connection ready. Raises ConnectFailed; the pool may be used all the same."""
        await self._fleet.warm_up()

    async def close(self, grace: float = 5.0) -> None:
        """Report what waits as NOT_SENT, wait up to `grace` seconds for answers, report the rest UNKNOWN, close."""
        fleet = self._fleet
        fleet.closing = True
        fleet.backlog.fail(_CLOSING)
        try:
            await fleet.stop_dials()
            await self._wait_at_most(grace, lambda: not fleet.in_flight)
            fleet.shut_down("pool closing")
            await self._wait_at_most(_GOODBYE_SECONDS, lambda: fleet.settled)
        finally:
            fleet.shut_down("pool closing")
            fleet.abort()
            self._notify()
        await self._wait_at_most(_GOODBYE_SECONDS, lambda: fleet.settled)

    async def _wait_at_most(self, seconds: float, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wait_until(condition)
        except TimeoutError:
            return

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def _notify(self) -> None:
        """Something may have changed that somebody waits for."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
