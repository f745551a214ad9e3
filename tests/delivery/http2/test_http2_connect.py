"""How connections come about: TLS with ALPN, client certificates, proxies, addresses."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator

import pytest

from delivery.http2 import AddressRefused, ConnectFailed, FailureKind, Origin, Pool, Proxy, resolve, tls_context
from tests.delivery.http2.http2_peer import Peer, pool_options
from tests.delivery.http2.http2_recorder import Recorder
from tests.delivery.http2.http2_tls import Files, server_tls


@pytest.fixture
async def secure(files: Files) -> AsyncIterator[Peer]:
    async with Peer(server_tls(files, "h2")) as peer:
        yield peer


async def deliver_one(pool: Pool, peer: Peer) -> None:
    """One request through the pool."""
    pool.submit(group := Recorder())
    visit = await peer.visit()
    visit.answer((await visit.request()).stream)
    await group.reported()
    assert group.report() == b""


async def fail_one(origin: Origin) -> str:
    """The reason why the origin cannot be connected to."""
    async with Pool(origin, pool_options(connect_attempts=1)) as pool:
        pool.submit(group := Recorder())
        await group.reported()
        assert group.failure().kind is FailureKind.NOT_SENT
        return group.failure().reason


async def test_a_request_over_tls(secure: Peer, files: Files) -> None:
    tls = tls_context(cafile=files.certificate)
    async with Pool(Origin("127.0.0.1", secure.port, tls), pool_options()) as pool:
        await deliver_one(pool, secure)


async def test_a_server_that_is_not_trusted_is_refused(secure: Peer) -> None:
    reason = await fail_one(Origin("127.0.0.1", secure.port, tls_context()))
    assert "certificate verify failed" in reason


async def test_a_server_of_another_name_is_refused(secure: Peer, files: Files) -> None:
    tls = tls_context(cafile=files.certificate)
    reason = await fail_one(Origin("127.0.0.1", secure.port, tls, server_hostname="api.push.example"))
    assert "certificate verify failed" in reason


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
async def test_a_server_that_does_not_choose_h2_is_refused(files: Files, protocols: tuple[str, ...]) -> None:
    async with Peer(server_tls(files, *protocols)) as peer:
        reason = await fail_one(Origin("127.0.0.1", peer.port, tls_context(cafile=files.certificate)))
        assert "ALPN" in reason or "alert" in reason


async def test_a_server_without_alpn_is_accepted_if_asked_for(files: Files) -> None:
    async with Peer(server_tls(files)) as peer:
        origin = Origin("127.0.0.1", peer.port, tls_context(cafile=files.certificate), require_alpn=False)
        async with Pool(origin, pool_options()) as pool:
            await deliver_one(pool, peer)


async def test_a_client_certificate_is_shown(files: Files) -> None:
    context = server_tls(files, "h2")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.certificate)
    async with Peer(context) as peer:
        tls = tls_context(cafile=files.certificate, certificate=(files.certificate, files.key))
        async with Pool(Origin("127.0.0.1", peer.port, tls), pool_options()) as pool:
            pool.submit(Recorder())
            visit = await peer.visit()
            assert visit.writer.get_extra_info("peercert")["subject"] == ((("commonName", "localhost"),),)


class ProxyServer:
    """An HTTP proxy for CONNECT that notes the requests' heads."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.heads: list[bytes] = []
        self._answer = answer

    async def __aenter__(self) -> "ProxyServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        for part in (self._answer[:10], self._answer[10:]):
            writer.write(part)
            await writer.drain()
        if b" 200 " not in self._answer:
            writer.close()
            return
        host, port = head.split(b" ")[1].decode().split(":")
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(copy(reader, inner_writer))
            tasks.create_task(copy(inner_reader, writer))


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        target.transport.abort()
    target.close()


async def test_a_proxy_tunnels_tls_with_basic_authorization(secure: Peer, files: Files) -> None:
    async with ProxyServer() as server:
        proxy = Proxy("127.0.0.1", server.port, authorization="user:secret")
        tls = tls_context(cafile=files.certificate)
        async with Pool(Origin("127.0.0.1", secure.port, tls, proxy=proxy), pool_options()) as pool:
            await deliver_one(pool, secure)
        lines = server.heads[0].split(b"\r\n")
        assert lines[0] == b"CONNECT 127.0.0.1:%d HTTP/1.1" % secure.port
        assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in lines


async def test_a_proxy_tunnels_without_tls_too(peer: Peer) -> None:
    async with ProxyServer() as server:
        origin = Origin("127.0.0.1", peer.port, proxy=Proxy("127.0.0.1", server.port))
        async with Pool(origin, pool_options()) as pool:
            await deliver_one(pool, peer)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy refused: 407"),
        (b"nonsense and more\r\n\r\n", "the proxy refused: and"),
        (b"HTTP/1.1 200 but no end", "the proxy closed the connection"),
        (b"x" * 20_000, "the proxy refused: ?"),
    ],
)
async def test_a_proxy_that_refuses_is_a_failed_connect(answer: bytes, reason: str) -> None:
    async with ProxyServer(answer.replace(b" 200 ", b" 200_ ")) as server:
        proxy = Proxy("127.0.0.1", server.port, authorization="user:secret")
        failed = await fail_one(Origin("push.example", 443, proxy=proxy))
        assert failed == f"connect failed: {reason}"
        assert "secret" not in failed + repr(proxy)


def refuse_loopback(address: str) -> None:
    if ipaddress.ip_address(address).is_loopback:
        raise AddressRefused(f"{address} is not public")


async def test_the_guard_sees_the_address_and_may_refuse_it(peer: Peer) -> None:
    reason = await fail_one(Origin("localhost", peer.port, guard=refuse_loopback))
    assert "is not public" in reason
    assert peer.waiting == 0


async def test_a_refused_address_is_reported_at_once_and_not_tried_again(peer: Peer) -> None:
    origin = Origin("localhost", peer.port, guard=refuse_loopback)
    async with Pool(origin, pool_options(connect_attempts=3, backoff_base=60.0)) as pool:
        pool.submit(group := Recorder())
        await group.reported()
        assert group.failure().reason.startswith("connect failed: ")
        assert pool.stats.failed_connects == 1


async def test_behind_a_proxy_a_resolver_is_asked_and_may_refuse() -> None:
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        if host == "unknown.example":
            raise OSError
        raise AddressRefused("not public")

    proxy = Proxy("127.0.0.1", 1)
    assert "not public" in await fail_one(Origin("a.example", 443, proxy=proxy, resolver=resolver))
    assert "not public" not in await fail_one(Origin("unknown.example", 443, proxy=proxy, resolver=resolver))
    assert asked == ["a.example", "unknown.example"]


async def test_one_refused_address_refuses_the_host(peer: Peer) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["192.0.2.1", "127.0.0.1"]

    assert "127.0.0.1" in await fail_one(Origin("mixed.example", peer.port, resolver=resolver, guard=refuse_loopback))


async def test_behind_a_proxy_the_guard_judges_literal_addresses() -> None:
    proxy = Proxy("127.0.0.1", 1)
    assert "is not public" in await fail_one(Origin("127.0.0.1", 443, proxy=proxy, guard=refuse_loopback))


async def test_the_host_is_resolved_before_every_connect_and_dead_addresses_are_passed_over(peer: Peer) -> None:
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.99", "127.0.0.1"]

    origin = Origin("push.example", peer.port, resolver=resolver)
    async with Pool(origin, pool_options(), jitter=lambda: 0.0) as pool:
        for _ in range(2):
            pool.submit(group := Recorder())
            visit = await peer.visit()
            visit.answer((await visit.request()).stream)
            await group.reported()
            visit.goaway(1)
            await visit.ended()
    assert asked == ["push.example"] * 2


@pytest.mark.parametrize("error", [OSError("no such host"), ConnectFailed("no"), ValueError("odd"), TimeoutError()])
async def test_a_resolver_that_fails_is_a_failed_connect(error: Exception) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        raise error

    assert (await fail_one(Origin("push.example", 1, resolver=resolver))).startswith("connect failed: ")


async def test_a_host_without_addresses_is_a_failed_connect() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return []

    assert "no address" in await fail_one(Origin("push.example", 1, resolver=resolver))


async def test_the_default_resolver_asks_the_system() -> None:
    assert "127.0.0.1" in await resolve("127.0.0.1", 443)
