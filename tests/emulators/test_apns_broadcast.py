"""Channels of the emulated APNs and pushes to them."""

import json
from typing import Any

import pytest

from emulators.apns import ApnsEmulator
from tests.emulators.wire import Response, WireClient, connected

CHANNELS = "/1/apps/com.example.tocsin/channels"
ALL_CHANNELS = "/1/apps/com.example.tocsin/all-channels"
BROADCAST = "/4/broadcasts/apps/com.example.tocsin"
PUSH = {"apns_push_type": "liveactivity", "apns_expiration": "0", "apns_priority": "10"}


async def create(client: WireClient, policy: int = 0) -> str:
    body = json.dumps({"message-storage-policy": policy, "push-type": "LiveActivity"}).encode()
    response = await client.request(CHANNELS, body)
    assert response.status == 201
    return response.headers["apns-channel-id"]


async def manage(client: WireClient, method: str, path: str = CHANNELS, **headers: Any) -> Response:
    return await client.answer(client.send(path, b"", method=method, **headers))


async def test_a_channel_is_created_listed_read_and_deleted(device: WireClient) -> None:
    channel = await create(device, policy=1)
    assert (await manage(device, "GET", ALL_CHANNELS)).json == {"channels": [channel]}
    read = await manage(device, "GET", apns_channel_id=channel)
    assert read.json == {"message-storage-policy": 1, "push-type": "LiveActivity"}
    assert (await manage(device, "DELETE", apns_channel_id=channel)).status == 204
    assert (await manage(device, "GET", apns_channel_id=channel)).reason == "ChannelNotRegistered"


async def test_a_broadcast_is_accepted(apns: ApnsEmulator, device: WireClient) -> None:
    channel = await create(device)
    response = await device.request(BROADCAST, b"{}", apns_channel_id=channel, apns_request_id="mine", **PUSH)
    assert (response.status, response.headers["apns-request-id"]) == (200, "mine")
    assert apns.counters().by_kind == {"broadcast": 2}


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"apns_channel_id": None}, "MissingChannelId"),
    ({"apns_channel_id": "!"}, "BadChannelId"),
    ({"apns_channel_id": "AAAA"}, "ChannelNotRegistered"),
    ({"apns_push_type": None}, "MissingPushType"),
    ({"apns_push_type": "alert"}, "InvalidPushType"),
    ({"apns_expiration": None}, "BadExpirationDate"),
    ({"apns_expiration": "1700000000"}, "BadExpirationDate"),
    ({"apns_priority": "3"}, "BadPriority"),
    ({"body": b""}, "PayloadEmpty"),
    ({"body": b"x" * 5121}, "PayloadTooLarge"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSALS)
async def test_a_wrong_broadcast_is_refused(device: WireClient, changes: dict[str, Any], reason: str) -> None:
    headers = {"body": b"{}", "apns_channel_id": await create(device)} | PUSH | changes
    assert (await device.request(BROADCAST, **headers)).reason == reason


@pytest.mark.parametrize(("body", "reason"), [(b"{", "BadRequestPayload"), (b"{}", "BadRequestParams")])
async def test_a_wrong_channel_is_refused(device: WireClient, body: bytes, reason: str) -> None:
    assert (await device.request(CHANNELS, body)).reason == reason


async def test_a_bundle_outside_the_allowed_ones_does_not_match() -> None:
    async with ApnsEmulator(topics=["com.example.other"]) as apns, connected(apns) as client:
        response = await manage(client, "GET", ALL_CHANNELS)
        assert (response.status, response.reason) == (403, "TopicMismatch")


@pytest.mark.parametrize(("method", "path"), [("PUT", CHANNELS), ("POST", ALL_CHANNELS), ("GET", BROADCAST)])
async def test_other_methods_are_not_allowed(device: WireClient, method: str, path: str) -> None:
    assert (await manage(device, method, path)).reason == "MethodNotAllowed"
