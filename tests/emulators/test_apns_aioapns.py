"""aioapns as a foreign client of the emulated APNs."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol

from emulators.apns import ApnsEmulator
from tests.emulators.wire import TOKEN

MESSAGE = {"aps": {"alert": "Grüße"}}


@pytest.fixture
async def client(apns: ApnsEmulator) -> AsyncIterator[Any]:
    """aioapns, told to trust the emulator and to connect to it."""
    key = apns.signing_key()

    class Protocol(APNsTLSClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = apns.port

    made = APNs(
        key=key.p8_pem,
        key_id=key.key_id,
        team_id=key.team_id,
        topic=key.bundle_id,
        max_connections=1,
        ssl_context=apns.authority.client_context(),
    )
    made.pool.protocol_class = Protocol
    yield made
    made.pool.close()


async def test_a_push_arrives_as_it_was_sent(apns: ApnsEmulator, client: Any) -> None:
    given = str(uuid.uuid4())
    request = NotificationRequest(TOKEN, MESSAGE, given, time_to_live=60, priority=5, push_type=PushType.BACKGROUND)
    result = await client.send_notification(request)
    assert (result.status, result.notification_id) == ("200", given)
    (recorded,) = apns.requests(TOKEN)
    assert recorded.payload == MESSAGE
    assert recorded.headers["apns-push-type"] == "background"
    assert recorded.message_id == given


async def test_many_pushes_all_arrive_once(apns: ApnsEmulator, client: Any) -> None:
    requests = [NotificationRequest(f"{number:08x}", MESSAGE) for number in range(100)]
    await client.send_notification(NotificationRequest(TOKEN, MESSAGE))
    results = await asyncio.gather(*map(client.send_notification, requests))
    assert {result.status for result in results} == {"200"}
    counters = apns.counters()
    assert (counters.accepted, counters.duplicate_tokens, counters.protocol_errors) == (101, 0, 0)


async def test_a_dead_token_comes_back_with_its_time(apns: ApnsEmulator, client: Any) -> None:
    apns.set_tokens({TOKEN: {"state": "unregistered", "timestamp_ms": 1700000000123}})
    result = await client.send_notification(NotificationRequest(TOKEN, MESSAGE))
    assert (result.status, result.description, result.timestamp) == ("410", "Unregistered", 1700000000123)


async def test_a_refusal_comes_back_with_its_reason(client: Any) -> None:
    result = await client.send_notification(NotificationRequest("not-hex", MESSAGE))
    assert (result.status, result.description) == ("400", "BadDeviceToken")
