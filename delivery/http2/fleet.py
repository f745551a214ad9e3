"""The connections of a pool: opened as work demands, fed, watched, replaced."""

import asyncio
import logging
import time
from collections.abc import Callable

from .backlog import Backlog, Piece
from .connect import open_protocol
from .connection import Connection
from .errors import AddressRefused, ConnectFailed, Failure, FailureKind
from .options import Origin, PoolOptions
from .pace import Pace
from .reports import report_failure
from .stats import PoolStats
from .streams import Run

logger = logging.getLogger(__name__)

_REFUSED = Failure(FailureKind.REFUSED, "refused by peer")
_GOODBYE_SECONDS = 1.0
"""How long a peer may take to let us close; then the transport is dropped."""
_LEAST_WORTH = 32
"""Waiting requests that justify another connection when all open ones are full."""


class Fleet:
    """Keeps up to `max_connections` connections to the origin busy with the backlog.

    `serving` take requests; `_draining` wait for their last answers; `_ending` have reported everything and wait for
    their transport to close. `notify` is called whenever something may have become free.
    """

    def __init__(
        self, origin: Origin, options: PoolOptions, jitter: Callable[[], float], notify: Callable[[], None]
    ) -> None:
        self.options = options
        self.backlog = Backlog()
        self.stats = PoolStats()
        self.serving: list[Connection] = []
        self.closing = False
        self._origin = origin
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(options, jitter)
        self._draining: set[Connection] = set()
        self._ending: dict[Connection, float] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        """Requests written and not yet answered."""
        return sum(c.in_flight for c in self.serving) + sum(c.in_flight for c in self._draining)

    @property
    def settled(self) -> bool:
        """Whether no transport is left open."""
        return not (self.serving or self._draining or self._ending)

    @property
    def failing(self) -> bool:
        """Whether connecting has failed so often that waiting requests are reported instead of kept."""
        return not self.serving and self._pace.failures >= self.options.connect_attempts

    def pump_soon(self) -> None:
        """Give waiting requests to connections soon: what comes in the same turn of the loop goes together."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self.backlog.queued and self.serving:
            share = -(-self.backlog.queued // len(self.serving))
            least_busy_first = sorted(self.serving, key=lambda connection: connection.in_flight)
            for connection in least_busy_first:
                connection.fill(share)
            for connection in least_busy_first:
                if self.backlog.queued:
                    connection.fill()
        self._grow()
        self._watch()
        self._notify()

    def _grow(self) -> None:
        for _ in range(self._missing()):
            if self._pace.allows(self._loop.time()):
                self._start_dial()

    def _missing(self) -> int:
        """How many connections the waiting requests are worth, given what the full ones hold."""
        if self.closing or self._dials or not self.backlog.queued:
            return 0
        if not self.serving:
            return 1
        if len(self.serving) >= self.options.max_connections:
            return 0
        if any(connection.warming or not connection.full() for connection in self.serving):
            return 0
        typical = max(self.in_flight // len(self.serving), _LEAST_WORTH)
        return min(-(-self.backlog.queued // typical), self.options.max_connections - len(self.serving))

    # Opening

    def _start_dial(self) -> None:
        self._pace.started(self._loop.time())
        task = self._loop.create_task(self._dial())
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self) -> None:
        opened: list[Connection] = []

        def protocol() -> Connection:
            opened.append(Connection(self, self._loop))
            return opened[-1]

        try:
            async with asyncio.timeout(self.options.connect_timeout):
                connection = await open_protocol(self._origin, protocol, self.options.connect_timeout)
                await connection.ready
        except TimeoutError:
            self._connect_failed("connect timed out")
        except AddressRefused as error:
            self._connect_failed(str(error), hopeless=True)
        except (OSError, ConnectFailed) as error:
            self._connect_failed(str(error) or type(error).__name__)
        except Exception:
            logger.exception("http2 connect raised")
            self._connect_failed("internal error")
        else:
            self._take_on(connection)
            opened.remove(connection)
        finally:
            for connection in opened:
                connection.abort()
            self._loop.call_soon(self.pump_soon)

    def _take_on(self, connection: Connection) -> None:
        self.stats.opened += 1
        if connection.serving:
            self.serving.append(connection)
            self.stats.open = len(self.serving)
        elif not connection.ended:
            self._draining.add(connection)
        else:
            self._connect_failed("closed at once")

    def _connect_failed(self, reason: str, *, hopeless: bool = False) -> None:
        self._pace.failed(self._loop.time())
        self.stats.failed_connects += 1
        self.stats.last_error = reason
        logger.warning("http2 connect failed", extra={"host": self._origin.host, "reason": reason})
        if self.failing or (hopeless and not self.serving):
            self.backlog.fail(Failure(FailureKind.NOT_SENT, f"connect failed: {reason}"))
            self._notify()

    async def warm_up(self) -> None:
        """See to it that one connection serves. Raises ConnectFailed."""
        if not self.serving and not self._dials:
            if self.closing or not self._pace.allows(self._loop.time()):
                raise ConnectFailed(f"waiting before the next connect: {self.stats.last_error}")
            self._start_dial()
        while self._dials and not self.serving:
            await asyncio.wait(self._dials)
            await asyncio.sleep(0)
        if not self.serving:
            raise ConnectFailed(self.stats.last_error or "connection closed at once")
        self._watch()

    # What connections report

    def alone(self) -> bool:
        """Whether at most one connection takes requests."""
        return len(self.serving) <= 1

    def refused(self, run: Run, index: int, connection: Connection) -> None:
        """Send a request again that was certainly not processed, some times; then report it."""
        self.stats.refused += 1
        if self.closing or run.group.cancelled or run.tries >= self.options.refused_attempts:
            report_failure(run.group, index, _REFUSED)
            return
        self.backlog.add_again(Piece(run.group, index, index + 1, run.head, tries=run.tries + 1, avoid=connection))
        self.pump_soon()

    def progressed(self, connection: Connection) -> None:
        """Answers came in, or requests went out."""
        if connection.answered and self._pace.failures:
            self._pace.succeeded()
        if self.backlog.queued and len(self.serving) < self.options.max_connections:
            self._grow()
        self._notify()

    def retired(self, connection: Connection) -> None:
        """The connection takes no more requests; another may have to."""
        if connection in self.serving:
            self.serving.remove(connection)
            self._draining.add(connection)
            self.stats.open = len(self.serving)
            self.pump_soon()

    def lost(self, connection: Connection, reason: str) -> None:
        """The connection has ended. One that never served and was not closed by us counts as a failed connect."""
        if connection in self.serving:
            self.serving.remove(connection)
        elif connection in self._draining:
            self._draining.remove(connection)
        else:
            return
        self._ending[connection] = self._loop.time()
        self.stats.open = len(self.serving)
        if connection.disappointing and not self.closing:
            self._connect_failed(reason)
        self.pump_soon()

    def gone(self, connection: Connection) -> None:
        """The connection's transport is closed."""
        self._ending.pop(connection, None)
        self._notify()

    # Time

    def _watch(self) -> None:
        """Tick as long as there is something to watch."""
        if self._timer is None and (self.backlog.queued or self._dials or not self.settled):
            self._timer = self._loop.call_later(self.options.tick_seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for connection in [*self.serving, *self._draining]:
            connection.tick(now)
        for connection, since in list(self._ending.items()):
            if now - since >= _GOODBYE_SECONDS:
                connection.abort()
        if self.backlog.queued:
            self.backlog.expire(time.time())
        self._pump()

    # Closing

    async def stop_dials(self) -> None:
        """Give up connects under way."""
        dials = list(self._dials)
        for dial in dials:
            dial.cancel()
        if dials:
            await asyncio.wait(dials)

    def shut_down(self, reason: str) -> None:
        """End every connection; open requests are reported."""
        for connection in [*self.serving, *self._draining]:
            connection.shut_down(reason)

    def abort(self) -> None:
        """Drop transports that a peer keeps us from closing, and stop ticking."""
        for connection in list(self._ending):
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
