"""Keeps requests to addresses that somebody else chose (webhooks, Web Push) out of private networks.

A name is resolved when a connection is made, every address is judged, and the connection goes to the very address that
was judged: a name that answers differently the second time gains nothing. Only global unicast addresses are reached;
an IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) is judged itself. Settings may allow hosts and networks.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from ssl import SSLContext, create_default_context

import httpcore
import httpx
import msgspec

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_GLOBAL = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# inside 2000::/3: protocol assignments and Teredo, documentation (RFC 3849, RFC 9637)
_SPECIAL = [IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20")]
# what ipaddress calls global and is not (IANA's registry of special-purpose addresses), and Azure's host agent, which
# has a public address that only virtual machines there can reach
_NOT_GLOBAL = [IPv4Network(n) for n in ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")]


class AddressError(OSError):
    """No address of this host may be connected to; the text names the host, not what it resolved to."""


class AddressNotAllowedError(httpx.ConnectError):
    """The request was not sent: no address of its host may be connected to."""


class _NotAllowed(httpcore.ConnectError):
    pass


class Allowed(msgspec.Struct, frozen=True):
    """Private destinations that may be reached all the same.

    `hosts` are (name, port), port 0 for every one; `networks` hold addresses, whatever name leads to them.
    """

    hosts: frozenset[tuple[str, int]] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Allowed":
        """Read `name:port`, `name`, `[address]:port` and networks (`10.0.0.0/8`), parted by commas or spaces.

        ValueError names the entry that is none of them.
        """
        hosts: set[tuple[str, int]] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in text.replace(",", " ").split():
            network = _network(entry)
            if network is not None:
                networks.append(network)
            else:
                hosts.add(_host_and_port(entry))
        return cls(frozenset(hosts), tuple(networks))

    def host(self, host: str, port: int) -> bool:
        """Whether whatever this name resolves to may be reached."""
        name = host.rstrip(".").lower()
        return not self.hosts.isdisjoint({(name, port), (name, 0)})

    def address(self, address: Address) -> bool:
        """Whether this address is in one of the networks."""
        return any(address in network for network in self.networks)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public Internet and names one machine there.

    Not so: private, loopback, link-local, carrier-grade NAT, multicast, unspecified, reserved, documentation. IPv4
    inside IPv6 is judged as IPv4: ::ffff:0:0/96 (mapped), 64:ff9b::/96 (NAT64, RFC 6052), 2002::/16 (6to4).
    """
    if isinstance(address, IPv4Address):
        known = address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
        return known and not any(address in network for network in _NOT_GLOBAL)
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if inner is not None:
        return is_public(inner)
    return address in _GLOBAL and not any(address in network for network in _SPECIAL)


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host as texts, in the system's order; OSError when there are none."""
    return await resolving(None)(host, port)


def resolving(executor: Executor | None) -> Resolve:
    """A `resolve` that waits in threads of its own: a name server that hangs keeps nobody else waiting."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(executor, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    return resolve


async def checked_addresses(host: str, port: int, allowed: Allowed, resolve: Resolve = resolve) -> list[str]:
    """The addresses of a host that may be connected to, as numeric texts; connect to these and resolve no more.

    Raises AddressError when there are addresses but none may be reached, OSError when the name has none.
    """
    free = allowed.host(host, port)
    addresses = list(await resolve(host, port))
    kept = [text for text in addresses if free or _may_reach(text, allowed)]
    if not kept:
        raise AddressError(f"{host} has no public address")
    return kept


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Makes the connections of httpcore, and so of httpx: only to addresses that passed the check."""

    def __init__(self, allowed: Allowed, resolve: Resolve = resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the host's addresses that may be reached, in their order; all of them in `timeout`."""
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(host, port, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("connecting took too long") from error
        except AddressError as error:
            raise _NotAllowed(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: a socket of this machine is nothing that others may name."""
        raise httpcore.ConnectError("not to a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Wait, between the tries of a pool."""
        await asyncio.sleep(seconds)

    async def _connect(
        self,
        host: str,
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        refused: Exception | None = None
        for address in await checked_addresses(host, port, self._allowed, self._resolve):
            try:
                return await self._inner.connect_tcp(address, port, None, local_address, socket_options)
            except httpcore.ConnectError as error:
                refused = error
        raise refused or httpcore.ConnectError("no address")


class GuardedTransport(httpx.AsyncBaseTransport):
    """The way out of an httpx client that leads to public addresses only; use it with `follow_redirects=False`.

    It has a pool of its own and knows no proxy: a proxy would resolve names itself.
    """

    def __init__(
        self,
        allowed: Allowed,
        *,
        context: SSLContext | None = None,
        max_connections: int = 100,
        max_keepalive_connections: int = 20,
        resolve: Resolve = resolve,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context or create_default_context(),
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=30.0,
            network_backend=GuardedBackend(allowed, resolve),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; httpx's own exceptions."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        with_body = httpcore.Request(
            request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        async with _as_httpx():
            answer = await self._pool.handle_async_request(with_body)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Stream(answer), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with _as_httpx():
            async for part in self._answer.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


@asynccontextmanager
async def _as_httpx() -> AsyncIterator[None]:
    """Raise what httpcore raises as the exception of httpx that has the same name."""
    try:
        yield
    except _NotAllowed as error:
        raise AddressNotAllowedError(str(error)) from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ProxyError) as error:
        kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error)) from error
    except httpcore.UnsupportedProtocol as error:
        raise httpx.UnsupportedProtocol(str(error)) from error


def _may_reach(text: str, allowed: Allowed) -> bool:
    try:
        address = ip_address(text)
    except ValueError:  # not an address of the Internet
        return False
    return is_public(address) or allowed.address(address)


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        if "/" in entry:
            raise ValueError(
                f"{entry} is no network; write 10.0.0.0/8, or a name and port like hooks.internal:8080"
            ) from None
        return None


def _host_and_port(entry: str) -> tuple[str, int]:
    host, colon, port = entry.rpartition(":") if not entry.endswith("]") else (entry, "", "")
    name = (host if colon else entry).strip("[]").rstrip(".").lower()
    if not name or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(f"{entry} is no host; write a name, a name and port like hooks.internal:8080, or 10.0.0.0/8")
    return name, int(port) if colon else 0
