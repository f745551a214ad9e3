"""The transports over client libraries: the same contract, through aioapns for APNs and httpx for FCM."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers import apns as apns_module
from delivery.providers import fcm as fcm_module
from delivery.providers.apns import ApnsProvider
from delivery.providers.fcm import FcmProvider
from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from tests.delivery.providers.sending import (
    APNS_PAYLOAD,
    CLAIMED_AT,
    FCM_MESSAGE,
    Watched,
    apns_params,
    batch_of,
    fault,
    fcm_params,
    outcome_of,
    send,
    stored,
    until,
)

QUICK = {"request_timeout": 0.3, "connect_timeout": 0.3}


@pytest.fixture
async def aioapns(apns_emulator: ApnsEmulator) -> AsyncIterator[ApnsProvider]:
    async with ApnsProvider(stored(apns_params(apns_emulator, transport="aioapns"))) as provider:
        yield provider


@pytest.fixture
async def httpx(fcm_emulator: FcmEmulator) -> AsyncIterator[FcmProvider]:
    async with FcmProvider(stored(fcm_params(fcm_emulator, transport="httpx"))) as provider:
        yield provider


async def test_aioapns_sends_to_everyone_once_with_one_provider_token(
    aioapns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    batch = batch_of(200)
    assert not (await send(aioapns, batch, APNS_PAYLOAD)).exceptions
    counters = apns_emulator.counters()
    assert (counters.accepted, counters.duplicate_tokens, counters.distinct_provider_tokens) == (200, 0, 1)


async def test_aioapns_sends_the_headers_it_knows(aioapns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    notification = b'{"headers":{"apns-push-type":"widgets","apns-collapse-id":"c"},"payload":{"aps":{"x":1}}}'
    await send(aioapns, batch_of(expire_at=4_000_000_000.0), notification)
    headers = apns_emulator.requests()[0].headers
    assert headers["apns-topic"].endswith(".push-type.widgets")
    assert headers["apns-collapse-id"] == "c"
    assert abs(int(headers["apns-expiration"]) - 4_000_000_000) <= 1


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (
            {"reason": "Unregistered", "timestamp_ms": 1_650_000_000_000},
            Outcome(Kind.DEAD, "Unregistered", 410, proof_at=1_650_000_000.0),
        ),
        ({"reason": "BadDeviceToken"}, Outcome(Kind.DEAD, "BadDeviceToken", 400, proof_at=CLAIMED_AT)),
        (
            {"reason": "InvalidProviderToken"},
            Outcome(Kind.RETRY, "InvalidProviderToken", 403, pause=Pause("trouble"), counts_as_attempt=False),
        ),
        ({"reason": "ServiceUnavailable"}, Outcome(Kind.RETRY, "ServiceUnavailable", 503)),
        ({"drop_after_body": True}, Outcome(Kind.UNKNOWN, "ConnectionLost")),
    ],
)
async def test_aioapns_answers_follow_the_table(
    aioapns: ApnsProvider, apns_emulator: ApnsEmulator, action: dict[str, Any], expected: Outcome
) -> None:
    apns_emulator.set_faults([fault(action)])
    assert await outcome_of(aioapns, APNS_PAYLOAD) == expected


async def test_aioapns_without_an_answer_does_not_wait_for_ever(apns_emulator: ApnsEmulator) -> None:
    options = msgspec.structs.replace(apns_module.OPTIONS, **QUICK)
    apns_emulator.set_faults([fault({"rst_stream": "INTERNAL_ERROR"}, count=1)])
    async with ApnsProvider(stored(apns_params(apns_emulator, transport="aioapns")), options=options) as provider:
        assert await outcome_of(provider, APNS_PAYLOAD) == Outcome(Kind.UNKNOWN, "Timeout")
        assert not (await send(provider, batch_of(5, id=8), APNS_PAYLOAD)).exceptions


async def test_aioapns_reads_on_after_many_errors(aioapns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"reason": "BadDeviceToken"})])
    results = await send(aioapns, batch_of(3000), APNS_PAYLOAD)
    assert {outcome.kind for outcome in results.exceptions.values()} == {Kind.DEAD}


async def test_aioapns_with_a_certificate_needs_no_token(apns_emulator: ApnsEmulator) -> None:
    params = apns_params(apns_emulator, transport="aioapns")
    for name in ("key", "key_id", "team_id", "bundle_id"):
        del params[name]
    params["certificate"] = apns_emulator.authority.client_certificate("com.example.cert")
    async with ApnsProvider(stored(params)) as provider:
        assert not (await send(provider, batch_of(), APNS_PAYLOAD)).exceptions


async def test_aioapns_checks_a_credential(aioapns: ApnsProvider) -> None:
    assert all(verdict.startswith("ok: ") for verdict in (await aioapns.check()).values())


async def test_httpx_sends_to_everyone_once_over_http_1(httpx: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    results = await send(httpx, batch_of(100), FCM_MESSAGE)
    assert not results.exceptions
    assert len(set(results.message_ids)) == 100
    assert {request.http_version for request in fcm_emulator.requests() if request.kind == "push"} == {"1.1"}


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"reason": "UNREGISTERED"}, Outcome(Kind.DEAD, "UNREGISTERED", 404, proof_at=CLAIMED_AT)),
        (
            {"reason": "UNAVAILABLE", "retry_after": 20},
            Outcome(Kind.RETRY, "UNAVAILABLE", 503, retry_after_seconds=20.0, backoff_base_seconds=10.0),
        ),
        ({"drop_after_body": True}, Outcome(Kind.UNKNOWN, "ConnectionLost")),
    ],
)
async def test_httpx_answers_follow_the_table(
    httpx: FcmProvider, fcm_emulator: FcmEmulator, action: dict[str, Any], expected: Outcome
) -> None:
    fcm_emulator.set_faults([fault(action)])
    assert await outcome_of(httpx, FCM_MESSAGE) == expected


async def test_httpx_renews_a_revoked_access_token(httpx: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    await send(httpx, batch_of(), FCM_MESSAGE)
    fcm_emulator.revoke_access_tokens()
    assert not (await send(httpx, batch_of(30, id=8), FCM_MESSAGE)).exceptions
    assert fcm_emulator.counters().by_kind["oauth"] == 2


async def test_httpx_without_an_answer_does_not_wait_for_ever(fcm_emulator: FcmEmulator) -> None:
    options = msgspec.structs.replace(fcm_module.OPTIONS, **QUICK)
    fcm_emulator.set_faults([fault({"stall": True}, count=1)])
    async with FcmProvider(stored(fcm_params(fcm_emulator, transport="httpx")), options=options) as provider:
        assert await outcome_of(provider, FCM_MESSAGE) == Outcome(Kind.UNKNOWN, "Timeout")


async def test_httpx_that_cannot_connect_has_sent_nothing(fcm_emulator: FcmEmulator) -> None:
    params = fcm_params(fcm_emulator, transport="httpx", endpoint="http://127.0.0.1:1")
    async with FcmProvider(stored(params)) as provider:
        outcome = await outcome_of(provider, FCM_MESSAGE)
    assert outcome == Outcome(Kind.RETRY, "NotConnected", counts_as_attempt=False)


async def test_httpx_checks_a_credential(httpx: FcmProvider) -> None:
    assert all(verdict.startswith("ok: ") for verdict in (await httpx.check()).values())


async def test_a_library_is_cancelled_and_closed_without_losing_a_report(
    httpx: FcmProvider, fcm_emulator: FcmEmulator
) -> None:
    await send(httpx, batch_of(), FCM_MESSAGE)
    fcm_emulator.set_faults([fault({"stall": True})])
    first, second = batch_of(50, id=8), batch_of(50, id=9)
    watched = Watched(first), Watched(second)
    httpx.submit(first, httpx.prepare(msgspec.Raw(FCM_MESSAGE), first), watched[0].results)
    attempt = httpx.submit(second, httpx.prepare(msgspec.Raw(FCM_MESSAGE), second), watched[1].results)
    await until(lambda: fcm_emulator.counters().requests > 5)
    attempt.cancel()
    await httpx.close(0.1)
    ends = [*(await watched[0].end()).exceptions.values(), *(await watched[1].end()).exceptions.values()]
    kinds = [outcome.kind for outcome in ends]
    assert (kinds.count(Kind.UNKNOWN), kinds.count(Kind.RELEASED)) == (10, 90)
