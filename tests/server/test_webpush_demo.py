"""`tocsin serve --demo`: who is answered under `/demo/`, what the page is given, and what it can do with that."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from delivery.providers.credentials import parse_credential
from delivery.providers.webpush_vapid import generate_pair
from server.data_directory import DataDirectory
from server.demo_start import PROVIDER_ID, check_host, put_credential
from server.settings import Settings, SettingsError
from server.webpush_demo import USER
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.contract.serving import Served, in_process, served
from tests.methods.device_calls import subscription
from tests.methods.push_calls import planned
from tests.server.running import environment, running

_SECRET = "a secret key of the tests, 32 b."
_SETTINGS = Settings(secret_key=_SECRET)
_ELSEWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def demo(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    """A server with the demonstration and its credential."""
    async with served(database_url, demo=True) as server:
        await put_credential(server.database, _SETTINGS, DataDirectory(tmp_path / "data"))
        yield server


@pytest.fixture
async def browser(demo: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A browser on the server's machine."""
    async with in_process(demo.app) as client:
        yield client


async def _config(browser: httpx.AsyncClient, device: str = "") -> dict[str, Any]:
    answer = await browser.get("/demo/config.json", params={"device": device})
    found: dict[str, Any] = answer.json()["result"]
    return found


async def _called(browser: httpx.AsyncClient, key: str, path: str, params: object) -> dict[str, Any]:
    answer = await browser.post(path, headers={"X-API-Key": key}, json=params)
    found: dict[str, Any] = answer.json()
    return found


async def _registered(browser: httpx.AsyncClient, endpoint: str, **changes: object) -> dict[str, Any]:
    """Register as the page does; the configuration that it did it with."""
    config = await _config(browser)
    token = subscription(f"https://fcm.googleapis.com/fcm/send/{endpoint}")
    device = {"provider": "webpush", "provider_id": PROVIDER_ID, "platform": "web", "token": token}
    answer = await _called(browser, config["key"], "/api/device_register", device | changes)
    assert "error" not in answer, answer
    return config


def _code(answer: dict[str, Any]) -> int:
    return int(answer["error"]["code"])


@pytest.mark.parametrize("path", ["/demo", "/demo/", "/demo/config.json", "/demo/push"])
async def test_without_the_option_there_is_no_demo(database_url: str, path: str) -> None:
    async with served(database_url) as server, in_process(server.app) as client:
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "text/html"),
        ("style.css", "text/css"),
        ("app.js", "text/javascript"),
        ("registration.js", "text/javascript"),
        ("sw.js", "text/javascript"),
    ],
)
async def test_the_page_and_its_parts_run_nothing_from_elsewhere(
    browser: httpx.AsyncClient, name: str, kind: str
) -> None:
    answer = await browser.get(f"/demo/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in answer.text.replace("http://localhost", "")
    assert "https://" not in answer.text


@pytest.mark.parametrize("path", ["/demo/README.md", "/demo/nothing", "/demo/../pyproject.toml", "/demo/%2e%2e/x"])
async def test_nothing_else_is_served(browser: httpx.AsyncClient, path: str) -> None:
    assert (await browser.get(path)).status_code == 404


async def test_without_a_slash_the_page_is_found(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/demo")).headers["location"] == "/demo/"


@pytest.mark.parametrize("path", ["/demo/", "/demo/config.json"])
@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("192.0.2.7", {}),
        ("127.0.0.1", {"Host": "rebound.example:8000"}),
        ("127.0.0.1", {"Host": "[oops"}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}),
    ],
)
async def test_only_this_machine_is_answered(demo: Served, path: str, peer: str, headers: dict[str, str]) -> None:
    transport = httpx.ASGITransport(demo.app, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get(path, headers=headers)
    assert answer.status_code == 403
    assert "dk_" not in answer.text


@pytest.mark.parametrize(("peer", "host"), [("127.0.0.1", "localhost:8000"), ("::1", "[::1]:8000")])
async def test_this_machine_is_answered_by_each_of_its_names(demo: Served, peer: str, host: str) -> None:
    transport = httpx.ASGITransport(demo.app, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/demo/config.json", headers={"Host": host})).status_code == 200


async def test_without_a_credential_the_page_is_told_what_to_do(database_url: str) -> None:
    async with served(database_url, demo=True) as server, in_process(server.app) as client:
        answer = (await client.get("/demo/config.json")).json()
    assert _code(answer) == 108
    assert "serve --demo" in answer["error"]["data"]["detail"]


async def test_the_key_is_for_one_device_and_its_methods(browser: httpx.AsyncClient) -> None:
    config = await _registered(browser, "one")
    key = config["key"]
    other = {"provider": "webpush", "provider_id": PROVIDER_ID, "token": subscription(), "id": _ELSEWHERE}
    refused = [
        await _called(browser, key, "/api/device_register", other),
        await _called(browser, key, "/api/device_register", {"provider": "fcm", "token": "t"}),
        await _called(browser, key, "/api/device_remove", {"ids": [_ELSEWHERE]}),
        await _called(browser, key, "/api/device_list", {}),
        await _called(browser, key, "/api/device_key_create", {"user": "ann"}),
        await _called(browser, key, "/api/send_push_notification", {}),
        await _called(browser, key, "/api/push_status", {"uid": "u"}),
    ]
    assert [_code(answer) for answer in refused] == [112] * 7


async def test_a_page_that_comes_again_has_the_device_that_it_had(browser: httpx.AsyncClient) -> None:
    config = await _registered(browser, "one")
    assert (await _config(browser, config["device_id"]))["device_id"] == config["device_id"]


async def test_no_page_gets_the_device_of_somebody_else(demo: Served, browser: httpx.AsyncClient) -> None:
    params = {"provider": "fcm", "platform": "android", "token": "t", "user": "ann"}
    device = (await _called(browser, demo.key, "/api/device_register", params))["result"]["id"]
    assert (await _config(browser, device))["device_id"] != device
    assert (await _config(browser, "not-an-id"))["device_id"] != "not-an-id"


async def test_a_push_goes_to_the_page_that_asked_for_it(demo: Served, browser: httpx.AsyncClient) -> None:
    first, _ = await _registered(browser, "one"), await _registered(browser, "two")
    answer = await _called(browser, first["key"], "/demo/push", {"title": "Hello", "body": "you"})
    uid = answer["result"]["uid"]
    tokens = await planned(demo.database)
    assert ["/one" in token for token in tokens] == [True]
    status = await browser.get(f"/demo/push/{uid}", headers={"X-API-Key": first["key"]})
    assert status.json()["result"]["ledger"]["planned"] == 1


async def test_a_page_sees_its_own_pushes_only(browser: httpx.AsyncClient) -> None:
    first, second = await _registered(browser, "one"), await _registered(browser, "two")
    uid = (await _called(browser, first["key"], "/demo/push", {"title": "Hello"}))["result"]["uid"]
    answer = await browser.get(f"/demo/push/{uid}", headers={"X-API-Key": second["key"]})
    assert _code(answer.json()) == 104


@pytest.mark.parametrize("body", [{}, {"title": " "}, {"title": "a", "users": ["ann"]}, {"title": "a" * 20_000}, []])
async def test_a_malformed_push_is_refused(browser: httpx.AsyncClient, body: object) -> None:
    config = await _registered(browser, "one")
    assert _code(await _called(browser, config["key"], "/demo/push", body)) == 107


async def test_without_the_key_of_a_page_nothing_is_sent(demo: Served, browser: httpx.AsyncClient) -> None:
    params = {"user": USER}
    any_device = (await _called(browser, demo.key, "/api/device_key_create", params))["result"]["key"]
    other = await _called(browser, demo.key, "/api/device_key_create", {"user": "ann", "device_id": _ELSEWHERE})
    for key in ("", "dk_nonsense", demo.key, any_device, other["result"]["key"]):
        assert _code(await _called(browser, key, "/demo/push", {"title": "Hello"})) == 112
        assert _code((await browser.get("/demo/push/u", headers={"X-API-Key": key})).json()) == 112


def _real() -> dict[str, object]:
    _, private_key = generate_pair()
    return {"provider_id": "web", "provider": "webpush", "private_key": private_key, "subject": "mailto:a@example.com"}


async def test_a_credential_of_the_operator_is_the_one_that_is_used(
    demo: Served, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    new = parse_credential(_real())
    await credentials.put(demo.database, Vault(_SECRET.encode()), new)
    await put_credential(demo.database, _SETTINGS, DataDirectory(tmp_path / "data"))
    assert (await _config(browser))["provider_id"] == "web"
    assert [row.provider_id for row in await credentials.listed(demo.database)] == ["web"]


async def test_the_next_start_has_the_same_key_and_the_emulators_stay(database: Database, tmp_path: Path) -> None:
    data, vault = DataDirectory(tmp_path / "data"), Vault(_SECRET.encode())
    emulated = parse_credential(_real() | {"provider_id": "emulator-webpush"})
    assert await credentials.put_emulator(database, vault, emulated)
    keys = set()
    for _ in range(2):
        await put_credential(database, _SETTINGS, data)
        keys |= {row.settings for row in await credentials.listed(database) if row.provider_id == PROVIDER_ID}
    assert len(keys) == 1
    assert not await credentials.has_real(database)
    assert [row.provider_id for row in await credentials.listed(database) if row.is_default] == ["emulator-webpush"]
    assert data.open_files() == []


async def test_a_name_that_is_taken_stops_the_start(database: Database, tmp_path: Path) -> None:
    taken = {"provider_id": PROVIDER_ID, "provider": "webhook", "url": "https://example.com/", "secret": "s" * 16}
    await credentials.put(database, Vault(_SECRET.encode()), parse_credential(taken))
    with pytest.raises(SettingsError, match="provider_remove"):
        await put_credential(database, _SETTINGS, DataDirectory(tmp_path / "data"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"])
def test_a_browser_on_this_machine_can_reach_these(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize("host", ["192.0.2.7", "push.example.com"])
def test_where_no_browser_on_this_machine_can_come_there_is_no_demo(host: str) -> None:
    with pytest.raises(SettingsError, match="TOCSIN_HOST"):
        check_host(host)


async def test_the_server_says_where_the_page_is(ground: Path, database_url: str) -> None:
    environ = environment(ground / "data", database_url=database_url, workers="0", emulators="off")
    async with running("serve --demo", environ) as server:
        await server.ready()
        page = f"{server.url}/demo/"
        assert page in server.greeting
        async with httpx.AsyncClient() as client:
            assert "<title>Tocsin: Web Push</title>" in (await client.get(page)).text
            assert (await client.get(f"{page}config.json")).json()["result"]["provider_id"] == PROVIDER_ID
        assert await server.stop() == 0
