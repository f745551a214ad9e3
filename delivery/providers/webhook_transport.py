"""Signed requests to a company's own API, by httpx, to no address that the settings do not allow."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from ssl import create_default_context

import httpcore
import httpx

from delivery.guard import (
    AddressError,
    AddressNotAllowedError,
    Allowed,
    GuardedBackend,
    GuardedTransport,
    Resolve,
    checked_addresses,
    resolving,
)
from delivery.http2 import AddressRefused, Answer, ConnectFailed, Failure, FailureKind, Group, Head
from delivery.providers.credential_fields import Way
from delivery.providers.transport import LibraryTransport, NoLink
from delivery.webhooks.signature import headers

ADDRESS_REFUSED = "address not allowed"
"""The reason of a failure that only another URL, or TOCSIN_PRIVATE_HOSTS_ALLOWED, can mend."""
MOST_ANSWER_BYTES = 1 << 20

_LOG = logging.getLogger(__name__)
_NO_LINK = NoLink()
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
_CONNECT_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 30.0
_RESOLVERS = 4


class WebhookTransport(LibraryTransport):
    """POSTs the requests of a credential, each signed when it is sent, `connections` of them at once.

    `target` is the host and port that all of them go to, `proxy_user` is `user:password`. Follows no redirects.
    """

    def __init__(
        self,
        target: tuple[str, int],
        secret: bytes,
        way: Way,
        proxy_user: str,
        allowed: Allowed,
        *,
        connections: int,
        timeout_seconds: float,
        backlog: int,
    ) -> None:
        super().__init__(connections, backlog)
        self._target = target
        self._secret = secret
        self._allowed = allowed
        self._timeout = timeout_seconds
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")
        self._resolve = resolving(self._resolvers)
        self._client = httpx.AsyncClient(
            transport=way_out(way, proxy_user, allowed, connections, self._resolve),
            timeout=httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds / 2), pool=None),
            headers={"accept-encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
        )
        self._proxied = bool(way.proxy)

    async def warm_up(self) -> None:
        """Look whether the host has an address that may be reached; behind a proxy it may have none here."""
        host, port = self._target
        try:
            async with asyncio.timeout(self._timeout):
                await checked_addresses(host, port, self._allowed, self._resolve)
        except AddressError:
            raise AddressRefused(f"{host} is no public address, nor one of TOCSIN_PRIVATE_HOSTS_ALLOWED") from None
        except OSError as error:
            if not self._proxied:
                raise ConnectFailed(f"{host} has no address: {type(error).__name__}") from None

    async def perform(self, group: Group, index: int, head: Head) -> Answer | Failure:
        """POST one request."""
        body = group.bodies if isinstance(group.bodies, bytes) else group.bodies[index]
        delivery = group.ids[index].decode("ascii") if group.ids is not None else ""
        url = (head.scheme + b"://" + head.authority + head.path).decode("ascii")
        fields = headers(self._secret, body, delivery, int(time.time()))
        try:
            async with asyncio.timeout(self._timeout):
                async with self._client.stream("POST", url, content=body, headers=fields) as reply:
                    kept = await _read(reply)
            self._client.cookies.clear()  # whatever a receiver sets, one request has nothing to do with the next
        except AddressNotAllowedError:
            return Failure(FailureKind.NOT_SENT, ADDRESS_REFUSED)
        except _NOT_SENT as error:
            return Failure(FailureKind.NOT_SENT, f"not connected: {type(error).__name__}")
        except (TimeoutError, httpx.TimeoutException):
            return Failure(FailureKind.UNKNOWN, "no answer in time")
        except httpx.HTTPError as error:
            return Failure(FailureKind.UNKNOWN, f"connection lost: {type(error).__name__}")
        found = [(name.lower(), value) for name, value in reply.headers.raw]
        return Answer(reply.status_code, found, kept, _NO_LINK)

    async def disconnect(self) -> None:
        """Close the client."""
        await self._client.aclose()
        self._resolvers.shutdown(wait=False, cancel_futures=True)


class ProxiedTransport(GuardedTransport):
    """The way out through a proxy, which itself has to be public or allowed.

    The proxy resolves names by itself, so what it reaches is for it to decide; a target that is not allowed as far as
    can be seen from here is refused all the same.
    """

    def __init__(
        self, proxy: httpcore.Proxy, allowed: Allowed, *, tls_ca: str, connections: int, resolve: Resolve
    ) -> None:
        self._judged = allowed
        self._look_up = resolve
        self._pool = httpcore.AsyncHTTPProxy(
            proxy.url,
            proxy_auth=proxy.auth,
            ssl_context=create_default_context(cadata=tls_ca or None),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEEP_ALIVE_SECONDS,
            network_backend=GuardedBackend(allowed, resolve),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; httpx's own exceptions."""
        host, port = request.url.host, request.url.port or (80 if request.url.scheme == "http" else 443)
        try:
            await checked_addresses(host, port, self._judged, self._look_up)
        except AddressError as error:
            raise AddressNotAllowedError(str(error)) from None
        except OSError as error:  # the name may mean something to the proxy
            _LOG.debug("a name is left to the proxy", extra={"reason": type(error).__name__})
        return await super().handle_async_request(request)


def way_out(way: Way, proxy_user: str, allowed: Allowed, connections: int, resolve: Resolve) -> GuardedTransport:
    """The transport of a client that leads to public and allowed addresses only, through the proxy if there is one."""
    if not way.proxy:
        return GuardedTransport(
            allowed,
            context=create_default_context(cadata=way.tls_ca or None),
            max_connections=connections,
            max_keepalive_connections=connections,
            resolve=resolve,
        )
    user, _, password = proxy_user.partition(":")
    proxy = httpcore.Proxy(way.proxy, auth=(user, password) if user else None)
    return ProxiedTransport(proxy, allowed, tls_ca=way.tls_ca, connections=connections, resolve=resolve)


async def _read(reply: httpx.Response) -> bytes:
    """Read an answer to its end, so that the connection serves again; of one that has none, the beginning."""
    kept = bytearray()
    async for part in reply.aiter_raw():
        kept += part
        if len(kept) >= MOST_ANSWER_BYTES:
            break
    return bytes(kept[:MOST_ANSWER_BYTES])
