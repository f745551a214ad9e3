"""Sending to an emulated APNs: what goes over the wire, and what happens when the wire fails."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

from delivery.outcomes import Kind, Outcome
from delivery.providers.apns import OPTIONS, ApnsProvider
from delivery.providers.apns_message import message_ids
from delivery.providers.contract import PayloadError
from emulators.apns import ApnsEmulator
from tests.delivery.providers.sending import (
    APNS_PAYLOAD,
    Watched,
    apns_params,
    batch_of,
    fault,
    outcome_of,
    send,
    stored,
    until,
)

IMPATIENT = msgspec.structs.replace(OPTIONS, request_timeout=0.2, tick_seconds=0.05, ping_timeout=0.1)


@pytest.fixture
async def impatient(apns_emulator: ApnsEmulator) -> AsyncIterator[ApnsProvider]:
    async with ApnsProvider(stored(apns_params(apns_emulator)), options=IMPATIENT) as provider:
        yield provider


async def headers_of(provider: ApnsProvider, emulator: ApnsEmulator, notification: bytes, **changes: Any) -> Any:
    await send(provider, batch_of(**changes), notification)
    return emulator.requests()[0].headers


async def test_every_recipient_gets_the_push_once_and_its_id_is_the_message_id(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    batch = batch_of(300)
    results = await send(apns, batch, APNS_PAYLOAD)
    arrived = {request.token: request.message_id for request in apns_emulator.requests(limit=1000)}
    expected = zip(batch.tokens, results.message_ids, strict=True)
    assert arrived == {token.decode(): (name or b"").decode() for token, name in expected}
    assert apns_emulator.counters().duplicate_tokens == 0


async def test_the_payload_goes_out_letter_for_letter(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    payload = b'{ "aps" : {"badge": 1.0, "alert":"\\u00e9"} , "z":1e3,"a":1}'
    batch = batch_of()
    message = apns.prepare(msgspec.Raw(b'{"payload": ' + payload + b' , "headers":null}'), batch)
    assert message.payload == payload


async def test_topic_and_type_follow_from_the_payload(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    headers = await headers_of(apns, apns_emulator, b'{"payload":{"aps":{"content-available":1}}}')
    assert headers["apns-topic"] == apns_emulator.signing_key().bundle_id
    assert (headers["apns-push-type"], headers["apns-priority"]) == ("background", "5")


@pytest.mark.parametrize(
    ("push_type", "suffix"), [("voip", ".voip"), ("widgets", ".push-type.widgets"), ("location", ".location-query")]
)
async def test_the_topic_has_the_suffix_of_the_push_type(
    apns: ApnsProvider, apns_emulator: ApnsEmulator, push_type: str, suffix: str
) -> None:
    notification = b'{"headers":{"APNS-Push-Type":"%b"},"payload":{"aps":{}}}' % push_type.encode()
    headers = await headers_of(apns, apns_emulator, notification)
    assert headers["apns-topic"] == apns_emulator.signing_key().bundle_id + suffix


async def test_the_end_of_a_push_is_apns_expiration_unless_a_header_says_otherwise(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    headers = await headers_of(apns, apns_emulator, APNS_PAYLOAD, expire_at=4_000_000_000.5)
    assert headers["apns-expiration"] == "4000000000"
    own = b'{"headers":{"apns-expiration":"0","apns-collapse-id":"score"},"payload":{"aps":{"alert":"x"}}}'
    headers = await headers_of(apns, apns_emulator, own, expire_at=4_000_000_000.5, id=8)
    assert (headers["apns-expiration"], headers["apns-collapse-id"]) == ("0", "score")


async def test_a_push_that_is_over_is_not_sent(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    assert (await outcome_of(apns, APNS_PAYLOAD, expire_at=1.0)).kind is Kind.EXPIRED
    assert apns_emulator.counters().requests == 0


async def test_a_payload_apns_cannot_take_is_refused_before_sending(apns: ApnsProvider) -> None:
    with pytest.raises(PayloadError, match="4096 at most"):
        apns.prepare(msgspec.Raw(b'{"payload":{"x":"%b"}}' % (b"x" * 4096)), batch_of())


async def test_all_connections_share_one_provider_token(emulator_folder: Path) -> None:
    async with ApnsEmulator(data_dir=emulator_folder, max_streams_after_first=2) as emulator:
        emulator.set_faults([fault({"delay_ms": 20}, count=40)])
        async with ApnsProvider(stored(apns_params(emulator))) as provider:
            assert not (await send(provider, batch_of(80), APNS_PAYLOAD)).exceptions
        assert emulator.counters().connections_opened > 1
        assert emulator.counters().distinct_provider_tokens == 1


async def test_a_service_that_allows_one_stream_is_obeyed(emulator_folder: Path) -> None:
    async with ApnsEmulator(data_dir=emulator_folder, initial_streams=1, max_streams_after_first=1) as emulator:
        async with ApnsProvider(stored(apns_params(emulator, max_connections=1))) as provider:
            assert not (await send(provider, batch_of(30), APNS_PAYLOAD)).exceptions
        assert emulator.counters().peak_streams == 1
        assert emulator.counters().streams_over_limit == 0


async def test_an_expired_token_is_renewed_once_over_a_new_connection(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    apns_emulator.set_faults([fault({"reason": "ExpiredProviderToken"}, count=1)])
    assert not (await send(apns, batch_of(20), APNS_PAYLOAD)).exceptions
    counters = apns_emulator.counters()
    assert (counters.connections_opened, counters.distinct_provider_tokens) == (2, 2)
    assert counters.duplicate_tokens == 0


async def test_no_token_is_signed_after_apple_has_seen_too_many(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    apns_emulator.set_faults([fault({"reason": "TooManyProviderTokenUpdates"}, count=1)])
    await outcome_of(apns, APNS_PAYLOAD)
    apns_emulator.set_faults([fault({"reason": "ExpiredProviderToken"}, count=1)])
    assert (await outcome_of(apns, APNS_PAYLOAD)).reason == "ExpiredProviderToken"
    assert apns_emulator.counters().distinct_provider_tokens == 1
    assert apns_emulator.counters().connections_opened == 2


async def test_streams_above_goaway_go_again_and_the_others_are_answered(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    goaway = {"goaway": {"reason": "Shutdown"}, "delay_ms": 20}
    apns_emulator.set_faults([fault(goaway, skip=10, count=1), fault({"delay_ms": 20}, count=100)])
    results = await send(apns, batch_of(120), APNS_PAYLOAD)
    assert not results.exceptions
    assert apns_emulator.counters().duplicate_tokens == 0
    assert apns_emulator.counters().goaways_sent == 1


async def test_a_refused_stream_goes_again_at_once(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"rst_stream": "REFUSED_STREAM"}, skip=3, count=2)])
    assert not (await send(apns, batch_of(20), APNS_PAYLOAD)).exceptions


async def test_a_stream_that_is_always_refused_is_left_to_the_queue(
    impatient: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    apns_emulator.set_faults([fault({"rst_stream": "REFUSED_STREAM"})])
    expected = Outcome(Kind.RETRY, "RefusedStream", retry_after_seconds=0.0, counts_as_attempt=False)
    assert await outcome_of(impatient, APNS_PAYLOAD) == expected


async def test_a_reset_stream_has_an_unknown_outcome(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"rst_stream": "INTERNAL_ERROR"}, count=1)])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(Kind.UNKNOWN, "StreamReset")


async def test_a_lost_connection_leaves_what_was_in_flight_unknown(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    apns_emulator.set_faults([fault({"drop_after_body": True}, count=1)])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(Kind.UNKNOWN, "ConnectionLost")


async def test_a_push_without_an_answer_has_an_unknown_outcome_and_the_connection_serves_on(
    impatient: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    await send(impatient, batch_of(5), APNS_PAYLOAD)
    apns_emulator.set_faults([fault({"stall": True}, count=1)])
    results = await send(impatient, batch_of(5, id=8), APNS_PAYLOAD)
    assert results.exceptions == {0: Outcome(Kind.UNKNOWN, "Timeout")}
    assert apns_emulator.counters().connections_opened == 1


async def test_a_service_that_cannot_be_reached_has_taken_nothing() -> None:
    async with ApnsEmulator() as emulator:
        params = apns_params(emulator)
    options = msgspec.structs.replace(OPTIONS, backoff_base=0.01, connect_attempts=1)
    async with ApnsProvider(stored(params), options=options) as provider:
        outcome = await outcome_of(provider, APNS_PAYLOAD)
    assert outcome == Outcome(Kind.RETRY, "NotConnected", counts_as_attempt=False)


async def test_a_cancelled_batch_gives_back_what_was_not_sent(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    batch = batch_of(10)
    watched = Watched(batch)
    attempt = apns.submit(batch, apns.prepare(msgspec.Raw(APNS_PAYLOAD), batch), watched.results)
    attempt.cancel()
    results = await watched.end()
    assert {outcome.kind for outcome in results.exceptions.values()} == {Kind.RELEASED}
    assert apns_emulator.counters().requests == 0


async def test_closing_gives_back_what_was_not_sent_and_waits_for_the_rest(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    await send(apns, batch_of(), APNS_PAYLOAD)
    apns_emulator.set_faults([fault({"delay_ms": 100})])
    batch = batch_of(3000, id=8)
    watched = Watched(batch)
    apns.submit(batch, apns.prepare(msgspec.Raw(APNS_PAYLOAD), batch), watched.results)
    await until(lambda: apns_emulator.counters().peak_streams >= 100)
    await apns.close(5.0)
    results = await watched.end()
    released = [outcome for outcome in results.exceptions.values() if outcome.kind is Kind.RELEASED]
    assert 0 < len(released) == len(results.exceptions) < 3000


async def test_a_closed_provider_gives_everything_back(apns: ApnsProvider) -> None:
    await apns.close(0.0)
    assert (await outcome_of(apns, APNS_PAYLOAD)).kind is Kind.RELEASED
    assert apns.room("production") == 0


async def test_a_certificate_takes_the_place_of_the_token(apns_emulator: ApnsEmulator) -> None:
    params = _with_certificate(apns_emulator, apns_emulator.authority.client_certificate("com.example.cert"))
    async with ApnsProvider(stored(params)) as provider:
        assert not (await send(provider, batch_of(3), APNS_PAYLOAD)).exceptions
    headers = apns_emulator.requests()[0].headers
    assert "authorization" not in headers
    assert headers["apns-topic"] == "com.example.cert"


async def test_a_p12_file_is_as_good_as_pem(apns_emulator: ApnsEmulator) -> None:
    pem = apns_emulator.authority.client_certificate("com.example.p12").encode()
    key, certificate = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
    assert isinstance(key, EllipticCurvePrivateKey)
    data = pkcs12.serialize_key_and_certificates(b"x", key, certificate, None, BestAvailableEncryption(b"secret"))
    params = _with_certificate(apns_emulator, base64.b64encode(data).decode(), certificate_password="secret")
    async with ApnsProvider(stored(params)) as provider:
        assert not (await send(provider, batch_of(), APNS_PAYLOAD)).exceptions


def _with_certificate(emulator: ApnsEmulator, certificate: str, **more: Any) -> dict[str, Any]:
    params = apns_params(emulator, certificate=certificate, **more)
    for name in ("key", "key_id", "team_id", "bundle_id"):
        del params[name]
    return params


async def test_a_check_says_that_the_credential_is_accepted(apns: ApnsProvider) -> None:
    assert all(verdict.startswith("ok: ") for verdict in (await apns.check()).values())


async def test_a_check_says_what_apns_refuses(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"reason": "InvalidProviderToken"})])
    assert (await apns.check())["request"] == "refused: InvalidProviderToken 403"


def test_message_ids_are_canonical_uuids_that_differ_by_batch_attempt_and_position() -> None:
    batches = [batch_of(50, id=number, attempt=attempt) for number in (1, 2, 3) for attempt in (1, 2)]
    ids = [name for batch in batches for name in message_ids(batch)]
    assert len(set(ids)) == 300
    assert all(str(UUID(name.decode())) == name.decode() for name in ids)
    assert message_ids(batches[0]) == message_ids(batches[0])


def test_a_callers_own_message_id_serves_one_recipient_only() -> None:
    own = b"01920000-1234-7abc-8def-ffffffffffff"
    assert message_ids(batch_of(1), own) == [own]
    assert own not in message_ids(batch_of(2), own)


async def test_neither_provider_nor_message_shows_what_it_holds(apns: ApnsProvider) -> None:
    message = apns.prepare(msgspec.Raw(b'{"payload":{"aps":{"alert":"hidden"}}}'), batch_of())
    assert "hidden" not in repr(message)
    assert "PRIVATE" not in repr(apns)


async def test_each_environment_has_connections_of_its_own(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    await send(apns, batch_of(), APNS_PAYLOAD)
    await send(apns, batch_of(id=8, environment="production"), APNS_PAYLOAD)
    assert apns_emulator.counters().connections_opened == 1
    await send(apns, batch_of(id=9, environment="sandbox"), APNS_PAYLOAD)
    assert apns_emulator.counters().connections_opened == 2
