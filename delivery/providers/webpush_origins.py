"""The pools of a Web Push credential: one for each push service, made when it is first sent to, none for ever.

Browsers choose where they subscribe, so the number of services is not ours to say: at most `MOST_POOLS` are kept, and
each connects to public addresses only, or to those that the settings allow.
"""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from delivery.guard import AddressError, Allowed, checked_addresses, resolving
from delivery.http2 import AddressRefused, ConnectFailed, Origin, Pool, PoolOptions
from delivery.providers.credential_fields import Way
from delivery.providers.origins import service
from delivery.providers.transport import Transport
from delivery.providers.webpush_http1 import Http1Pool
from delivery.providers.webpush_subscription import host_and_port

MOST_POOLS = 256
ADDRESS_REFUSED = "address not allowed"
"""The reason of a failure to connect that only the settings, or the push service's operator, can mend."""
NO_SUCH_HOST = "no such host"
"""The reason of a failure to connect where name servers say that there is no such name: more than silence."""
_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)
_RESOLVERS = 4
_STALLED_QUEUE = 500
_STALLED_SECONDS = 5.0
_REFUSED_SECONDS = 60.0


class TooManyOriginsError(Exception):
    """Every pool is busy; this origin has to wait."""


class OriginTransport(Transport, Protocol):
    """A transport that says how much it has to do."""

    @property
    def queued(self) -> int:
        """Requests submitted and not yet sent."""

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""

    def capacity(self) -> int:
        """Requests that may be in flight at once."""


class Place(msgspec.Struct, frozen=True):
    """Where the requests of an origin go: scheme and authority, what goes before their paths, and for an operator."""

    scheme: bytes
    authority: bytes
    prefix: bytes
    where: str


class OriginPool:
    """The pool of an origin, or of the credential's own `endpoint`. `waiting` counts recipients not encrypted yet."""

    __slots__ = ("_clock", "_heard_at", "_refused_at", "answered", "overridden", "place", "pool", "waiting")

    def __init__(self, place: Place, pool: OriginTransport, clock: Callable[[], float], *, overridden: bool) -> None:
        self.place = place
        self.pool = pool
        self.overridden = overridden
        self.waiting = 0
        self.answered = False
        self._clock = clock
        self._heard_at = clock()
        self._refused_at = float("-inf")

    @property
    def idle(self) -> bool:
        """Whether nobody waits for it."""
        return not (self.waiting or self.pool.queued or self.pool.in_flight)

    @property
    def stalled(self) -> bool:
        """Whether much waits for it and it answers nothing: more would only take the place of others."""
        return self.pool.queued >= _STALLED_QUEUE and self._clock() - self._heard_at > _STALLED_SECONDS

    @property
    def refused(self) -> bool:
        """Whether its address was found a moment ago to be none that may be connected to."""
        return self._clock() - self._refused_at < _REFUSED_SECONDS

    def refuse(self) -> None:
        """Note that its address may not be connected to."""
        self._refused_at = self._clock()

    def heard(self) -> None:
        """Note an answer."""
        self.answered = True
        self._heard_at = self._clock()

    def begin(self) -> None:
        """Note that work comes: what is idle owes no answer until now."""
        if self.idle:
            self._heard_at = self._clock()


class Origins:
    """The pools, by origin. With an `endpoint` of its own the credential has one, and it serves all origins."""

    def __init__(
        self,
        way: Way,
        proxy_user: str,
        allowed: Allowed,
        options: PoolOptions,
        *,
        most: int = MOST_POOLS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = service("https://localhost", way, proxy_user)  # trust is read once, which takes a while
        self.overridden = bool(way.endpoint)
        self._way = way
        self._proxy_user = proxy_user
        self._allowed = allowed
        self._options = options
        self._most = most
        self._clock = clock
        self._pools: OrderedDict[str, OriginPool] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")
        self._look_up = resolving(self._resolvers)

    def __len__(self) -> int:
        return len(self._pools)

    @property
    def queued(self) -> int:
        """Requests that wait in all pools."""
        return sum(each.pool.queued for each in self._pools.values())

    @property
    def capacity(self) -> int:
        """Requests that the open connections may have in flight."""
        return sum(each.pool.capacity() for each in self._pools.values())

    def get(self, scope: str) -> OriginPool:
        """The pool that serves an origin; SubscriptionError for none, TooManyOriginsError when there is no place."""
        name = "" if self.overridden else scope
        known = self._pools.get(name)
        if known is None:
            known = self._make(scope)
            self._make_room()
            self._pools[name] = known
        self._pools.move_to_end(name)
        known.begin()
        return known

    async def close(self, grace_seconds: float) -> None:
        """Give back what is not sent; wait for the answers to the rest."""
        async with asyncio.TaskGroup() as closing:
            for each in self._pools.values():
                closing.create_task(each.pool.close(grace_seconds))
        if self._closing:
            await asyncio.wait(self._closing)
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def _make(self, scope: str) -> OriginPool:
        base = self._base
        place = Place(base.scheme, base.authority, base.prefix, base.where)
        origin = msgspec.structs.replace(base.origin, resolver=self._resolve)
        if not self.overridden:
            host, port = host_and_port(scope)
            through = base.where.partition(" ")[2]
            place = Place(b"https", scope.encode("ascii"), b"", f"{host}:{port} {through}".rstrip())
            origin = msgspec.structs.replace(origin, host=host, port=port)
        return OriginPool(place, self._transport(origin), self._clock, overridden=self.overridden)

    def _transport(self, origin: Origin) -> OriginTransport:
        if self._way.transport == "httpx":
            way, user, allowed = self._way, self._proxy_user, self._allowed
            return Http1Pool(origin, self._options, way, user, allowed, self._resolvers)
        return Pool(origin, self._options)

    def _make_room(self) -> None:
        """Close the idle pool that was used least recently, if there are too many."""
        if len(self._pools) < self._most:
            return
        name = next((name for name, each in self._pools.items() if each.idle), None)
        if name is None:
            raise TooManyOriginsError
        task = asyncio.create_task(self._pools.pop(name).pool.close(0.0), name="close webpush pool")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _resolve(self, host: str, port: int) -> list[str]:
        """The addresses that may be connected to, judged each time: what a name says may change."""
        try:
            return await checked_addresses(host, port, self._allowed, self._look_up)
        except AddressError:
            raise AddressRefused(ADDRESS_REFUSED) from None
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                raise ConnectFailed(NO_SUCH_HOST) from None
            raise
