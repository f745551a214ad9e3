"""A service whose clock is off: what it then thinks of provider tokens, assertions and access tokens."""

import time
from collections.abc import AsyncIterator

import httpx
import pytest

from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from tests.emulators.test_oauth_endpoint import exchange
from tests.emulators.wire import TOKEN, WireClient, provider_token

SEND = "/v1/projects/tocsin-emulator/messages:send"
HOURS = 7200.0


@pytest.fixture
async def control(apns: ApnsEmulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=apns.control_url, trust_env=False) as client:
        yield client


async def test_the_clock_is_set_shown_and_reset(apns: ApnsEmulator, control: httpx.AsyncClient) -> None:
    said = (await control.post("/clock", json={"offset_seconds": HOURS})).json()
    assert said["offset_seconds"] == apns.clock_offset == HOURS
    shown = (await control.get("/clock")).json()
    assert said["now"] <= shown["now"] <= time.time() + HOURS
    await control.post("/reset")
    assert (await control.get("/clock")).json()["offset_seconds"] == 0


@pytest.mark.parametrize("body", [{"offset_seconds": "2h"}, {"offset": 1}, {"offset_seconds": 1e12}])
async def test_a_senseless_clock_is_told(control: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await control.post("/clock", json=body)).status_code == 400


async def test_to_an_apns_ahead_a_new_provider_token_is_expired(apns: ApnsEmulator, device: WireClient) -> None:
    apns.clock_offset = HOURS
    assert (await device.pushed()).reason == "ExpiredProviderToken"
    apns.clock_offset = 0.0
    assert (await device.pushed()).status == 200


async def test_to_an_apns_behind_a_new_provider_token_is_invalid(apns: ApnsEmulator, device: WireClient) -> None:
    apns.clock_offset = -HOURS
    assert (await device.pushed()).reason == "InvalidProviderToken"


async def test_a_jump_gives_no_leave_for_another_provider_token(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.clock_offset = 1800.0
    another = provider_token(apns.signing_key(), age_seconds=5)
    assert (await device.pushed(authorization=another)).reason == "TooManyProviderTokenUpdates"


async def test_a_token_dies_by_the_clock_of_apns(apns: ApnsEmulator, device: WireClient) -> None:
    apns.clock_offset = HOURS
    apns.set_tokens({TOKEN: {"state": "unregistered"}})
    apns.clock_offset = 0.0
    died_at = (await device.pushed()).json["timestamp"] / 1000
    assert died_at > time.time() + HOURS - 60


async def test_a_jump_ends_the_access_tokens(fcm: FcmEmulator, sender: WireClient) -> None:
    message = b'{"message":{"token":"abc"}}'
    assert (await sender.request(SEND, message)).status == 200
    fcm.clock_offset = HOURS
    assert (await sender.request(SEND, message)).status == 401


@pytest.mark.parametrize("offset", [HOURS, -HOURS])
async def test_an_assertion_of_another_time_is_denied(fcm: FcmEmulator, sender: WireClient, offset: float) -> None:
    fcm.clock_offset = offset
    assert (await exchange(fcm, sender)).json["error"] == "invalid_grant"
    fcm.reset()
    assert (await exchange(fcm, sender)).status == 200
