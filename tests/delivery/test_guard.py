"""Requests to addresses that others choose stay out of private networks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.guard import AddressError, AddressNotAllowedError, Allowed, GuardedTransport, checked_addresses, is_public
from tests.delivery.http_peer import Request, serving

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.9.9.9",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.10",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "64:ff9b::808:808",
    "::ffff:8.8.8.8",
    "2002:808:808::1",
]
NOBODY = Allowed()


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_an_address_inside_another_is_judged_itself(inner: IPv4Address, outer: str) -> None:
    assert is_public(IPv6Address(int(IPv6Address(outer)) | int(inner))) == is_public(inner)


@given(st.ip_addresses(v=6))
def test_only_global_unicast_is_public_in_ipv6(address: IPv6Address) -> None:
    if address.is_private or address.is_multicast or address.is_link_local or address.is_loopback:
        assert address.ipv4_mapped or not is_public(address)


class Names:
    """A name server of the test: what it answers each time, and how often it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self._answers.pop(0)


async def test_of_a_host_only_the_public_addresses_are_kept() -> None:
    names = Names(["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"])
    assert await checked_addresses("mixed.example", 443, NOBODY, names) == ["8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2130706433", "0x7f.1", "localhost", "127.1"])
async def test_a_private_address_is_refused_however_it_is_spelled(host: str) -> None:
    with pytest.raises(AddressError):
        await checked_addresses(host, 80, NOBODY)


async def test_a_scoped_or_foreign_address_is_refused() -> None:
    with pytest.raises(AddressError):
        await checked_addresses("odd.example", 80, NOBODY, Names(["fe80::1%lo", "not an address"]))


@pytest.mark.parametrize(
    ("allowed", "host", "port", "fits"),
    [
        ("hooks.internal:8080", "hooks.internal", 8080, True),
        ("hooks.internal:8080", "Hooks.Internal.", 8080, True),
        ("hooks.internal:8080", "hooks.internal", 8081, False),
        ("hooks.internal:8080", "other.internal", 8080, False),
        ("hooks.internal", "hooks.internal", 9, True),
        ("10.0.0.0/8", "hooks.internal", 9, True),
        ("10.0.0.5", "hooks.internal", 9, True),
        ("192.168.0.0/16, 10.0.0.0/24", "hooks.internal", 9, True),
        ("192.168.0.0/16", "hooks.internal", 9, False),
    ],
)
async def test_settings_may_allow_hosts_and_networks(allowed: str, host: str, port: int, fits: bool) -> None:
    found = checked_addresses(host, port, Allowed.parse(allowed), Names(["10.0.0.5"]))
    if fits:
        assert await found == ["10.0.0.5"]
    else:
        with pytest.raises(AddressError):
            await found


@pytest.mark.parametrize("text", ["10.0.0.0/99", "name:port", "name:0", "name:70000", ":80", "fe80::/zz"])
def test_an_entry_that_is_no_host_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        Allowed.parse(f"fine.example {text}")


def test_an_address_with_a_port_may_be_allowed() -> None:
    allowed = Allowed.parse("[::1]:8080, 127.0.0.1:80")
    assert allowed.host("::1", 8080)
    assert allowed.host("127.0.0.1", 80)
    assert not allowed.host("::1", 80)


@asynccontextmanager
async def answering(text: bytes) -> AsyncIterator[int]:
    """A server that answers every request so, and closes."""

    async def answer(request: Request) -> bytes:
        return text

    async with serving(answer, closing=True) as port:
        yield port


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    names = Names(["127.0.0.1"], ["8.8.8.8"])
    transport = GuardedTransport(Allowed.parse("127.0.0.0/8"), resolve=names)
    async with answering(OK) as port, httpx.AsyncClient(transport=transport, trust_env=False) as client:
        answer = await client.get(f"http://rebinding.example:{port}/")
        assert (answer.status_code, answer.text) == (200, "hi")
    assert names.asked == 1


async def test_a_host_is_judged_again_for_each_connection() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    transport = GuardedTransport(Allowed.parse("127.0.0.1/32"), resolve=names)
    async with answering(OK) as port, httpx.AsyncClient(transport=transport, trust_env=False) as client:
        await client.get(f"http://rebinding.example:{port}/")
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://rebinding.example:{port}/")


async def test_the_next_address_serves_when_one_does_not() -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    transport = GuardedTransport(Allowed.parse("127.0.0.0/8"), resolve=names)
    async with answering(OK) as port, httpx.AsyncClient(transport=transport, trust_env=False) as client:
        assert (await client.get(f"http://two.example:{port}/")).status_code == 200


async def test_a_redirect_leads_nowhere() -> None:
    there = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    transport = GuardedTransport(Allowed.parse("localhost"))
    async with answering(there) as port, httpx.AsyncClient(transport=transport, trust_env=False) as client:
        assert (await client.get(f"http://localhost:{port}/")).status_code == 302
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://localhost:{port}/", follow_redirects=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "https://127.0.0.1/"])
async def test_a_private_address_is_not_even_tried(url: str) -> None:
    async with httpx.AsyncClient(transport=GuardedTransport(NOBODY), trust_env=False) as client:
        with pytest.raises(AddressNotAllowedError, match="has no public address"):
            await client.get(url)


async def test_a_name_server_that_hangs_is_not_waited_for() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    limits = httpx.Timeout(10.0, connect=0.01)
    transport = GuardedTransport(NOBODY, resolve=never)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=limits) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("http://slow.example/")


async def test_an_answer_that_is_cut_off_is_an_error_of_httpx() -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhi"
    transport = GuardedTransport(Allowed.parse("localhost"))
    async with answering(cut) as port, httpx.AsyncClient(transport=transport, trust_env=False) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://localhost:{port}/")
