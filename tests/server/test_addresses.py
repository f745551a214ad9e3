"""Where a request comes from, and who may call by that."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from methods.networks import read_address, read_network, read_networks
from server import settings
from server.addresses import Addresses, client_address
from server.settings import SettingsError
from storage import api_keys
from storage.api_keys import KeyBounds
from tests.contract.serving import served
from tests.server.running import environment, running

_PROXIES = read_networks("10.0.0.0/8 fd00::/8")
_ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(lambda address: read_address(str(address)))
_OUTSIDE = _ADDRESSES.filter(lambda address: not any(address in network for network in _PROXIES))
_LINES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


def seen(peer: str, *headers: tuple[str, str], proxies: str = "10.0.0.0/8 fd00::/8") -> str | None:
    """The address of the client of a connection from this peer with these headers."""
    given = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    found = client_address(peer, given, read_networks(proxies))
    return None if found is None else str(found)


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For"])
def test_a_header_of_whoever_is_no_trusted_proxy_is_not_believed(name: str) -> None:
    value = "for=192.0.2.1" if name == "Forwarded" else "192.0.2.1"
    assert seen("198.51.100.7", (name, value)) == "198.51.100.7"
    assert seen("10.0.0.1", (name, value), proxies="") == "10.0.0.1"
    assert seen("10.0.0.1", (name, value)) == "192.0.2.1"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", "192.0.2.1"),  # what the client claimed stands on the left
        ("203.0.113.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("nonsense, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711, fd00::5", "2001:db8::7"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),  # all of them proxies: the farthest
        ("192.0.2.1, nonsense", "10.0.0.1"),
        ("192.0.2.1,", "10.0.0.1"),
        ("192.0.2.1, unknown", "10.0.0.1"),
        ("192.0.2.001", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_x_forwarded_for_is_walked_from_the_right(value: str, address: str) -> None:
    assert seen("10.0.0.1", ("X-Forwarded-For", value)) == address


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"),
        ('for="192.0.2.1:80"', "192.0.2.1"),
        ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ('FOR="[2001:db8:cafe::17]:_port"; host="a;b"', "2001:db8:cafe::17"),
        ('for="[2001:db8:cafe::17]"', "2001:db8:cafe::17"),
        ("for=203.0.113.9, for=192.0.2.1, for=10.0.0.2", "192.0.2.1"),
        ('for=", for=192.0.2.1', "192.0.2.1"),  # a quotation mark that the client left open
        ('for=", for="[2001:db8::7]:443"', "2001:db8::7"),
        ('for="192.0.2.1\\', "10.0.0.1"),
        ("for=2001:db8::7", "10.0.0.1"),  # not without quotation marks and brackets
        ('for="2001:db8::7"', "10.0.0.1"),
        ("for=192.0.2.1;for=192.0.2.2", "10.0.0.1"),
        ("for=_hidden", "10.0.0.1"),
        ("for=unknown", "10.0.0.1"),
        ("by=192.0.2.1", "10.0.0.1"),
        ("192.0.2.1", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(value: str, address: str) -> None:
    assert seen("10.0.0.1", ("Forwarded", value)) == address


def test_several_lines_of_a_header_are_one() -> None:
    lines = [("X-Forwarded-For", "203.0.113.9"), ("Host", "x"), ("X-Forwarded-For", "192.0.2.1, 10.0.0.2")]
    assert seen("10.0.0.1", *lines) == "192.0.2.1"


def test_two_headers_that_disagree_leave_the_address_unknown() -> None:
    x_forwarded_for = ("X-Forwarded-For", "192.0.2.1")
    assert seen("10.0.0.1", ("Forwarded", "for=10.1.1.1"), x_forwarded_for) is None
    assert seen("10.0.0.1", ("Forwarded", "nonsense"), x_forwarded_for) is None
    assert seen("10.0.0.1", ("Forwarded", "for=192.0.2.1"), x_forwarded_for) == "192.0.2.1"


def test_an_ipv4_address_inside_an_ipv6_one_is_what_it_is() -> None:
    assert seen("::ffff:10.0.0.1", ("X-Forwarded-For", "192.0.2.1")) == "192.0.2.1"
    assert read_network("::ffff:10.0.0.0/104") == read_network("10.0.0.0/8")


def test_a_peer_without_an_address_is_nobody() -> None:
    assert seen("", ("X-Forwarded-For", "192.0.2.1")) is None
    assert not Addresses.parse("0.0.0.0/0", "").admits({"headers": [], "client": None})


@trying(deadline=None)
@given(said=_LINES, client=_OUTSIDE)
def test_nothing_that_a_client_says_hides_where_a_proxy_saw_it(said: str, client: IPv4Address | IPv6Address) -> None:
    node = f'"[{client}]:443"' if isinstance(client, IPv6Address) else str(client)
    assert seen("10.0.0.1", ("X-Forwarded-For", f"{said}, {client}")) == str(client)
    assert seen("10.0.0.1", ("Forwarded", f"{said}, for={node};proto=https")) == str(client)


@trying(deadline=None)
@given(forwarded=_LINES, x_forwarded_for=_LINES)
def test_any_header_is_read_without_an_error(forwarded: str, x_forwarded_for: str) -> None:
    seen("10.0.0.1", ("Forwarded", forwarded), ("X-Forwarded-For", x_forwarded_for))


@pytest.mark.parametrize("value", ["10.0.0.1/8", "300.0.0.0/8", "nonsense", "10.0.0.0/8;::1"])
def test_a_setting_that_is_no_list_of_networks_is_told_by_its_name(value: str) -> None:
    for name in ("TOCSIN_ALLOWED_ADDRESSES", "TOCSIN_TRUSTED_PROXIES"):
        with pytest.raises(SettingsError, match=name):
            settings.read({name: value})


async def asked(app: Any, key: str, peer: str, path: str, body: Any, **headers: str) -> httpx.Response:
    """Call the application from this address."""
    transport = httpx.ASGITransport(app, client=(peer, 1234))
    named = {"X-API-Key": key, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with httpx.AsyncClient(transport=transport, base_url="http://tests") as client:
        return await client.post(path, json=body, headers=named)


_NO = {"code": 112, "message": "forbidden", "data": {"detail": "this address is not allowed"}}


async def test_an_address_that_is_not_allowed_is_refused_in_every_form(database_url: str) -> None:
    async with served(database_url, addresses=Addresses.parse("192.0.2.0/24", "")) as server:

        async def told(path: str, body: Any, **headers: str) -> tuple[int, Any]:
            answer = await asked(server.app, server.key, "198.51.100.7", path, body, **headers)
            return answer.status_code, answer.json()

        info = {"method": "info", "params": {}}
        assert await told("/api", info) == (200, {"error": _NO})
        assert await told("/api/info", {}) == (200, {"error": _NO})
        transport = await told("/api/info", {}, X_Centrifugo_Error_Mode="transport")
        assert transport == (403, {"code": 112, "message": "forbidden"})
        strict = {"jsonrpc": "2.0", "id": 7, "error": _NO}
        assert await told("/api", {"jsonrpc": "2.0", "id": 7, **info}) == (200, strict)
        assert await told("/api/batch", {"commands": [{"info": {}}]}) == (200, {"error": _NO})


async def test_an_address_is_refused_before_a_key_that_does_not_exist(database_url: str) -> None:
    async with served(database_url, addresses=Addresses.parse("192.0.2.0/24", "")) as server:
        from_outside = await asked(server.app, "nope", "198.51.100.7", "/api/info", {})
        from_inside = await asked(server.app, "nope", "192.0.2.7", "/api/info", {})
    assert (from_outside.json(), from_inside.status_code) == ({"error": _NO}, 401)


async def test_an_address_behind_a_trusted_proxy_is_the_one_that_counts(database_url: str) -> None:
    async with served(database_url, addresses=Addresses.parse("2001:db8::/32, 10.0.0.1", "10.0.0.0/8")) as server:

        async def code(peer: str, forwarded: str) -> int:
            answer = await asked(server.app, server.key, peer, "/api/info", {}, Forwarded=forwarded)
            return int(answer.json().get("error", {}).get("code", 0))

        assert await code("10.0.0.1", 'for="[2001:db8::1]:443"') == 0
        assert await code("10.0.0.1", 'for=10.0.0.1, for="[2001:db9::1]:443"') == 112
        assert await code("198.51.100.7", 'for="[2001:db8::1]:443"') == 112


async def test_a_key_may_be_used_from_its_own_addresses_only(database_url: str) -> None:
    async with served(database_url, addresses=Addresses.parse("", "10.0.0.0/8")) as server:
        bounds = KeyBounds(addresses=["192.0.2.0/24", "2001:db8::/32"])
        key = await api_keys.add(server.database, "office", bounds)

        async def error(key: str, peer: str, **headers: str) -> Any:
            answer = await asked(server.app, key, peer, "/api/batch", {"commands": []}, **headers)
            return answer.json().get("error")

        assert await error(server.key, "198.51.100.7") is None
        assert await error(key, "192.0.2.9") is None
        assert await error(key, "10.0.0.1", X_Forwarded_For="2001:db8::9") is None
        refused = await error(key, "198.51.100.7", X_Forwarded_For="192.0.2.9")
        assert refused["data"]["detail"] == "this API key may not be used from this address"


async def test_receipts_and_probes_come_from_any_address(database_url: str) -> None:
    async with served(database_url, addresses=Addresses.parse("192.0.2.0/24", "")) as server:
        answer = await asked(server.app, "", "198.51.100.7", "/receipts", {"status": "delivered", "receipt_token": "x"})
    assert answer.json()["error"]["code"] == 107


async def test_a_server_refuses_addresses_as_its_settings_say(ground: Path, database_url: str) -> None:
    networks = {"allowed_addresses": "192.0.2.0/24", "trusted_proxies": "127.0.0.1"}
    fixed = {"database_url": database_url, "api_key": "a-key-of-the-settings", "workers": "0", "emulators": "off"}
    async with running("serve", environment(ground / "data", **fixed, **networks)) as server:
        await server.ready()
        headers = {"X-API-Key": fixed["api_key"]}
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
            refused = await client.post("/api/info", json={})
            device_key = await client.post(
                "/api/device_key_create", json={"user": "ann"}, headers={"X-Forwarded-For": "192.0.2.1"}
            )
    assert refused.json() == {"error": _NO}
    assert device_key.json()["result"]["key"].startswith("dk_")
