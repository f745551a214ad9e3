"""Sending to an emulated FCM: access tokens, bodies, and the failures of the wire."""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.fcm import OPTIONS, FcmProvider
from delivery.providers.fcm_message import FcmMessage
from emulators.fcm import FcmEmulator
from tests.delivery.providers.sending import (
    FCM_MESSAGE,
    Watched,
    batch_of,
    fault,
    fcm_params,
    outcome_of,
    send,
    stored,
    until,
)


async def test_every_recipient_gets_the_message_once_and_fcms_name_for_it_is_kept(
    fcm: FcmProvider, fcm_emulator: FcmEmulator
) -> None:
    batch = batch_of(300)
    results = await send(fcm, batch, FCM_MESSAGE)
    arrived = {request.token for request in fcm_emulator.requests(limit=1000) if request.kind == "push"}
    assert arrived == {t.decode() for t in batch.tokens}
    assert len(set(results.message_ids)) == 300
    assert all(name is not None and name.startswith(b"0:") for name in results.message_ids)


@pytest.mark.parametrize("notification", [FCM_MESSAGE, b' {"notification":{"title":"hello"}} '])
async def test_a_message_is_understood_with_and_without_its_wrapper(
    fcm: FcmProvider, fcm_emulator: FcmEmulator, notification: bytes
) -> None:
    await send(fcm, batch_of(tokens=[b"abc"]), notification)
    expected = {"message": {"token": "abc", "notification": {"title": "hello"}}}
    assert fcm_emulator.requests()[0].payload == expected


@pytest.mark.parametrize(
    ("target", "value"), [("fid", "c1"), ("topic", "news"), ("condition", "'a' in topics && !('b' in topics)")]
)
async def test_a_message_goes_to_every_kind_of_target(
    fcm: FcmProvider, fcm_emulator: FcmEmulator, target: str, value: str
) -> None:
    results = await send(fcm, batch_of(target=target, tokens=[value.encode()]), b"{}")
    assert not results.exceptions
    assert fcm_emulator.requests()[0].payload == {"message": {target: value}}


def test_a_message_is_spliced_letter_for_letter() -> None:
    message = FcmMessage(b'{ "data" : {"n":"1.0"},"notification":{"title":"\\u00e9"} }', "token")
    bodies = message.bodies([b"t1", b"t2"])
    assert bodies[1] == b'{"message":{"token":"t2", "data" : {"n":"1.0"},"notification":{"title":"\\u00e9"} }}'
    assert bodies[0:2] == [bodies[0], bodies[1]]
    assert len(bodies) == 2


def test_an_empty_message_is_spliced_without_a_stray_comma() -> None:
    assert FcmMessage(b"{ }", "token").bodies([b"t"])[0] == b'{"message":{"token":"t" }}'


def test_a_token_cannot_break_out_of_its_string() -> None:
    body = FcmMessage(b'{"data":{}}', "token").bodies([b'a","topic":"x\\', b"plain"])[0]
    assert msgspec.json.decode(body) == {"message": {"token": 'a","topic":"x\\', "data": {}}}


async def test_all_that_wait_for_an_access_token_share_one_fetch(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    async with asyncio.TaskGroup() as sending:
        for number in range(20):
            sending.create_task(send(fcm, batch_of(5, id=number), FCM_MESSAGE))
    assert fcm_emulator.counters().by_kind == {"oauth": 1, "push": 100}


async def test_a_token_google_has_revoked_is_fetched_anew_once_for_all(
    fcm: FcmProvider, fcm_emulator: FcmEmulator
) -> None:
    await send(fcm, batch_of(), FCM_MESSAGE)
    fcm_emulator.revoke_access_tokens()
    assert not (await send(fcm, batch_of(50, id=8), FCM_MESSAGE)).exceptions
    assert fcm_emulator.counters().by_kind["oauth"] == 2


async def test_a_token_near_its_end_is_renewed_in_the_background(emulator_folder: Path) -> None:
    now = [1_000.0]
    async with (
        FcmEmulator(data_dir=emulator_folder) as emulator,
        FcmProvider(stored(fcm_params(emulator)), clock=lambda: now[0]) as provider,
    ):
        await send(provider, batch_of(), FCM_MESSAGE)
        first = provider.tokens.current()
        now[0] = emulator.requests()[0].received_at + 3600 - 200
        assert provider.tokens.current() == first
        await until(lambda: provider.tokens.current() != first)


async def test_a_revoked_key_pauses_the_credential(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    fcm_emulator.set_faults([fault({"status": 400, "body": '{"error":"invalid_grant"}'}, path_prefix="/token")])
    outcome = await outcome_of(fcm, FCM_MESSAGE)
    expected = Outcome(
        Kind.RETRY, "invalid_grant", backoff_base_seconds=10.0, pause=Pause("trouble"), counts_as_attempt=False
    )
    assert outcome == expected


async def test_trouble_at_the_token_endpoint_pauses_nothing(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    fcm_emulator.set_faults([fault({"status": 502, "html": True}, path_prefix="/token")])
    outcome = await outcome_of(fcm, FCM_MESSAGE)
    assert outcome == Outcome(Kind.RETRY, "RefreshError", backoff_base_seconds=10.0, counts_as_attempt=False)


async def test_a_batch_that_waits_for_a_token_can_be_cancelled(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    batch = batch_of(5)
    watched = Watched(batch)
    fcm.submit(batch, fcm.prepare(msgspec.Raw(FCM_MESSAGE), batch), watched.results).cancel()
    results = await watched.end()
    assert {outcome.kind for outcome in results.exceptions.values()} == {Kind.RELEASED}
    await fcm.tokens.wait()
    assert fcm_emulator.counters().requests == 0


async def test_closing_gives_back_what_waits_for_a_token(fcm: FcmProvider) -> None:
    batch = batch_of(5)
    watched = Watched(batch)
    fcm.submit(batch, fcm.prepare(msgspec.Raw(FCM_MESSAGE), batch), watched.results)
    assert fcm.room("") == 995
    await fcm.close(1.0)
    assert {outcome.kind for outcome in (await watched.end()).exceptions.values()} == {Kind.RELEASED}


async def test_a_closed_provider_gives_everything_back(fcm: FcmProvider) -> None:
    await send(fcm, batch_of(), FCM_MESSAGE)
    await fcm.close(0.0)
    assert (await outcome_of(fcm, FCM_MESSAGE)).kind is Kind.RELEASED


async def test_streams_stay_below_a_hundred_a_connection(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    fcm_emulator.set_faults([fault({"delay_ms": 20}, count=250)])
    assert not (await send(fcm, batch_of(400), FCM_MESSAGE)).exceptions
    assert fcm_emulator.counters().peak_streams == 100
    assert fcm_emulator.counters().streams_over_limit == 0


async def test_a_lost_connection_leaves_what_was_in_flight_unknown(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    fcm_emulator.set_faults([fault({"drop_after_body": True}, count=1)])
    assert await outcome_of(fcm, FCM_MESSAGE) == Outcome(Kind.UNKNOWN, "ConnectionLost")


async def test_a_message_without_an_answer_has_an_unknown_outcome(fcm_emulator: FcmEmulator) -> None:
    options = msgspec.structs.replace(OPTIONS, request_timeout=0.2, tick_seconds=0.05)
    async with FcmProvider(stored(fcm_params(fcm_emulator)), options=options) as provider:
        fcm_emulator.set_faults([fault({"stall": True}, count=1)])
        assert await outcome_of(provider, FCM_MESSAGE) == Outcome(Kind.UNKNOWN, "Timeout")


async def test_an_error_split_over_two_frames_is_read_whole(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    fcm_emulator.set_faults([fault({"reason": "UNREGISTERED", "split_body": True})])
    assert (await outcome_of(fcm, FCM_MESSAGE)).kind is Kind.DEAD


async def test_a_check_says_that_the_credential_is_accepted(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    assert all(verdict.startswith("ok: ") for verdict in (await fcm.check()).values())


async def test_a_check_says_what_google_refuses(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    fcm_emulator.set_faults([fault({"status": 400, "body": '{"error":"invalid_grant"}'}, path_prefix="/token")])
    (authorization,) = (await fcm.check()).values()
    assert re.fullmatch(r"refused: invalid_grant \(127\.0\.0\.1:[0-9]+\)", authorization)
    fcm_emulator.set_faults([fault({"reason": "PERMISSION_DENIED"})])
    assert (await fcm.check())["request"] == "refused: PERMISSION_DENIED 403"


async def test_a_check_says_from_where_no_access_token_came(fcm_emulator: FcmEmulator) -> None:
    params = fcm_params(fcm_emulator)
    params["service_account"] = params["service_account"] | {"token_uri": "http://127.0.0.1:1/token"}
    async with FcmProvider(stored(params)) as provider:
        assert await provider.check() == {"authorization": "no answer: TransportError (127.0.0.1:1)"}


@pytest.mark.parametrize("transport", ["http2", "httpx"])
async def test_a_check_says_where_it_could_not_connect_to(fcm_emulator: FcmEmulator, transport: str) -> None:
    params = fcm_params(fcm_emulator, endpoint="http://127.0.0.1:1", transport=transport)
    async with FcmProvider(stored(params)) as provider:
        connect = (await provider.check())["connect"]
    assert connect.startswith("no connection: ")
    assert connect.endswith(" (127.0.0.1:1)")
