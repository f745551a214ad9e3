"""Device tokens by owner: what a credential of the wrong environment, app or project is told."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from tests.emulators.wire import TOKEN, WireClient

OTHER = "cd" * 32
SEND = "/v1/projects/tocsin-emulator/messages:send"


@pytest.fixture
async def control(apns: ApnsEmulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=apns.control_url, trust_env=False) as client:
        yield client


async def sent(client: WireClient, token: str) -> tuple[int, str]:
    """Send to a registration of FCM: the status, and FCM's own word for a refusal."""
    response = await client.request(SEND, b'{"message":{"token":"%s"}}' % token.encode())
    details = response.json.get("error", {}).get("details", [])
    return response.status, "".join(detail.get("errorCode", "") for detail in details)


async def test_tokens_of_the_other_environment_are_bad(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_registry([{"token_prefix": "AB", "environment": "sandbox"}])
    assert (await device.pushed()).reason == "BadDeviceToken"
    assert (await device.pushed(OTHER)).status == 200


async def test_tokens_of_another_app_are_not_for_the_topic(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_registry([{"token_prefix": "ab", "topics": ["com.example.other"]}, {"token_prefix": ""}])
    assert (await device.pushed()).reason == "DeviceTokenNotForTopic"
    assert (await device.pushed(apns_topic="com.example.other.voip", apns_push_type="voip")).status == 200
    assert (await device.pushed(OTHER)).status == 200


async def test_what_is_said_of_a_token_goes_before_its_prefix(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_registry([{"token_prefix": "", "environment": "sandbox", "topics": ["com.example.other"]}])
    apns.set_tokens({TOKEN: {"environment": "production", "topics": ["com.example.tocsin"]}})
    assert (await device.pushed()).status == 200
    apns.set_tokens({OTHER: {"state": "unregistered"}})
    assert (await device.pushed(OTHER)).reason == "BadDeviceToken"


async def test_only_its_projects_may_send_to_a_registration(fcm: FcmEmulator, sender: WireClient) -> None:
    fcm.set_registry([{"token_prefix": "theirs", "projects": ["another"]}])
    assert await sent(sender, "theirs-1") == (403, "SENDER_ID_MISMATCH")
    assert await sent(sender, "ours-1") == (200, "")
    fcm.set_tokens({"theirs-1": {"projects": ["tocsin-emulator"]}, "ours-1": {"projects": []}})
    assert await sent(sender, "theirs-1") == (200, "")
    assert await sent(sender, "ours-1") == (403, "SENDER_ID_MISMATCH")


async def test_the_registry_is_set_and_shown_over_the_control_port(
    control: httpx.AsyncClient, device: WireClient
) -> None:
    rule = {"token_prefix": "ab", "environment": "sandbox"}
    assert (await control.post("/registry", json=[rule])).json() == {"rules": 1}
    assert (await control.get("/registry")).json() == [rule]
    assert (await device.pushed()).reason == "BadDeviceToken"
    await control.post("/reset")
    assert (await control.get("/registry")).json() == []
    assert (await device.pushed()).status == 200


async def test_a_wrong_rule_is_told(apns: ApnsEmulator, fcm: FcmEmulator) -> None:
    with pytest.raises(msgspec.ValidationError, match="environment"):
        apns.set_registry([{"token_prefix": "ab", "environment": "testing"}])
    with pytest.raises(msgspec.ValidationError, match="projects"):
        fcm.set_registry([{"token_prefix": "ab"}])
    for emulator in (apns, fcm):
        with pytest.raises(ValueError, match="at most 1000"):
            emulator.set_registry(
                [{"token_prefix": "ab", "projects": []} if emulator is fcm else {"token_prefix": ""}] * 1001
            )
    assert (apns.registry(), fcm.registry()) == ([], [])
