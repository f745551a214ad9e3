"""FCM over HTTP/1.1 with httpx: for networks whose proxies speak nothing newer (`"transport": "httpx"`).

Its faults, measured: 20 to 660 messages a second on a core where the multiplexer sends 38,000 to 90,000; its pool
costs O(connections²) a request, so more connections make it slower; one request is in flight on a connection, so a
slow answer holds one up.
"""

import httpx

from delivery.http2 import Answer, ConnectFailed, Failure, FailureKind, Group, Head, Origin, PoolOptions
from delivery.providers.transport import LibraryTransport, NoLink

_NO_LINK = NoLink()
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class HttpxTransport(LibraryTransport):
    """Requests by httpx, one on each connection at a time."""

    def __init__(self, origin: Origin, options: PoolOptions) -> None:
        super().__init__(options.max_connections, options.backlog)
        self._origin = origin
        self._max_body = options.max_body_bytes
        self._client = httpx.AsyncClient(
            verify=origin.tls if origin.tls is not None else False,
            proxy=_proxy(origin),
            timeout=httpx.Timeout(options.request_timeout, connect=options.connect_timeout),
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
                "POST", url, content=body, headers=[*head.fields, *head.own_fields]
            ) as reply:
                kept = await _read(reply, self._max_body)
        except _NOT_SENT as error:
            return Failure(FailureKind.NOT_SENT, f"not connected: {type(error).__name__}")
        except httpx.TimeoutException:
            return Failure(FailureKind.UNKNOWN, "no answer in time")
        except httpx.HTTPError as error:
            return Failure(FailureKind.UNKNOWN, f"connection lost: {type(error).__name__}")
        fields = [(name.lower(), value) for name, value in reply.headers.raw]
        return Answer(reply.status_code, fields, kept, _NO_LINK)

    async def disconnect(self) -> None:
        """Close the client."""
        await self._client.aclose()


async def _read(reply: httpx.Response, limit: int) -> bytes:
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
