"""Push services that speak HTTP/1.1 only, by httpx (`"transport": "httpx"`): one's own, behind an old proxy.

Its faults are those of `httpx_transport`; and it serves all push services of the credential, not only those that need
it.
"""

from concurrent.futures import Executor

from delivery.guard import Allowed, resolving
from delivery.http2 import Origin, PoolOptions
from delivery.providers.credential_fields import Way
from delivery.providers.httpx_transport import HttpxTransport
from delivery.providers.webhook_transport import way_out


class Http1Pool(HttpxTransport):
    """Requests to one push service, one on each connection at a time, to no address that is not allowed."""

    def __init__(
        self, origin: Origin, options: PoolOptions, way: Way, proxy_user: str, allowed: Allowed, resolvers: Executor
    ) -> None:
        resolve = resolving(resolvers)
        super().__init__(origin, options, way_out(way, proxy_user, allowed, options.max_connections, resolve))

    @property
    def queued(self) -> int:
        """Requests submitted and not yet sent."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return self._running

    def capacity(self) -> int:
        """Requests that may be in flight at once."""
        return self._concurrency
