"""The emulated FCM as a peer: streams, PINGs, and connections that grow idle or old."""

from pathlib import Path

from h2.errors import ErrorCodes

from emulators.fcm import FcmEmulator
from tests.emulators.wire import WireClient, connected


async def test_a_connection_has_100_streams(sender: WireClient) -> None:
    assert sender.stream_limits == [100]


async def test_too_many_pings_end_the_connection(sender: WireClient) -> None:
    for number in range(4):
        sender.h2.ping(str(number).encode() * 8)
        sender.flush()
    await sender.until(lambda: sender.lost)
    goaway = sender.goaways[0]
    assert (goaway.error_code, goaway.additional_data) == (ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings")


async def test_pings_between_requests_are_fine(sender: WireClient) -> None:
    for number in range(6):
        sender.h2.ping(str(number).encode() * 8)
        sender.flush()
        assert (await sender.request("/nowhere")).status == 404
    assert sender.pongs == 6


async def test_an_idle_connection_is_closed(keys_folder: Path) -> None:
    async with FcmEmulator(data_dir=keys_folder, idle_timeout=0.05) as fcm, connected(fcm) as client:
        await client.until(lambda: client.lost)
        goaway = client.goaways[0]
        assert (goaway.error_code, goaway.additional_data) == (ErrorCodes.NO_ERROR, b"session_timeout")


async def test_an_old_connection_is_closed_when_its_streams_are_done(keys_folder: Path) -> None:
    async with FcmEmulator(data_dir=keys_folder, max_age=0.1) as fcm, connected(fcm) as client:
        fcm.set_faults([{"match": {"path_prefix": "/"}, "action": {"delay_ms": 300}}])
        response = await client.request("/nowhere")
        assert response.status == 404
        await client.until(lambda: client.lost)
        assert client.goaways[0].additional_data == b"max_age"
