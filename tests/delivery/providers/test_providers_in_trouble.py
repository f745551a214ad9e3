"""Everything goes wrong at once: still each recipient is reported once, and nobody gets a push twice unnoticed."""

from typing import Any

import msgspec
import pytest

from delivery.outcomes import Kind
from delivery.providers.apns import OPTIONS as APNS_OPTIONS
from delivery.providers.apns import ApnsProvider
from delivery.providers.fcm import OPTIONS as FCM_OPTIONS
from delivery.providers.fcm import FcmProvider
from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from tests.delivery.providers.sending import (
    APNS_PAYLOAD,
    FCM_MESSAGE,
    apns_params,
    batch_of,
    fault,
    fcm_params,
    send,
    stored,
)

QUICK = {
    "request_timeout": 0.5,
    "tick_seconds": 0.05,
    "backoff_base": 0.01,
    "connects_per_minute": 10_000,
    "streams_per_connection": 20,  # so that a lost connection costs twenty and not a thousand
}
TOKENS = 1500


def rule(action: dict[str, Any], rate: float, seed: int) -> dict[str, object]:
    return fault(action, rate=rate, seed=seed)


WIRE = [
    rule({"rst_stream": "REFUSED_STREAM"}, 0.02, 1),
    rule({"rst_stream": "INTERNAL_ERROR"}, 0.01, 2),
    rule({"goaway": {"reason": "Shutdown"}}, 0.01, 3),
    rule({"drop_after_body": True}, 0.002, 4),
    rule({"drop_connection": True}, 0.002, 5),
    rule({"shrink_settings": {"max_concurrent_streams": 3}}, 0.01, 6),
    rule({"delay_ms": 5, "split_body": True}, 0.05, 7),
    rule({"stall": True}, 0.002, 8),
]


@pytest.mark.parametrize("seed", range(3))
async def test_apns_reports_each_recipient_once_whatever_happens(
    apns_emulator: ApnsEmulator, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    answers = [
        rule({"reason": "Unregistered"}, 0.05, seed),
        rule({"reason": "Shutdown"}, 0.01, seed),
        rule({"reason": "IdleTimeout"}, 0.01, seed),
        fault({"reason": "ExpiredProviderToken"}, skip=700, count=1),
        rule({"status": 503, "html": True}, 0.02, seed),
    ]
    apns_emulator.set_faults([*answers, *WIRE])
    options = msgspec.structs.replace(APNS_OPTIONS, **QUICK)
    async with ApnsProvider(stored(apns_params(apns_emulator)), options=options) as provider:
        results = await send(provider, batch_of(TOKENS), APNS_PAYLOAD)
    _assert_nothing_lost(results, apns_emulator, caplog)


@pytest.mark.parametrize("seed", range(3))
async def test_fcm_reports_each_recipient_once_whatever_happens(
    fcm_emulator: FcmEmulator, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    answers = [
        rule({"reason": "UNREGISTERED"}, 0.05, seed),
        rule({"reason": "UNAVAILABLE", "retry_after": 3}, 0.02, seed),
        fault({"reason": "UNAUTHENTICATED"}, skip=300, count=5),
        rule({"status": 502, "html": True}, 0.02, seed),
    ]
    fcm_emulator.set_faults([*answers, *WIRE])
    options = msgspec.structs.replace(FCM_OPTIONS, **QUICK)
    async with FcmProvider(stored(fcm_params(fcm_emulator)), options=options) as provider:
        results = await send(provider, batch_of(TOKENS), FCM_MESSAGE)
    _assert_nothing_lost(results, fcm_emulator, caplog)


def _assert_nothing_lost(results: Any, emulator: ApnsEmulator | FcmEmulator, caplog: pytest.LogCaptureFixture) -> None:
    assert not [record for record in caplog.records if record.exc_info]
    assert all(rule.hits for rule in emulator.faults())
    accepted = {
        token.decode()
        for token, name in zip(results.batch.tokens, results.message_ids, strict=True)
        if name is not None
    }
    unknown = {
        results.batch.tokens[position].decode()
        for position, outcome in results.exceptions.items()
        if outcome.kind is Kind.UNKNOWN
    }
    assert len(accepted) > TOKENS / 2
    arrived = {token for token, seen in emulator.arrivals(limit=10_000).tokens.items() if seen.accepted}
    assert accepted <= arrived
    assert arrived <= accepted | unknown
    assert emulator.counters().duplicate_tokens == 0
