"""The emulated APNs as a peer: streams, SETTINGS, flow control, and clients that break the rules."""

import asyncio
import ssl

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from emulators.apns import ApnsEmulator
from tests.emulators.wire import TOKEN, WireClient, connected

HELD = [{"match": {"token_prefix": "ff"}, "action": {"stall": True}}]


async def test_a_connection_begins_with_one_stream(device: WireClient) -> None:
    assert device.stream_limits == [1]


async def test_the_first_valid_token_raises_the_limit(device: WireClient) -> None:
    await device.pushed()
    assert device.stream_limits == [1, 1000]


async def test_a_refused_token_does_not_raise_the_limit(device: WireClient) -> None:
    await device.pushed(authorization="bearer nonsense")
    await device.pushed(authorization="bearer nonsense")
    assert device.stream_limits == [1]


async def test_both_limits_can_be_set() -> None:
    async with ApnsEmulator(initial_streams=2, max_streams_after_first=7) as apns, connected(apns) as client:
        await client.pushed()
        assert client.stream_limits == [2, 7]


async def test_a_stream_too_many_is_refused_and_the_connection_lives(apns: ApnsEmulator, device: WireClient) -> None:
    first = device.send(f"/3/device/{TOKEN}", b"{", end=False, apns_topic="com.example.tocsin")
    device.ignore_stream_limit()
    refused = await device.pushed()
    device.h2.send_data(first, b"}", end_stream=True)
    device.flush()
    assert refused.reset == ErrorCodes.REFUSED_STREAM
    assert (await device.answer(first)).status == 200
    assert (await device.pushed()).status == 200


async def test_a_client_that_ignores_an_acknowledged_limit_is_told_apart(
    apns: ApnsEmulator, device: WireClient
) -> None:
    await device.pushed()
    apns.set_faults([{"action": {"shrink_settings": {"max_concurrent_streams": 1}, "stall": True}}])
    device.push()
    await device.until(lambda: device.stream_limits == [1, 1000, 1])
    device.ignore_stream_limit()
    assert (await device.pushed()).reset == ErrorCodes.REFUSED_STREAM
    counters = apns.counters()
    assert (counters.refused_streams, counters.streams_over_limit) == (1, 1)


async def test_many_streams_are_answered_at_once(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    streams = [device.push(f"{number:08x}", b"{}") for number in range(300)]
    responses = [await device.answer(stream_id) for stream_id in streams]
    assert {response.status for response in responses} == {200}
    assert apns.counters().accepted == 301
    assert apns.counters().peak_streams <= 300


async def test_the_peak_of_open_streams_is_counted(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults(HELD)
    for _ in range(5):
        device.push("ff")
    await device.pushed("aa")
    assert apns.counters().peak_streams == 6


async def test_the_window_opens_again_for_a_client_that_honours_it(device: WireClient) -> None:
    await device.pushed()
    for _ in range(40):
        assert (await device.pushed(body=b"x" * 4096)).status == 200
    assert device.window_updates > 0


async def test_a_late_window_update_comes_in_the_end() -> None:
    async with ApnsEmulator(window_update_delay=0.05) as apns, connected(apns) as client:
        await client.pushed()
        while client.h2.outbound_flow_control_window >= 4096:
            await client.pushed(body=b"x" * 4096)
        await client.until(lambda: client.h2.outbound_flow_control_window >= 4096)
        assert (await client.pushed(body=b"x" * 4096)).status == 200


async def test_a_client_that_ignores_the_window_breaks_the_connection(apns: ApnsEmulator) -> None:
    async with ApnsEmulator(window_update_delay=60) as slow, connected(slow) as client:
        await client.pushed()
        client.h2.outbound_flow_control_window = 10**6
        for _ in range(20):
            client.push(body=b"x" * 4096)
        await client.until(lambda: client.lost)
        assert client.goaways[0].error_code == ErrorCodes.FLOW_CONTROL_ERROR
        assert slow.counters().protocol_errors == 1
        assert "FlowControlError" in slow.counters().newest_protocol_errors[0]


async def test_error_bodies_wait_for_the_clients_window(apns: ApnsEmulator, device: WireClient) -> None:
    device.h2.update_settings({4: 5})  # INITIAL_WINDOW_SIZE
    device.flush()
    response = await device.pushed("xyz")
    assert response.reason == "BadDeviceToken"
    assert max(len(frame) for frame in response.frames) <= 5


async def test_a_client_may_reset_its_stream(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults(HELD)
    stream_id = device.push("ff")
    device.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
    device.flush()
    assert (await device.pushed("aa")).status == 200
    assert apns.counters().resets_received == 1


async def test_a_reset_in_the_same_bytes_as_its_request_is_no_harm(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    device.flush()
    stream_id = device.h2.get_next_available_stream_id()
    fields = [(":method", "POST"), (":scheme", "https"), (":path", "/3/device/ff"), (":authority", "x")]
    device.h2.send_headers(stream_id, fields, end_stream=True)
    device.h2.reset_stream(stream_id)
    device.flush()
    assert (await device.pushed("aa")).status == 200


async def test_a_ping_is_answered_and_counted(apns: ApnsEmulator, device: WireClient) -> None:
    device.h2.ping(b"12345678")
    device.flush()
    await device.until(lambda: device.pongs == 1)
    assert apns.counters().pings_received == 1


async def test_a_client_that_says_goodbye_still_gets_its_answers(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults([{"action": {"delay_ms": 20}}])
    stream_id = device.push()
    device.transport.write(GoAwayFrame(0).serialize())
    assert (await device.answer(stream_id)).status == 200
    await device.until(lambda: device.lost)
    assert apns.counters().goaways_received == 1


async def test_a_protocol_error_ends_the_connection_with_goaway(apns: ApnsEmulator, device: WireClient) -> None:
    device.transport.write(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # WINDOW_UPDATE by nothing
    await device.until(lambda: device.lost)
    assert device.goaways[0].error_code == ErrorCodes.PROTOCOL_ERROR
    assert apns.counters().protocol_errors == 1


async def test_a_client_without_alpn_is_accepted(apns: ApnsEmulator) -> None:
    tls = ssl.create_default_context(cadata=apns.authority.ca_pem)
    async with connected(apns, tls=tls) as client:
        assert (await client.pushed()).status == 200


async def test_http_1_is_dropped(apns: ApnsEmulator) -> None:
    tls = ssl.create_default_context(cadata=apns.authority.ca_pem)
    reader, writer = await asyncio.open_connection("127.0.0.1", apns.port, ssl=tls)
    writer.write(b"POST /3/device/ab HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}")
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"HTTP/1.1" not in received


async def test_connections_are_counted(apns: ApnsEmulator, device: WireClient) -> None:
    async with connected(apns) as second:
        await second.pushed()
        assert (apns.counters().connections_opened, apns.counters().connections_open) == (2, 2)


async def test_stopping_drops_every_connection(apns: ApnsEmulator, device: WireClient) -> None:
    await apns.stop()
    await device.until(lambda: device.lost)
    assert apns.counters().connections_open == 0


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
async def test_the_certificate_is_good_for_every_loopback_name(apns: ApnsEmulator, name: str) -> None:
    tls = apns.authority.client_context()
    _, writer = await asyncio.open_connection("127.0.0.1", apns.port, ssl=tls, server_hostname=name)
    writer.transport.abort()
