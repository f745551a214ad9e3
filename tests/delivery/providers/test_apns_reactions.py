"""Every row of APNs' reaction table, over the wire."""

import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.apns import ApnsProvider
from delivery.providers.apns_reactions import TABLE, read_refusal
from emulators.apns import ApnsEmulator
from tests.delivery.providers.sending import APNS_PAYLOAD, CLAIMED_AT, batch_of, fault, outcome_of, send

WHOLE = Pause("trouble")
INPUT = [
    (400, "BadCollapseId"),
    (400, "BadExpirationDate"),
    (400, "BadMessageId"),
    (400, "BadPriority"),
    (400, "BadTopic"),
    (400, "InvalidPushType"),
    (400, "DuplicateHeaders"),
    (400, "MissingDeviceToken"),
    (400, "MissingTopic"),
    (400, "PayloadEmpty"),
    (404, "BadPath"),
    (405, "MethodNotAllowed"),
    (413, "PayloadTooLarge"),
]
TROUBLE = [
    (403, "InvalidProviderToken"),
    (403, "MissingProviderToken"),
    (403, "BadCertificate"),
    (403, "BadCertificateEnvironment"),
    (403, "Forbidden"),
    (403, "BadEnvironmentKeyIdInToken"),
    (403, "BadEnvironmentKeyInToken"),
    (403, "ExpiredProviderToken"),
    (403, "UnrelatedKeyIdInToken"),
]
LATER = [
    (429, "TooManyRequests"),
    (429, "TooManyProviderTokenUpdates"),
    (500, "InternalServerError"),
    (503, "ServiceUnavailable"),
    (503, "Shutdown"),
    (400, "IdleTimeout"),
]


@pytest.mark.parametrize(("status", "reason"), INPUT)
async def test_a_message_apns_cannot_take_fails(
    apns: ApnsProvider, apns_emulator: ApnsEmulator, status: int, reason: str
) -> None:
    apns_emulator.set_faults([fault({"status": status, "reason": reason})])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(Kind.FAILED, reason, status)


async def test_a_token_of_another_app_is_let_go_of(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"status": 400, "reason": "DeviceTokenNotForTopic"})])
    outcome = await outcome_of(apns, APNS_PAYLOAD)
    assert (outcome.kind, outcome.reason, outcome.status) == (Kind.DEAD, "DeviceTokenNotForTopic", 400)


@pytest.mark.parametrize(("status", "reason"), TROUBLE)
async def test_trouble_with_the_credential_pauses_it_and_does_not_count(
    apns: ApnsProvider, apns_emulator: ApnsEmulator, status: int, reason: str
) -> None:
    apns_emulator.set_faults([fault({"status": status, "reason": reason})])
    expected = Outcome(Kind.RETRY, reason, status, pause=WHOLE, counts_as_attempt=False)
    assert await outcome_of(apns, APNS_PAYLOAD) == expected


@pytest.mark.parametrize(("status", "reason"), LATER)
async def test_trouble_that_passes_is_tried_again_later(
    apns: ApnsProvider, apns_emulator: ApnsEmulator, status: int, reason: str
) -> None:
    apns_emulator.set_faults([fault({"status": status, "reason": reason})])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(Kind.RETRY, reason, status)


@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
async def test_a_dead_token_is_proven_by_apples_timestamp(
    apns: ApnsProvider, apns_emulator: ApnsEmulator, reason: str
) -> None:
    apns_emulator.set_faults([fault({"status": 410, "reason": reason, "timestamp_ms": 1_650_000_000_500})])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(Kind.DEAD, reason, 410, proof_at=1_650_000_000.5)


async def test_a_dead_token_without_a_timestamp_is_proven_by_the_start_of_sending(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    apns_emulator.set_faults([fault({"status": 410, "body": '{"reason":"Unregistered"}'})])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(Kind.DEAD, "Unregistered", 410, proof_at=CLAIMED_AT)


async def test_a_bad_token_is_dead_since_the_start_of_sending(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"reason": "BadDeviceToken"})])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(Kind.DEAD, "BadDeviceToken", 400, proof_at=CLAIMED_AT)


async def test_a_disallowed_topic_pauses_that_topic_alone(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"reason": "TopicDisallowed"})])
    notification = b'{"headers":{"apns-topic":"com.example.other"},"payload":{"aps":{"alert":"x"}}}'
    outcome = await outcome_of(apns, notification, scope="com.example.other")
    pause = Pause("trouble", "com.example.other")
    assert outcome == Outcome(Kind.RETRY, "TopicDisallowed", 400, pause=pause, counts_as_attempt=False)


@pytest.mark.parametrize(("status", "kind"), [(418, Kind.FAILED), (599, Kind.RETRY), (301, Kind.RETRY)])
async def test_a_reason_that_nobody_knows_is_judged_by_its_status(
    apns: ApnsProvider, apns_emulator: ApnsEmulator, status: int, kind: Kind
) -> None:
    apns_emulator.set_faults([fault({"status": status, "body": '{"reason":"BrandNew"}'})])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(kind, "BrandNew", status)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Outcome(Kind.FAILED, "HTTP_400", 400)),
        (403, Outcome(Kind.RETRY, "HTTP_403", 403, pause=WHOLE, counts_as_attempt=False)),
        (410, Outcome(Kind.DEAD, "HTTP_410", 410, proof_at=CLAIMED_AT)),
        (429, Outcome(Kind.RETRY, "HTTP_429", 429)),
        (503, Outcome(Kind.RETRY, "HTTP_503", 503)),
    ],
)
@pytest.mark.parametrize("action", [{"bodyless": True}, {"html": True}, {"body": '{"reason":"Unreg'}])
async def test_an_answer_without_a_readable_reason_is_judged_by_its_status(
    apns: ApnsProvider, apns_emulator: ApnsEmulator, action: dict[str, object], status: int, expected: Outcome
) -> None:
    apns_emulator.set_faults([fault({"status": status} | action)])
    assert await outcome_of(apns, APNS_PAYLOAD) == expected


async def test_a_reason_split_over_two_frames_is_read_whole(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"reason": "PayloadEmpty", "split_body": True})])
    assert await outcome_of(apns, APNS_PAYLOAD) == Outcome(Kind.FAILED, "PayloadEmpty", 400)


async def test_the_wait_that_apns_asks_for_is_passed_on(apns: ApnsProvider, apns_emulator: ApnsEmulator) -> None:
    apns_emulator.set_faults([fault({"reason": "TooManyRequests", "retry_after": 17})])
    outcome = await outcome_of(apns, APNS_PAYLOAD)
    assert outcome == Outcome(Kind.RETRY, "TooManyRequests", 429, retry_after_seconds=17.0)


@pytest.mark.parametrize("reason", ["IdleTimeout", "Shutdown", "UnrelatedKeyIdInToken"])
async def test_an_exhausted_connection_is_replaced_and_the_push_goes_again_at_once(
    apns: ApnsProvider, apns_emulator: ApnsEmulator, reason: str
) -> None:
    apns_emulator.set_faults([fault({"reason": reason}, count=1)])
    results = await send(apns, batch_of(), APNS_PAYLOAD)
    assert not results.exceptions
    assert apns_emulator.counters().connections_opened == 2


async def test_what_was_not_sent_when_a_credential_pauses_is_given_back(
    apns: ApnsProvider, apns_emulator: ApnsEmulator
) -> None:
    apns_emulator.set_faults([fault({"reason": "InvalidProviderToken"})])
    results = await send(apns, batch_of(200), APNS_PAYLOAD)
    kinds = [outcome.kind for outcome in results.exceptions.values()]
    assert kinds.count(Kind.RETRY) == apns_emulator.counters().requests == 1
    assert kinds.count(Kind.RELEASED) == 199


def test_every_row_of_the_table_is_tested_here() -> None:
    tested = {*INPUT, *TROUBLE, *LATER, (400, "BadDeviceToken"), (400, "TopicDisallowed")}
    tested |= {(400, "DeviceTokenNotForTopic")}
    tested |= {(410, "Unregistered"), (410, "ExpiredToken")}
    tested |= {(status, "") for status in (403, 410, 429, 500, 503)}
    assert tested == set(TABLE)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"reason":1}', b"\xff", b'{"reason":"a b"}', b"[" * 5000])
def test_a_body_that_is_not_apples_says_nothing(body: bytes) -> None:
    assert read_refusal(body).reason == ""
