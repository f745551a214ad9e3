"""Opens transports: fresh DNS, the address guard, an HTTP proxy, TLS with ALPN."""

import asyncio
import base64
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from .errors import ConnectFailed
from .options import Origin, Proxy

P = TypeVar("P", bound=asyncio.Protocol)

_PROXY_ANSWER_LIMIT = 16_384
_STATUS_END = 64
_ADDRESSES_TRIED = 4


def tls_context(
    *, cafile: str | None = None, cadata: str | None = None, certificate: tuple[str, str] | None = None
) -> ssl.SSLContext:
    """A client context for HTTP/2: TLS 1.2 or newer, ALPN h2, the system's trust or the given one.

    `certificate`: paths of certificate chain and key (APNs certificates). Raises OSError or ssl.SSLError.
    """
    context = ssl.create_default_context(cafile=cafile, cadata=cadata)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host in the system's order, asked anew each time. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


async def open_protocol(origin: Origin, factory: Callable[[], P], seconds: float) -> P:
    """Connect to the origin and return the protocol on it, greeted by `connection_made`.

    One dead address does not use up the `seconds` of the others. Raises OSError (ssl.SSLError and TimeoutError among
    them) or ConnectFailed.
    """
    async with asyncio.timeout(seconds):
        if origin.proxy is not None:
            return await _through_proxy(origin, origin.proxy, factory)
        addresses = await (origin.resolver or resolve)(origin.host, origin.port)
        for address in addresses:
            if origin.guard is not None:
                origin.guard(address)
        return await _first_that_answers(origin, addresses[:_ADDRESSES_TRIED], factory, seconds)


async def _first_that_answers(origin: Origin, addresses: list[str], factory: Callable[[], P], seconds: float) -> P:
    error: Exception = ConnectFailed("the host has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(seconds / len(addresses)):
                return await _direct(origin, address, factory)
        except OSError as failed:
            error = failed
    raise error


async def _direct(origin: Origin, address: str, factory: Callable[[], P]) -> P:
    loop = asyncio.get_running_loop()
    name = _server_name(origin) if origin.tls is not None else None
    transport, protocol = await loop.create_connection(
        factory, address, origin.port, ssl=origin.tls, server_hostname=name
    )
    _require_h2(origin, transport)
    return protocol


async def _through_proxy(origin: Origin, proxy: Proxy, factory: Callable[[], P]) -> P:
    """The proxy resolves the origin's name by itself; what can be seen of it from here is judged all the same."""
    if origin.guard is not None and _is_address(origin.host):
        origin.guard(origin.host)
    if origin.resolver is not None:
        with contextlib.suppress(OSError):  # the name may mean something to the proxy
            await origin.resolver(origin.host, origin.port)
    loop = asyncio.get_running_loop()
    transport, tunnel = await loop.create_connection(_Tunnel, proxy.host, proxy.port)
    try:
        transport.write(_connect_request(origin, proxy))
        await tunnel.opened
        protocol = factory()
        inner: asyncio.BaseTransport | None = transport
        if origin.tls is None:
            transport.set_protocol(protocol)
        else:
            name = _server_name(origin)
            inner = await loop.start_tls(transport, protocol, origin.tls, server_hostname=name)
        if inner is None:
            raise ConnectFailed("connection lost during the TLS handshake")
        _require_h2(origin, inner)
    except BaseException:
        transport.abort()
        raise
    protocol.connection_made(inner)
    return protocol


class _Tunnel(asyncio.Protocol):
    """Waits for the proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = b""

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if b"\r\n\r\n" in self._answer or len(self._answer) > _PROXY_ANSWER_LIMIT:
            status = self._answer[:_STATUS_END].split(b" ")[1:2]
            if status == [b"200"]:
                self._settle(None)
            else:
                code = (status or [b"?"])[0].decode("ascii", "replace")
                self._settle(ConnectFailed(f"the proxy refused: {code}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(ConnectFailed("the proxy closed the connection"))

    def _settle(self, error: ConnectFailed | None) -> None:
        if self.opened.done():
            return
        if error is None:
            self.opened.set_result(None)
        else:
            self.opened.set_exception(error)
            self.opened.exception()


def _connect_request(origin: Origin, proxy: Proxy) -> bytes:
    target = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(proxy.authorization.encode()).decode())
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _server_name(origin: Origin) -> str:
    return origin.server_hostname or origin.host


def _require_h2(origin: Origin, transport: asyncio.BaseTransport) -> None:
    """ALPN must have chosen h2 (RFC 9113, section 3.3), unless the origin is known not to negotiate."""
    if origin.tls is None or not origin.require_alpn:
        return
    chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
    if chosen != "h2":
        cast(asyncio.Transport, transport).abort()
        raise ConnectFailed("the server did not choose h2 by ALPN")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
