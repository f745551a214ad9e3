"""Half-closed connections: the service has sent FIN and reads on, or reads no more and still answers."""

from collections.abc import AsyncIterator

import httpx
import pytest

from emulators.apns import ApnsEmulator
from emulators.control import ConnectionsOrder
from emulators.fcm import FcmEmulator
from tests.emulators.wire import TOKEN, WireClient, authorization_for, connected

OTHER = "cd" * 32
SEND = "/v1/projects/tocsin-emulator/messages:send"


@pytest.fixture
async def http1(fcm: FcmEmulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of FCM that speaks HTTP/1.1."""
    headers = {"authorization": authorization_for(fcm)}
    tls = fcm.authority.client_context(["http/1.1"])
    async with httpx.AsyncClient(
        base_url=fcm.url, verify=tls, headers=headers, trust_env=False, timeout=10.0
    ) as client:
        yield client


async def test_a_service_that_ended_its_side_processes_and_says_nothing(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults([{"match": {"token_prefix": "ab"}, "action": {"end_sending": True}}])
    last, more = device.push(), device.push(OTHER)
    await device.until(lambda: device.lost)
    assert not device.responses[last].ended
    assert not device.responses[more].ended
    counters = apns.counters()
    assert (counters.accepted, counters.unanswered) == (3, {"end_sending": 2})
    assert device.goaways == []


async def test_answers_that_were_ready_come_before_the_end(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults([{"match": {"token_prefix": "ab"}, "action": {"end_sending": True}}])
    before = device.push(OTHER)
    device.push()
    await device.until(lambda: device.lost)
    assert device.responses[before].status == 200


async def test_a_service_that_reads_no_more_still_answers(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    slow = {"match": {"token_prefix": "cd"}, "action": {"delay_ms": 50}}
    apns.set_faults([slow, {"match": {"count": 1}, "action": {"stop_reading": True}}])
    first, last = device.push(OTHER), device.push()
    assert (await device.answer(last)).status == 200
    assert (await device.answer(first)).status == 200
    unread = device.push()
    async with connected(apns) as second:
        assert (await second.pushed(OTHER)).status == 200
    assert not device.responses[unread].ended
    assert not device.lost
    assert apns.counters().requests == 4


async def test_all_connections_can_be_half_closed(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    async with connected(apns) as other:
        await other.pushed()
        assert apns.order_connections(ConnectionsOrder(end_sending=True)) == 2
        await device.until(lambda: device.lost)
        await other.until(lambda: other.lost)
    async with connected(apns) as third:
        apns.order_connections(ConnectionsOrder(stop_reading=True))
        third.push()
        async with connected(apns) as fourth:
            assert (await fourth.pushed()).status == 200
        assert not third.lost
    assert apns.counters().requests == 3


async def test_over_http1_the_answer_is_lost_and_the_message_is_not(fcm: FcmEmulator, http1: httpx.AsyncClient) -> None:
    fcm.set_faults([{"match": {"count": 1}, "action": {"end_sending": True}}])
    with pytest.raises(httpx.RemoteProtocolError):
        await http1.post(SEND, json={"message": {"token": TOKEN}})
    assert (await http1.post(SEND, json={"message": {"token": TOKEN}})).status_code == 200
    assert fcm.counters().accepted == 2


async def test_over_http1_nothing_more_is_read(fcm: FcmEmulator, http1: httpx.AsyncClient) -> None:
    fcm.set_faults([{"match": {"count": 1}, "action": {"stop_reading": True}}])
    assert (await http1.post(SEND, json={"message": {"token": TOKEN}})).status_code == 200
    with pytest.raises(httpx.ReadTimeout):
        await http1.post(SEND, json={"message": {"token": TOKEN}}, timeout=0.1)
    assert fcm.counters().requests == 1
