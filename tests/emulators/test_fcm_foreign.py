"""httpx, requests and google-auth as foreign clients of the emulated FCM."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import google.auth.transport.requests
import httpx
import pytest
import requests
from google.oauth2 import service_account

from emulators.control import ConnectionsOrder
from emulators.faults import Goaway
from emulators.fcm import FcmEmulator

SEND = "/v1/projects/tocsin-emulator/messages:send"
SCOPES = ["https://www.googleapis.com/auth/firebase.messaging"]


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
async def client(fcm: FcmEmulator, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """Httpx over either version."""
    http2 = request.param == "HTTP/2"
    headers = {"authorization": f"Bearer {fcm.access_token()}"}
    tls = fcm.authority.client_context(("h2", "http/1.1") if http2 else ("http/1.1",))
    async with httpx.AsyncClient(http2=http2, verify=tls, base_url=fcm.url, headers=headers, trust_env=False) as made:
        probe = await made.post(SEND, json={"message": {"token": "probe"}})
        assert probe.http_version == request.param
        yield made


async def test_httpx_sends(client: httpx.AsyncClient) -> None:
    response = await client.post(SEND, json={"message": {"token": "abc"}})
    assert response.status_code == 200
    assert response.json()["name"].startswith("projects/tocsin-emulator/messages/")


async def test_httpx_sends_many_at_once(fcm: FcmEmulator, client: httpx.AsyncClient) -> None:
    async def send(number: int) -> int:
        return (await client.post(SEND, json={"message": {"token": f"t{number}"}})).status_code

    assert set(await asyncio.gather(*map(send, range(50)))) == {200}
    assert fcm.counters().duplicate_tokens == 0


async def test_httpx_reads_errors(fcm: FcmEmulator, client: httpx.AsyncClient) -> None:
    fcm.set_tokens({"abc": {"state": "unregistered"}})
    response = await client.post(SEND, json={"message": {"token": "abc"}})
    assert (response.status_code, response.json()["error"]["status"]) == (404, "NOT_FOUND")


async def test_httpx_survives_a_dropped_connection(fcm: FcmEmulator, client: httpx.AsyncClient) -> None:
    fcm.set_faults([{"match": {"count": 1}, "action": {"drop_after_body": True}}])
    with pytest.raises(httpx.TransportError):
        await client.post(SEND, json={"message": {"token": "abc"}})
    assert (await client.post(SEND, json={"message": {"token": "abc"}})).status_code == 200


async def test_httpx_comes_back_after_a_goaway(fcm: FcmEmulator, client: httpx.AsyncClient) -> None:
    # Between requests only: httpx fails the streams a GOAWAY still promises to answer.
    fcm.order_connections(ConnectionsOrder(goaway=Goaway(reason="max_age")))
    assert (await client.post(SEND, json={"message": {"token": "abc"}})).status_code == 200
    assert fcm.counters().connections_opened == 2


async def test_httpx_waits_for_a_delayed_answer(fcm: FcmEmulator, client: httpx.AsyncClient) -> None:
    fcm.set_faults([{"action": {"delay_ms": 20}}])
    assert (await client.post(SEND, json={"message": {"token": "abc"}})).status_code == 200


async def test_httpx_gives_up_on_a_stalled_answer(fcm: FcmEmulator, client: httpx.AsyncClient) -> None:
    fcm.set_faults([{"action": {"stall": True}}])
    with pytest.raises(httpx.ReadTimeout):
        await client.post(SEND, json={"message": {"token": "abc"}}, timeout=0.1)


async def test_a_continue_is_sent_to_who_waits_for_it(fcm: FcmEmulator) -> None:
    tls = fcm.authority.client_context(("http/1.1",))
    reader, writer = await asyncio.open_connection("127.0.0.1", fcm.port, ssl=tls)
    body = b'{"message":{"token":"abc"}}'
    head = f"POST {SEND} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {fcm.access_token()}\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.transport.abort()


async def test_broken_http_1_ends_the_connection(fcm: FcmEmulator) -> None:
    tls = fcm.authority.client_context(("http/1.1",))
    reader, writer = await asyncio.open_connection("127.0.0.1", fcm.port, ssl=tls)
    writer.write(b"nonsense\r\n\r\n")
    assert await reader.read() == b""
    writer.transport.abort()
    assert fcm.counters().protocol_errors == 1


async def test_google_auth_gets_a_token_with_the_ready_account(fcm: FcmEmulator, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(fcm.authority.ca_pem)
    credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        fcm.service_account(), scopes=SCOPES
    )
    with requests.Session() as session:
        session.verify = str(authority)
        session.trust_env = False  # an environment's own bundle would win over `verify`
        transport = google.auth.transport.requests.Request(session=session)
        await asyncio.to_thread(credentials.refresh, transport)
    headers = {"authorization": f"Bearer {credentials.token}"}
    tls = fcm.authority.client_context(("http/1.1",))
    async with httpx.AsyncClient(verify=tls, base_url=fcm.url, headers=headers, trust_env=False) as client:
        assert (await client.post(SEND, json={"message": {"token": "abc"}})).status_code == 200
