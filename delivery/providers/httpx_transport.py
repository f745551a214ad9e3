"""HTTP/1.1 with httpx: for HMS, and for FCM in networks whose proxies speak nothing newer (`"transport": "httpx"`).

Its faults, measured: 20 to 660 messages a second on a core where the multiplexer sends 38,000 to 90,000; its pool
costs O(connections²) a request, so more connections make it slower; one request is in flight on a connection, so a
slow answer holds one up.
"""

import time
from collections.abc import Awaitable, Callable

import httpx

from delivery.http2 import Answer, ConnectFailed, Failure, FailureKind, Group, Head, Origin, PoolOptions
from delivery.providers.transport import LibraryTransport, NoLink

_NO_LINK = NoLink()
_SHORTEST_SECONDS = 0.001
_FIRST_BYTE = ".send_request_headers.started"
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class _ExpiredError(Exception):
    """The push expired while its request waited for a connection."""


def _not_after(expires_at: float) -> Callable[[str, object], Awaitable[None]]:
    """Look once more before the first byte goes: httpx has a request in hand for a while."""

    async def traced(event: str, facts: object) -> None:
        if event.endswith(_FIRST_BYTE) and expires_at <= time.time():
            raise _ExpiredError

    return traced


class HttpxTransport(LibraryTransport):
    """Requests by httpx, one on each connection at a time; `way_out` in place of the origin's trust and proxy."""

    def __init__(self, origin: Origin, options: PoolOptions, way_out: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(options.max_connections, options.backlog)
        self._origin = origin
        self._max_body = options.max_body_bytes
        self._within = httpx.Timeout(options.request_timeout, connect=options.connect_timeout)
        self._client = httpx.AsyncClient(
            verify=origin.tls if origin.tls is not None else False,
            proxy=_proxy(origin) if way_out is None else None,
            transport=way_out,
            timeout=self._within,
            limits=httpx.Limits(max_connections=options.max_connections, keepalive_expiry=options.idle_close_seconds),
            headers={"accept-encoding": "identity", "user-agent": "tocsin"},
            follow_redirects=False,
            trust_env=False,
        )

    async def warm_up(self) -> None:
        """Ask for nothing in particular: any answer says that the service can be reached."""
        scheme = "https" if self._origin.tls is not None else "http"
        try:
            await self._client.get(httpx.URL(scheme=scheme, host=self._origin.host, port=self._origin.port, path="/"))
        except httpx.HTTPError as error:
            raise ConnectFailed(type(error).__name__) from None

    async def perform(self, group: Group, index: int, head: Head) -> Answer | Failure:
        """POST one request."""
        path = head.path + (group.paths[index] if group.paths is not None else b"")
        body = group.bodies if isinstance(group.bodies, bytes) else group.bodies[index]
        url = (head.scheme + b"://" + head.authority + path).decode("ascii")
        try:
            async with self._client.stream(
                "POST",
                url,
                content=body,
                headers=[*head.fields, *head.own_fields],
                timeout=self._timeout(group),
                extensions={} if group.expires_at is None else {"trace": _not_after(group.expires_at)},
            ) as reply:
                kept = await read_bounded(reply, self._max_body)
        except _ExpiredError:
            return Failure(FailureKind.EXPIRED, "expired before it was sent")
        except _NOT_SENT as error:
            return Failure(FailureKind.NOT_SENT, f"not connected: {type(error).__name__}")
        except httpx.TimeoutException:
            return Failure(FailureKind.UNKNOWN, "no answer in time")
        except httpx.HTTPError as error:
            return Failure(FailureKind.UNKNOWN, f"connection lost: {type(error).__name__}")
        fields = [(name.lower(), value) for name, value in reply.headers.raw]
        return Answer(reply.status_code, fields, kept, _NO_LINK)

    def _timeout(self, group: Group) -> httpx.Timeout:
        """Not longer for a connection than the push is worth sending."""
        if group.expires_at is None:
            return self._within
        left = max(group.expires_at - time.time(), _SHORTEST_SECONDS)
        connect = self._within.connect
        return httpx.Timeout(self._within.read, connect=left if connect is None else min(connect, left), pool=left)

    async def disconnect(self) -> None:
        """Close the client."""
        await self._client.aclose()


async def read_bounded(reply: httpx.Response, limit: int) -> bytes:
    """The answer's body, cut off after `limit` bytes."""
    kept = bytearray()
    async for part in reply.aiter_raw():
        kept += part
        if len(kept) >= limit:
            break
    return bytes(kept[:limit])


def _proxy(origin: Origin) -> httpx.Proxy | None:
    if origin.proxy is None:
        return None
    user, _, password = (origin.proxy.authorization or "").partition(":")
    host = f"[{origin.proxy.host}]" if ":" in origin.proxy.host else origin.proxy.host
    return httpx.Proxy(f"http://{host}:{origin.proxy.port}", auth=(user, password) if user else None)
