"""What the emulated push service refuses, in whose words, and what it shows of what it took."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emulators.webpush import WebpushEmulator
from emulators.webpush_errors import Service
from tests.emulators.pushing import PushSender, encrypted
from tests.emulators.wire import connected

HOUR = 3600


@asynccontextmanager
async def sending(emulator: WebpushEmulator) -> AsyncIterator[PushSender]:
    async with connected(emulator, authorization="") as client:
        yield PushSender(emulator, client)


@pytest.fixture
async def sender(webpush: WebpushEmulator) -> AsyncIterator[PushSender]:
    async with sending(webpush) as made:
        yield made


def errno(body: dict[str, Any]) -> object:
    return body["errno"]


async def test_a_sound_push_is_taken_and_shown_decrypted(webpush: WebpushEmulator, sender: PushSender) -> None:
    [created] = webpush.subscribe(vapid_public_key=sender.public_key)
    response = await sender.push(created, urgency="high")
    assert response.status == 201
    assert response.headers["location"].startswith(webpush.url + "/m/")
    assert response.headers["ttl"] == "60"
    [recorded] = webpush.requests(created.subscription.endpoint)
    assert recorded.payload == {"hello": "Ann"}
    assert (recorded.error, recorded.headers["urgency"], recorded.accepted) == ("", "high", True)
    assert recorded.body_length > len('{"hello": "Ann"}')


async def test_a_push_without_payload_needs_no_encoding(webpush: WebpushEmulator, sender: PushSender) -> None:
    [created] = webpush.subscribe()
    assert (await sender.push(created, b"")).status == 201
    assert webpush.requests(created.id)[0].payload is None


async def test_a_ttl_above_thirty_days_is_shortened(webpush: WebpushEmulator, sender: PushSender) -> None:
    [created] = webpush.subscribe()
    assert (await sender.push(created, ttl=str(60 * 86_400))).headers["ttl"] == str(30 * 86_400)


@pytest.mark.parametrize(
    ("headers", "status", "number"),
    [
        ({"method": "GET"}, 405, None),
        ({"ttl": None}, 400, 111),
        ({"ttl": "soon"}, 400, 112),
        ({"ttl": "-1"}, 400, 112),
        ({"more": [("ttl", "60")]}, 400, 112),
        ({"urgency": "now"}, 400, None),
        ({"topic": "a" * 33}, 400, 113),
        ({"topic": "not base64url"}, 400, 113),
        ({"authorization": None}, 401, 109),
        ({"authorization": "bearer abc"}, 401, 109),
        ({"authorization": "vapid t=abc"}, 401, 109),
        ({"authorization": "vapid t=abc, k=AAAA"}, 401, 109),
        ({"content_encoding": None}, 400, 110),
        ({"content_encoding": "aesgcm"}, 400, 110),
    ],
)
async def test_wrong_headers_are_refused(
    webpush: WebpushEmulator, sender: PushSender, headers: dict[str, Any], status: int, number: int | None
) -> None:
    [created] = webpush.subscribe()
    response = await sender.push(created, **headers)
    assert (response.status, errno(response.json)) == (status, number)
    assert webpush.counters().accepted == 0


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://fcm.googleapis.com"},
        {"aud": None},
        {"aud": ["https://localhost"]},
        {"exp": int(time.time()) - 1},
        {"exp": int(time.time()) + 25 * HOUR},
        {"exp": None},
        {"sub": None},
        {"sub": "ops@example.com"},
        {"sub": "http://example.com"},
    ],
)
async def test_a_token_with_wrong_claims_is_refused(
    webpush: WebpushEmulator, sender: PushSender, claims: dict[str, object]
) -> None:
    [created] = webpush.subscribe()
    response = await sender.push(created, authorization=sender.authorization(**claims))
    assert (response.status, errno(response.json)) == (401, 109)


async def test_a_token_of_another_key_is_refused(webpush: WebpushEmulator, sender: PushSender) -> None:
    [created] = webpush.subscribe()
    other = PushSender(webpush, sender.client)
    forged = f"vapid t={sender.token()}, k={other.public_key}"
    assert (await sender.push(created, authorization=forged)).status == 401


async def test_the_service_judges_tokens_by_its_own_clock(webpush: WebpushEmulator, sender: PushSender) -> None:
    [created] = webpush.subscribe()
    webpush.clock_offset = 2 * HOUR
    assert (await sender.push(created)).status == 401


async def test_a_subscription_is_for_the_key_it_was_made_with(webpush: WebpushEmulator, sender: PushSender) -> None:
    other = PushSender(webpush, sender.client)
    [created] = webpush.subscribe(vapid_public_key=other.public_key)
    assert (await sender.push(created)).status == 401
    assert (await other.push(created)).status == 201


async def test_a_body_may_have_4096_bytes_and_no_more(webpush: WebpushEmulator, sender: PushSender) -> None:
    [created] = webpush.subscribe()
    largest = encrypted(b"x" * 3993, created)
    assert len(largest) == 4096
    assert (await sender.push(created, largest)).status == 201
    response = await sender.push(created, encrypted(b"x" * 3994, created))
    assert (response.status, errno(response.json)) == (413, 104)


@pytest.mark.parametrize(
    ("state", "status", "number"), [("gone", 410, 106), ("unknown", 404, 102), ("throttled", 429, None)]
)
async def test_what_became_of_a_subscription_is_told(
    webpush: WebpushEmulator, sender: PushSender, state: str, status: int, number: int | None
) -> None:
    [created] = webpush.subscribe()
    webpush.set_tokens({created.subscription.endpoint: {"state": state}})
    response = await sender.push(created)
    assert (response.status, errno(response.json)) == (status, number)
    webpush.reset()
    assert (await sender.push(created)).status == 201


async def test_many_subscriptions_are_gone_by_the_label_of_their_names(
    webpush: WebpushEmulator, sender: PushSender
) -> None:
    webpush.set_registry([{"token_prefix": "old", "state": "gone"}])
    old, new = webpush.subscribe(label="old-phones")[0], webpush.subscribe(label="new")[0]
    assert [(await sender.push(each)).status for each in (old, new)] == [410, 201]


async def test_names_that_were_not_given_out_are_unknown(webpush: WebpushEmulator, sender: PushSender) -> None:
    path = webpush.subscribe(label="ann")[0].subscription.endpoint.removeprefix(webpush.url)
    forged = [path.replace("ann", "bob"), path[:-1] + ("A" if path[-1] != "A" else "B"), "/wpush/v2/abc", "/elsewhere"]
    headers = {"ttl": "60", "authorization": sender.authorization()}
    assert [(await sender.client.request(each, b"", **headers)).status for each in forged] == [404] * 4


@pytest.mark.parametrize(
    ("service", "headers", "status", "said"),
    [
        ("apple", {"ttl": None}, 400, "BadTtl"),
        ("apple", {"ttl": "0"}, 400, "BadTtl"),
        ("apple", {"urgency": "x"}, 400, "BadUrgency"),
        ("apple", {"topic": ""}, 400, "BadWebPushTopic"),
        ("apple", {"content_encoding": None}, 400, "BadWebPushRequest"),
        ("apple", {"authorization": None}, 403, "BadJwtToken"),
        ("apple", {"body": b"x" * 4097}, 413, "PayloadTooLarge"),
        ("wns", {"ttl": "0"}, 400, "TTL"),
        ("wns", {"authorization": None}, 401, "authorization"),
        ("fcm", {"authorization": None}, 401, "authorization"),
        ("fcm", {"authorization": "vapid t=a, k=b"}, 403, "k is no point"),
        ("fcm", {"method": "PUT"}, 405, "POST"),
    ],
)
async def test_each_service_refuses_in_its_own_words(
    keys_folder: Path, service: Service, headers: dict[str, Any], status: int, said: str
) -> None:
    async with WebpushEmulator(service=service, data_dir=keys_folder) as emulator, sending(emulator) as sender:
        response = await sender.push(emulator.subscribe()[0], **headers)
    assert response.status == status
    if service == "apple":
        assert response.reason == said
        assert "apns-id" in response.headers
    elif service == "wns":
        assert (response.body, response.headers["x-wns-status"]) == (b"", "dropped")
        assert said in response.headers["x-wns-error-description"]
    else:
        assert said in response.body.decode()


@pytest.mark.parametrize(
    ("service", "mismatch", "throttled", "wait"),
    [("mozilla", 401, 429, "60"), ("apple", 400, 429, "60"), ("wns", 403, 406, "900"), ("fcm", 403, 429, "60")],
)
async def test_each_service_has_its_own_status_for_a_foreign_key_and_for_too_much(
    keys_folder: Path, service: Service, mismatch: int, throttled: int, wait: str
) -> None:
    async with WebpushEmulator(service=service, data_dir=keys_folder) as emulator, sending(emulator) as sender:
        foreign = emulator.subscribe(vapid_public_key=emulator.vapid_pair().public_key)[0]
        assert (await sender.push(foreign)).status == mismatch
        [busy] = emulator.subscribe()
        emulator.set_tokens({busy.id: {"state": "throttled"}})
        response = await sender.push(busy)
        assert (response.status, response.headers["retry-after"]) == (throttled, wait)


async def test_windows_takes_a_ttl_of_zero_that_is_not_to_be_cached(keys_folder: Path) -> None:
    async with WebpushEmulator(service="wns", data_dir=keys_folder) as emulator, sending(emulator) as sender:
        response = await sender.push(emulator.subscribe()[0], ttl="0", x_wns_cache_policy="no-cache")
    assert (response.status, response.headers["x-wns-status"]) == (201, "received")


async def test_apple_wants_a_contact_that_is_not_local(keys_folder: Path) -> None:
    async with WebpushEmulator(service="apple", data_dir=keys_folder) as emulator, sending(emulator) as sender:
        [created] = emulator.subscribe()
        local = [sender.authorization(sub=each) for each in ("mailto:me@localhost", "https://push.invalid/a")]
        assert [(await sender.push(created, authorization=each)).reason for each in local] == ["BadJwtToken"] * 2
