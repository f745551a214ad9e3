"""The control port of an emulator, spoken to with httpx."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from emulators.apns import ApnsEmulator
from emulators.counters import MAX_RING_BYTES, Journal
from emulators.exchange import PUSH, Request
from tests.emulators.wire import TOKEN, WireClient


@pytest.fixture
async def control(apns: ApnsEmulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=apns.control_url, trust_env=False) as client:
        yield client


async def test_the_root_describes_the_emulator(apns: ApnsEmulator, control: httpx.AsyncClient) -> None:
    described = (await control.get("/")).json()
    assert (described["kind"], described["url"], described["ca_pem"]) == ("apns", apns.url, apns.authority.ca_pem)


async def test_counters_count(control: httpx.AsyncClient, device: WireClient) -> None:
    await device.pushed()
    await device.pushed("xyz")
    counters = (await control.get("/counters")).json()
    assert counters["requests"] == 2
    assert counters["by_status"] == {"200": 1, "400": 1}
    assert counters["by_reason"] == {"BadDeviceToken": 1}
    assert (counters["connections_opened"], counters["distinct_provider_tokens"]) == (1, 1)


async def test_requests_come_newest_first(control: httpx.AsyncClient, device: WireClient) -> None:
    for token in ("aa", "bb", "aa"):
        await device.pushed(token, body=b'{"aps":{"alert":"%s"}}' % token.encode())
    everything = (await control.get("/requests")).json()
    assert [request["token"] for request in everything] == ["aa", "bb", "aa"]
    assert everything[1]["payload"] == {"aps": {"alert": "bb"}}
    assert len((await control.get("/requests", params={"token": "aa", "limit": 1})).json()) == 1


async def test_a_request_shows_no_whole_credential(control: httpx.AsyncClient, device: WireClient) -> None:
    await device.pushed()
    assert device.authorization not in (await control.get("/requests")).text


async def test_arrivals_show_duplicates(control: httpx.AsyncClient, device: WireClient) -> None:
    for token in ("aa", "bb", "aa"):
        await device.pushed(token)
    arrivals = (await control.get("/arrivals")).json()
    assert arrivals["tokens"] == {"aa": {"arrived": 2, "accepted": 2}, "bb": {"arrived": 1, "accepted": 1}}
    assert list((await control.get("/arrivals", params={"duplicates": "1"})).json()["tokens"]) == ["aa"]


async def test_faults_are_set_shown_and_added_to(control: httpx.AsyncClient, device: WireClient) -> None:
    rule = {"match": {"token_prefix": "ab"}, "action": {"reason": "Unregistered"}}
    assert (await control.post("/faults", json=[rule])).json() == {"rules": 1}
    assert (await device.pushed()).status == 410
    assert (await control.post("/faults?append=1", json=[rule])).json() == {"rules": 2}
    shown = (await control.get("/faults")).json()
    assert shown[0] == {**rule, "matched": 1, "hits": 1}


async def test_tokens_are_set(control: httpx.AsyncClient, device: WireClient) -> None:
    body = {TOKEN: {"state": "unregistered", "timestamp_ms": 5}}
    assert (await control.post("/tokens", json=body)).json() == {"tokens": 1}
    assert (await device.pushed()).json == {"reason": "Unregistered", "timestamp": 5}


async def test_a_reset_forgets_everything(control: httpx.AsyncClient, device: WireClient) -> None:
    await control.post("/tokens", json={TOKEN: {"state": "unregistered"}})
    await control.post("/faults", json=[{"match": {"token_prefix": "cd"}, "action": {"status": 500}}])
    await device.pushed()
    await control.post("/reset")
    counters = (await control.get("/counters")).json()
    assert (counters["requests"], counters["connections_open"]) == (0, 1)
    assert (await control.get("/requests")).json() == []
    assert (await control.get("/faults")).json() == []
    assert (await device.pushed()).status == 200


async def test_connections_are_ordered_about(control: httpx.AsyncClient, device: WireClient) -> None:
    order = {"ping": True, "shrink_settings": {"max_concurrent_streams": 9}}
    assert (await control.post("/connections", json=order)).json() == {"connections": 1}
    await device.until(lambda: device.pings == 1 and device.stream_limits[-1] == 9)
    await control.post("/connections", json={"goaway": {"reason": "Shutdown"}})
    await device.until(lambda: device.lost)
    assert device.goaways[0].additional_data == b'{"reason":"Shutdown"}'


async def test_connections_can_be_dropped(control: httpx.AsyncClient, device: WireClient) -> None:
    await control.post("/connections", json={"drop": True})
    await device.until(lambda: device.lost)
    assert device.goaways == []


BAD: list[tuple[str, Any, str]] = [
    ("/faults", [{"action": {"statuss": 1}}], "statuss"),
    ("/faults", {"action": {}}, "Expected `array`"),
    ("/faults", [{"action": {"reason": "Bored"}}], "Bored"),
    ("/tokens", {"ab": {"state": "undead"}}, "undead"),
    ("/connections", {"explode": True}, "explode"),
]


@pytest.mark.parametrize(("path", "body", "word"), BAD)
async def test_what_is_not_understood_is_told(control: httpx.AsyncClient, path: str, body: Any, word: str) -> None:
    response = await control.post(path, json=body)
    assert response.status_code == 400
    assert word in response.json()["error"]


async def test_a_bad_limit_is_told(control: httpx.AsyncClient) -> None:
    assert (await control.get("/requests?limit=many")).status_code == 400


async def test_unknown_paths_and_methods(control: httpx.AsyncClient) -> None:
    assert (await control.get("/nowhere")).status_code == 404
    assert (await control.get("/reset")).status_code == 405


def arrive(journal: Journal, token: str, body: bytes = b"") -> None:
    request = Request(
        connection_id=1,
        stream_id=1,
        http_version="2",
        method="POST",
        path="/",
        headers={},
        repeated=frozenset(),
        body=body,
        body_length=len(body),
        received_at=0.0,
        kind=PUSH,
        token=token,
    )
    journal.record(request, 200, "", accepted=True)


def test_the_journal_is_bounded() -> None:
    journal = Journal(ring_size=3, arrivals_limit=2)
    for token in "aabcd":
        arrive(journal, token)
    assert [request.token for request in journal.requests()] == ["d", "c", "b"]
    arrivals = journal.arrivals()
    assert (list(arrivals.tokens), arrivals.untracked) == (["a", "b"], 2)
    assert journal.counters().duplicate_tokens == 1


def test_large_bodies_push_old_requests_out() -> None:
    journal = Journal()
    body = bytes(MAX_RING_BYTES // 4)
    for number in range(6):
        arrive(journal, str(number), body)
    assert [request.token for request in journal.requests()] == ["5", "4", "3", "2"]
