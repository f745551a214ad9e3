"""Everything the emulated APNs refuses, and what it lets pass."""

import uuid
from typing import Any

import pytest

from emulators.apns import ApnsEmulator
from emulators.apns_checks import TOPIC_SUFFIXES
from tests.emulators.wire import TOKEN, WireClient, connected

OTHER_TOKEN = "cd" * 32


async def test_a_push_is_accepted_without_a_body(device: WireClient) -> None:
    response = await device.pushed()
    assert (response.status, response.frames) == (200, [])


async def test_the_apns_id_is_echoed(device: WireClient) -> None:
    given = str(uuid.uuid4())
    response = await device.pushed(apns_id=given)
    assert response.headers["apns-id"] == given


async def test_an_apns_id_is_made_when_absent(device: WireClient) -> None:
    response = await device.pushed()
    assert uuid.UUID(response.headers["apns-id"])


async def test_an_error_has_a_json_reason_and_an_apns_id(device: WireClient) -> None:
    given = str(uuid.uuid4())
    response = await device.pushed("xyz", apns_id=given)
    assert response.status == 400
    assert response.headers["content-type"] == "application/json"
    assert response.headers["apns-id"] == given
    assert response.json == {"reason": "BadDeviceToken"}


async def test_production_gives_no_unique_id(device: WireClient) -> None:
    assert "apns-unique-id" not in (await device.pushed()).headers


async def test_sandbox_gives_a_unique_id() -> None:
    async with ApnsEmulator(environment="sandbox") as apns, connected(apns) as client:
        assert uuid.UUID((await client.pushed()).headers["apns-unique-id"])


REFUSALS: list[tuple[str, dict[str, Any], int]] = [
    ("MissingTopic", {"apns_topic": None}, 400),
    ("BadTopic", {"apns_topic": "not a topic"}, 400),
    ("BadMessageId", {"apns_id": "not-a-uuid"}, 400),
    ("BadMessageId", {"apns_id": "6F9619FF-8B86-D011-B42D-00CF4FC964FF"}, 400),
    ("InvalidPushType", {"apns_push_type": "loud"}, 400),
    ("BadTopic", {"apns_push_type": "voip"}, 400),
    ("BadPriority", {"apns_priority": "7"}, 400),
    ("BadPriority", {"apns_priority": "10", "apns_push_type": "background"}, 400),
    ("BadExpirationDate", {"apns_expiration": "tomorrow"}, 400),
    ("BadExpirationDate", {"apns_expiration": "-1"}, 400),
    ("BadCollapseId", {"apns_collapse_id": "x" * 65}, 400),
    ("PayloadEmpty", {"body": b""}, 400),
    ("PayloadTooLarge", {"body": b"x" * 4097}, 413),
    ("PayloadTooLarge", {"body": b"x" * 16_000}, 413),
    ("BadDeviceToken", {"token": "abc"}, 400),
    ("BadDeviceToken", {"token": "zz"}, 400),
    ("MissingDeviceToken", {"token": ""}, 400),
    ("BadPath", {"token": "ab/cd"}, 404),
    ("MissingProviderToken", {"authorization": None}, 403),
    ("InvalidProviderToken", {"authorization": "bearer nonsense"}, 403),
    ("InvalidProviderToken", {"authorization": "basic nonsense"}, 403),
]


@pytest.mark.parametrize(("reason", "changes", "status"), REFUSALS)
async def test_a_wrong_request_is_refused_with_its_reason(
    device: WireClient, reason: str, changes: dict[str, Any], status: int
) -> None:
    response = await device.pushed(**changes)
    assert (response.status, response.reason) == (status, reason)


ACCEPTED: list[dict[str, Any]] = [
    {"apns_priority": "10"},
    {"apns_priority": "1"},
    {"apns_priority": "5", "apns_push_type": "background"},
    {"apns_expiration": "0"},
    {"apns_collapse_id": "x" * 64},
    {"body": b"x" * 4096},
    {"token": "AB" * 50},
    {"apns_push_type": "voip", "apns_topic": "com.example.tocsin.voip", "body": b"x" * 5120},
]


@pytest.mark.parametrize("changes", ACCEPTED)
async def test_a_right_request_is_accepted(device: WireClient, changes: dict[str, Any]) -> None:
    assert (await device.pushed(**changes)).status == 200


@pytest.mark.parametrize(("push_type", "suffix"), list(TOPIC_SUFFIXES.items()))
async def test_each_push_type_takes_the_topic_with_its_suffix(device: WireClient, push_type: str, suffix: str) -> None:
    topic = f"com.example.tocsin{suffix}"
    response = await device.pushed(apns_push_type=push_type, apns_topic=topic, apns_priority="5")
    assert response.status == 200


async def test_another_path_is_a_bad_path(device: WireClient) -> None:
    response = await device.request("/2/device/ab", apns_topic="com.example.tocsin")
    assert (response.status, response.reason) == (404, "BadPath")


async def test_another_method_is_not_allowed(device: WireClient) -> None:
    stream_id = device.send(f"/3/device/{TOKEN}", b"", method="GET")
    response = await device.answer(stream_id)
    assert (response.status, response.reason) == (405, "MethodNotAllowed")


async def test_authentication_is_looked_at_before_the_rest(device: WireClient) -> None:
    response = await device.request("/nowhere", b"", authorization=None)
    assert response.reason == "MissingProviderToken"


async def test_a_missing_authority_is_fine_when_there_is_a_host(device: WireClient) -> None:
    response = await device.answer(device.push(host="api.push.apple.com", without_authority=True))
    assert response.status == 200


async def test_a_repeated_apns_header_is_refused(device: WireClient) -> None:
    stream_id = device.push(apns_priority="5", more=[("apns-priority", "10")])
    response = await device.answer(stream_id)
    assert response.reason == "DuplicateHeaders"


DEAD: list[tuple[dict[str, Any], int, str]] = [
    ({"state": "unregistered", "timestamp_ms": 1700000000123}, 410, "Unregistered"),
    ({"state": "expired", "timestamp_ms": 1700000000123}, 410, "ExpiredToken"),
    ({"state": "bad"}, 400, "BadDeviceToken"),
    ({"state": "not_for_topic"}, 400, "DeviceTokenNotForTopic"),
    ({"state": "throttled"}, 429, "TooManyRequests"),
    ({"environment": "sandbox"}, 400, "BadDeviceToken"),
    ({"topics": ["com.example.other"]}, 400, "DeviceTokenNotForTopic"),
]


@pytest.mark.parametrize(("state", "status", "reason"), DEAD)
async def test_a_token_answers_by_its_state(
    apns: ApnsEmulator, device: WireClient, state: dict[str, Any], status: int, reason: str
) -> None:
    apns.set_tokens({TOKEN.upper(): state})
    response = await device.pushed()
    assert (response.status, response.reason) == (status, reason)
    assert (await device.pushed(OTHER_TOKEN)).status == 200


async def test_a_dead_token_tells_when_it_died_in_milliseconds(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_tokens({TOKEN: {"state": "unregistered", "timestamp_ms": 1700000000123}})
    response = await device.pushed()
    assert response.json == {"reason": "Unregistered", "timestamp": 1700000000123}


async def test_a_token_of_this_environment_and_topic_is_fine(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_tokens({TOKEN: {"environment": "production", "topics": ["com.example.tocsin"]}})
    assert (await device.pushed()).status == 200


async def test_unknown_tokens_can_be_refused() -> None:
    async with ApnsEmulator(known_tokens_only=True) as apns, connected(apns) as client:
        apns.set_tokens({TOKEN: {}})
        assert (await client.pushed()).status == 200
        assert (await client.pushed(OTHER_TOKEN)).reason == "BadDeviceToken"


async def test_a_topic_outside_the_allowed_ones_is_disallowed() -> None:
    async with ApnsEmulator(topics=["com.example.tocsin"]) as apns, connected(apns) as client:
        assert (await client.pushed(apns_topic="com.example.tocsin.voip", apns_push_type="voip")).status == 200
        assert (await client.pushed(apns_topic="com.example.other")).reason == "TopicDisallowed"
