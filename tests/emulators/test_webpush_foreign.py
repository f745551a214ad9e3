"""pywebpush and httpx as foreign clients of the emulated push service."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from pywebpush import WebPushException, webpush_async
from pywebpush import webpush as push

from emulators.control import ConnectionsOrder
from emulators.faults import Goaway
from emulators.webpush import WebpushEmulator
from emulators.webpush_errors import Service
from emulators.webpush_subscriptions import CreatedSubscription
from tests.emulators.pushing import PushSender, encrypted
from tests.emulators.wire import connected

Push = Callable[..., Any]


@pytest.fixture
def session(keys_folder: Path, webpush: WebpushEmulator) -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.verify = str(keys_folder / "ca.pem")
        made.trust_env = False  # an environment's own bundle would win over `verify`
        yield made


def pushed(emulator: WebpushEmulator, session: requests.Session, created: CreatedSubscription, **options: Any) -> Any:
    """Send with pywebpush; its answer."""
    pair = emulator.vapid_pair()
    return push(
        {"endpoint": created.subscription.endpoint, "keys": created.subscription.keys},
        json.dumps({"title": "Hello"}),
        vapid_private_key=pair.private_key,
        vapid_claims={"sub": pair.subject},
        requests_session=session,
        timeout=10,
        **options,
    )


async def test_pywebpush_is_taken_and_read(webpush: WebpushEmulator, session: requests.Session) -> None:
    [created] = webpush.subscribe(vapid_public_key=webpush.vapid_pair().public_key)
    headers = {"Urgency": "low", "Topic": "greeting"}
    response = await asyncio.to_thread(pushed, webpush, session, created, ttl=60, headers=headers)
    assert response.status_code == 201
    assert webpush.requests()[0].http_version == "1.1"
    [message] = webpush.messages(created.id)
    assert (message.payload, message.urgency, message.topic) == ({"title": "Hello"}, "low", "greeting")


async def test_pywebpush_reads_a_refusal(webpush: WebpushEmulator, session: requests.Session) -> None:
    [created] = webpush.subscribe()
    webpush.set_tokens({created.id: {"state": "gone"}})
    with pytest.raises(WebPushException) as refused:
        await asyncio.to_thread(pushed, webpush, session, created)
    assert refused.value.response.status_code == 410
    assert refused.value.response.json()["errno"] == 106


async def test_pywebpush_reads_how_long_to_wait(webpush: WebpushEmulator, session: requests.Session) -> None:
    webpush.set_faults([{"action": {"status": 429, "retry_after": 7}}])
    with pytest.raises(WebPushException) as refused:
        await asyncio.to_thread(pushed, webpush, session, webpush.subscribe()[0])
    assert refused.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("http2", [False, True])
async def test_httpx_sends_many_at_once(webpush: WebpushEmulator, http2: bool) -> None:
    alpn = ("h2", "http/1.1") if http2 else ("http/1.1",)
    tls = webpush.authority.client_context(alpn)
    created = webpush.subscribe(20, shared_keys=True)
    async with (
        connected(webpush, "") as wire,
        httpx.AsyncClient(http2=http2, verify=tls, trust_env=False) as client,
    ):
        authorization = PushSender(webpush, wire).authorization()
        headers = {"ttl": "60", "content-encoding": "aes128gcm", "authorization": authorization}

        async def send(each: CreatedSubscription) -> int:
            body = encrypted(b"hello", each)
            return (await client.post(each.subscription.endpoint, content=body, headers=headers)).status_code

        assert set(await asyncio.gather(*map(send, created))) == {201}
    assert {request.http_version for request in webpush.requests()} == {"2" if http2 else "1.1"}
    assert webpush.counters().undecryptable == 0


@pytest.mark.parametrize(
    ("service", "reason", "status", "said"),
    [
        ("mozilla", "202", 503, '"errno":202'),
        ("mozilla", "103", 410, '"errno":103'),
        ("mozilla", "902", 502, '"errno":902'),
        ("mozilla", "gone", 410, '"errno":106'),
        ("apple", "VapidPkHashMismatch", 400, '"VapidPkHashMismatch"'),
        ("apple", "unavailable", 503, '"ServiceUnavailable"'),
        ("wns", "throttled", 406, ""),
        ("fcm", "vapid_mismatch", 403, "vapid_mismatch"),
    ],
)
async def test_a_rule_names_a_refusal(keys_folder: Path, service: Service, reason: str, status: int, said: str) -> None:
    async with WebpushEmulator(service=service, data_dir=keys_folder) as emulator, connected(emulator, "") as client:
        emulator.set_faults([{"action": {"reason": reason}}])
        response = await PushSender(emulator, client).push(emulator.subscribe()[0])
        assert response.status == status
        assert said in response.body.decode()
        assert emulator.counters().accepted == 0


async def test_a_rule_with_an_unknown_reason_wants_a_status(webpush: WebpushEmulator) -> None:
    with pytest.raises(ValueError, match="status is needed"):
        webpush.set_faults([{"action": {"reason": "Bored"}}])
    webpush.set_faults([{"action": {"reason": "Bored", "status": 418}}])


async def test_the_faults_of_all_emulators_work_here(webpush: WebpushEmulator) -> None:
    created = webpush.subscribe(4, label="x") + webpush.subscribe(label="y")
    match = {"token_prefix": "x", "count": 1}
    actions: list[dict[str, Any]] = [
        {"status": 503, "retry_after": 3},
        {"rst_stream": "REFUSED_STREAM"},
        {"status": 202},
        {"html": True},
    ]
    webpush.set_faults([{"match": match, "action": action} for action in actions])
    async with connected(webpush, "") as client:
        sender = PushSender(webpush, client)
        answers = [await sender.push(each) for each in created]
        assert [answer.status for answer in answers] == [503, 0, 202, 502, 201]
        assert answers[0].headers["retry-after"] == "3"
        assert answers[2].headers["location"]
        webpush.order_connections(ConnectionsOrder(goaway=Goaway(reason="enough")))
        await client.until(lambda: client.goaways)
        assert client.goaways[0].additional_data == b"enough"
    counters = webpush.counters()
    assert (counters.accepted, counters.unanswered) == (2, {"rst_stream": 1})


async def test_what_a_dropped_connection_took_is_evident(webpush: WebpushEmulator) -> None:
    webpush.set_faults([{"match": {"count": 1}, "action": {"drop_after_body": True}}])
    [created] = webpush.subscribe()
    async with connected(webpush, "") as client:
        sender = PushSender(webpush, client)
        await sender.push(created)
        assert client.lost
    assert webpush.counters().unanswered == {"drop_after_body": 1}
    assert len(webpush.messages(created.id)) == 1


async def test_pywebpush_with_aiohttp_is_read_as_well(webpush: WebpushEmulator) -> None:
    [created] = webpush.subscribe()
    pair = webpush.vapid_pair()
    tls = webpush.authority.client_context(("http/1.1",))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        await webpush_async(
            {"endpoint": created.subscription.endpoint, "keys": created.subscription.keys},
            "hello",
            vapid_private_key=pair.private_key,
            vapid_claims={"sub": pair.subject},
            aiohttp_session=session,
        )
    assert webpush.requests()[0].payload == "hello"


async def test_a_rule_has_a_body_of_its_own(webpush: WebpushEmulator) -> None:
    webpush.set_faults([{"action": {"status": 410, "body": "NotRegistered"}}])
    async with connected(webpush, "") as client:
        response = await PushSender(webpush, client).push(webpush.subscribe()[0])
    assert (response.status, response.body) == (410, b"NotRegistered")


async def test_the_control_port_shows_what_became_of_subscriptions(webpush: WebpushEmulator) -> None:
    rules = [{"token_prefix": "old", "state": "gone"}]
    async with httpx.AsyncClient(base_url=webpush.control_url, trust_env=False) as control:
        assert (await control.post("/registry", json=rules)).json() == {"rules": 1}
        assert (await control.get("/registry")).json() == rules
