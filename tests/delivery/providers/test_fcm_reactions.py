"""Every row of FCM's reaction table, over the wire."""

import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.fcm import FcmProvider
from delivery.providers.fcm_reactions import BAD_TARGET, TABLE, TARGET_QUOTA, read_refusal
from emulators.fcm import FcmEmulator
from tests.delivery.providers.sending import CLAIMED_AT, FCM_MESSAGE, batch_of, fault, outcome_of, send

BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"


def violation(field: str) -> dict[str, Any]:
    return {"reason": "INVALID_ARGUMENT", "details": [{"@type": BAD_REQUEST, "fieldViolations": [{"field": field}]}]}


def quota(subject: str) -> dict[str, Any]:
    return {"reason": "QUOTA_EXCEEDED", "details": [{"@type": QUOTA, "violations": [{"subject": subject}]}]}


def later(reason: str, status: int, **more: Any) -> Outcome:
    return Outcome(Kind.RETRY, reason, status, **({"backoff_base_seconds": 10.0} | more))


def paused(reason: str, status: int) -> Outcome:
    return Outcome(Kind.RETRY, reason, status, pause=Pause("trouble"), counts_as_attempt=False)


def throttled(seconds: float, status_word: str) -> Outcome:
    return Outcome(
        Kind.RETRY,
        status_word,
        429,
        retry_after_seconds=seconds,
        backoff_base_seconds=60.0,
        pause=Pause("throttle", seconds=seconds),
        counts_as_attempt=False,
    )


ROWS: list[tuple[dict[str, Any], Outcome]] = [
    ({"reason": "UNREGISTERED"}, Outcome(Kind.DEAD, "UNREGISTERED", 404, proof_at=CLAIMED_AT)),
    ({"reason": "NOT_FOUND"}, paused("NOT_FOUND", 404)),
    ({"status": 404, "html": True}, paused("HTTP_404", 404)),
    (violation("message.token"), Outcome(Kind.DEAD, "INVALID_ARGUMENT", 400, proof_at=CLAIMED_AT)),
    (violation("message.fid"), Outcome(Kind.DEAD, "INVALID_ARGUMENT", 400, proof_at=CLAIMED_AT)),
    (violation("message.data[0].value"), Outcome(Kind.FAILED, "INVALID_ARGUMENT", 400)),
    ({"reason": "INVALID_ARGUMENT"}, Outcome(Kind.FAILED, "INVALID_ARGUMENT", 400)),
    ({"reason": "SENDER_ID_MISMATCH"}, Outcome(Kind.DEAD, "SENDER_ID_MISMATCH", 403, proof_at=CLAIMED_AT)),
    ({"reason": "PERMISSION_DENIED"}, paused("PERMISSION_DENIED", 403)),
    ({"reason": "UNAUTHENTICATED"}, paused("UNAUTHENTICATED", 401)),
    ({"reason": "QUOTA_EXCEEDED"}, throttled(60.0, "QUOTA_EXCEEDED")),
    ({"reason": "QUOTA_EXCEEDED", "retry_after": 90}, throttled(90.0, "QUOTA_EXCEEDED")),
    (quota("project:tocsin"), throttled(60.0, "RESOURCE_EXHAUSTED")),
    (quota("device"), Outcome(Kind.RETRY, "RESOURCE_EXHAUSTED", 429, backoff_base_seconds=60.0)),
    ({"reason": "UNAVAILABLE"}, later("UNAVAILABLE", 503)),
    ({"reason": "UNAVAILABLE", "retry_after": 45}, later("UNAVAILABLE", 503, retry_after_seconds=45.0)),
    ({"reason": "INTERNAL"}, later("INTERNAL", 500)),
    ({"status": 500, "reason": "UNSPECIFIED_ERROR"}, later("UNSPECIFIED_ERROR", 500)),
    ({"status": 502, "html": True}, later("HTTP_502", 502)),
    ({"status": 504, "html": True}, later("HTTP_504", 504)),
    ({"status": 503, "bodyless": True}, later("HTTP_503", 503)),
    ({"status": 418, "body": "{}"}, Outcome(Kind.FAILED, "HTTP_418", 418)),
    ({"status": 599, "body": "{}"}, Outcome(Kind.RETRY, "HTTP_599", 599)),
    ({"status": 200, "html": True}, Outcome(Kind.UNKNOWN, "UnreadableAnswer", 200)),
]


@pytest.mark.parametrize(
    ("named", "logged"),
    [
        (["message.android.ttl"], "message.android.ttl"),
        (["message.android.ttl", "message.apns.payload"], "message.android.ttl,message.apns.payload"),
        (["message.data[0].value"], "message.data"),
        (["message.data.secret", "message.android.data.secret"], "message.data,message.android.data"),
        (["message.database.x"], "message.database.x"),
        (["message", "the secret text", "x" * 101], "message"),
    ],
)
async def test_a_refused_message_is_logged_once_with_its_fields_and_none_of_its_text(
    fcm: FcmProvider, fcm_emulator: FcmEmulator, caplog: pytest.LogCaptureFixture, named: list[str], logged: str
) -> None:
    violations = [{"field": field, "description": "secret"} for field in named]
    details = [{"@type": BAD_REQUEST, "fieldViolations": violations}]
    fcm_emulator.set_faults([fault({"reason": "INVALID_ARGUMENT", "details": details})])
    with caplog.at_level(logging.INFO, "delivery.providers"):
        await send(fcm, batch_of(3), FCM_MESSAGE)
    (record,) = [each for each in caplog.records if "refuses the message" in each.getMessage()]
    facts = vars(record)
    assert (facts["reason"], facts["status"], facts["field"]) == ("INVALID_ARGUMENT", 400, logged)
    assert "secret" not in str(facts)


async def test_a_dead_token_is_no_line_in_the_log(
    fcm: FcmProvider, fcm_emulator: FcmEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    fcm_emulator.set_faults([fault(violation("message.token"))])
    with caplog.at_level(logging.INFO, "delivery.providers"):
        await send(fcm, batch_of(), FCM_MESSAGE)
    assert not [each for each in caplog.records if "refuses" in each.getMessage()]


@pytest.mark.parametrize(("action", "expected"), ROWS)
async def test_an_answer_has_the_outcome_of_its_row(
    fcm: FcmProvider, fcm_emulator: FcmEmulator, action: dict[str, Any], expected: Outcome
) -> None:
    fcm_emulator.set_faults([fault(action)])
    assert await outcome_of(fcm, FCM_MESSAGE) == expected


@pytest.mark.parametrize("code", ["THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"])
async def test_a_wrong_key_at_another_service_pauses_that_platform_alone(
    fcm: FcmProvider, fcm_emulator: FcmEmulator, code: str
) -> None:
    fcm_emulator.set_faults([fault({"status": 401, "reason": code})])
    outcome = await outcome_of(fcm, FCM_MESSAGE, scope="ios")
    assert outcome == later(
        code, 401, pause=Pause("trouble", "ios"), backoff_base_seconds=60.0, counts_as_attempt=False
    )


async def test_a_wrong_key_at_another_service_pauses_nothing_when_the_platform_is_not_known(
    fcm: FcmProvider, fcm_emulator: FcmEmulator
) -> None:
    fcm_emulator.set_faults([fault({"reason": "THIRD_PARTY_AUTH_ERROR"})])
    outcome = await outcome_of(fcm, FCM_MESSAGE)
    assert outcome == later("THIRD_PARTY_AUTH_ERROR", 401, backoff_base_seconds=60.0)


async def test_fcms_own_words_for_a_malformed_token_are_understood_without_details(
    fcm: FcmProvider, fcm_emulator: FcmEmulator
) -> None:
    text = "The registration token is not a valid FCM registration token"
    body = f'{{"error":{{"code":400,"status":"INVALID_ARGUMENT","message":"{text}"}}}}'
    fcm_emulator.set_faults([fault({"status": 400, "body": body})])
    outcome = await outcome_of(fcm, FCM_MESSAGE)
    assert outcome == Outcome(Kind.DEAD, "INVALID_ARGUMENT", 400, proof_at=CLAIMED_AT)


async def test_a_topic_does_not_die(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    fcm_emulator.set_faults([fault({"reason": "UNREGISTERED"})])
    outcome = await outcome_of(fcm, FCM_MESSAGE, target="topic", tokens=[b"news"])
    assert outcome == Outcome(Kind.FAILED, "UNREGISTERED", 404)


async def test_a_date_to_come_back_at_is_understood(fcm: FcmProvider, fcm_emulator: FcmEmulator) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(days=2), usegmt=True)
    fcm_emulator.set_faults([fault({"reason": "UNAVAILABLE", "retry_after": date})])
    assert (await outcome_of(fcm, FCM_MESSAGE)).retry_after_seconds == 3600.0


async def test_a_project_over_its_quota_gives_back_what_is_not_sent(
    fcm: FcmProvider, fcm_emulator: FcmEmulator
) -> None:
    fcm_emulator.set_faults([fault({"reason": "QUOTA_EXCEEDED"})])
    results = await send(fcm, batch_of(1500), FCM_MESSAGE)
    kinds = [outcome.kind for outcome in results.exceptions.values()]
    assert kinds.count(Kind.RETRY) == fcm_emulator.counters().requests < 1500
    assert kinds.count(Kind.RELEASED) == 1500 - fcm_emulator.counters().requests


def test_every_row_of_the_table_is_tested_here() -> None:
    codes = {("THIRD_PARTY_AUTH_ERROR", 401), ("APNS_AUTH_ERROR", 401)}
    codes |= {("UNREGISTERED", 404), ("SENDER_ID_MISMATCH", 403), ("INVALID_ARGUMENT", 400)}
    codes |= {(BAD_TARGET, 400), (TARGET_QUOTA, 429)}
    codes |= {("", status) for status in (401, 403, 404, 429, 500, 502, 503, 504)}
    assert codes == {(row, status) for status, row in TABLE}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error":3}', b"\xff", b"<html>", b"[" * 5000, b'{"error":{"stat'])
def test_a_body_that_is_not_fcms_leaves_the_status(body: bytes) -> None:
    assert read_refusal(503, body).reason == "HTTP_503"


def test_details_of_another_shape_do_not_hide_the_status() -> None:
    assert read_refusal(503, b'{"error":{"status":"UNAVAILABLE","details":"none"}}').reason == "UNAVAILABLE"
