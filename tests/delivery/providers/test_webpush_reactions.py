"""Every row of the reaction table of Web Push, over the wire."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from delivery.breaker import is_suspicious
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.webpush_reactions import TABLE, WNS
from emulators.exchange import Answer
from tests.delivery.providers.push_service import PUSH, PushService, a_push_service, provider_of, said
from tests.delivery.providers.sending import CLAIMED_AT, send

WINDOWS = "wns2-par02p.notify.windows.com"


def apple(reason: str) -> bytes:
    return f'{{"reason":"{reason}"}}'.encode()


def mozilla(code: int, errno: int) -> bytes:
    return f'{{"code":{code},"errno":{errno},"error":"x","message":"y","more_info":"https://z"}}'.encode()


def dead(status: int, reason: str) -> Outcome:
    return Outcome(Kind.DEAD, reason, status, proof_at=CLAIMED_AT)


def failed(status: int, reason: str) -> Outcome:
    return Outcome(Kind.FAILED, reason, status)


def later(status: int, reason: str, base: float = 10.0, wait: float | None = None) -> Outcome:
    return Outcome(Kind.RETRY, reason, status, retry_after_seconds=wait, backoff_base_seconds=base)


def throttled(status: int, reason: str, seconds: float, scope: str = "") -> Outcome:
    return Outcome(
        Kind.RETRY,
        reason,
        status,
        retry_after_seconds=seconds,
        backoff_base_seconds=60.0,
        pause=Pause("throttle", scope, seconds),
        counts_as_attempt=False,
    )


def paused(status: int, reason: str, scope: str = "") -> Outcome:
    return Outcome(Kind.RETRY, reason, status, pause=Pause("trouble", scope), counts_as_attempt=False)


ROWS: list[tuple[Answer, Outcome]] = [
    (said(400), failed(400, "HTTP_400")),
    (said(400, apple("BadTtl")), failed(400, "BadTtl")),
    (said(400, apple("BadUrgency")), failed(400, "BadUrgency")),
    (said(400, apple("BadWebPushTopic")), failed(400, "BadWebPushTopic")),
    (said(400, apple("BadWebPushRequest")), failed(400, "BadWebPushRequest")),
    (said(400, mozilla(400, 101)), failed(400, "errno_101")),
    (said(400, mozilla(400, 110)), failed(400, "errno_110")),
    (said(400, mozilla(400, 111)), failed(400, "errno_111")),
    (said(400, x_wns_error_description="Ttl value conflicts"), failed(400, "HTTP_400")),
    (said(400, apple("VapidPkHashMismatch")), dead(400, "VapidPkHashMismatch")),
    (said(400, b"UnauthorizedRegistration"), dead(400, "UnauthorizedRegistration")),
    (said(400, b"<html>MismatchSenderId</html>"), dead(400, "MismatchSenderId")),
    (said(401, mozilla(401, 109)), dead(401, "errno_109")),
    (said(401, b"UnauthorizedRegistration"), dead(401, "UnauthorizedRegistration")),
    (said(403), dead(403, "HTTP_403")),
    (said(403, apple("BadJwtToken")), paused(403, "BadJwtToken")),
    (said(403, apple("ExpiredJwtToken")), paused(403, "ExpiredJwtToken")),
    (said(403, apple("VapidPkHashMismatch")), dead(403, "VapidPkHashMismatch")),
    (
        said(403, b"the VAPID credentials in the authorization header do not correspond to the credentials used here"),
        dead(403, "VapidKeyMismatch"),
    ),
    (said(404), dead(404, "HTTP_404")),
    (said(404, b"<html>not here</html>"), dead(404, "HTTP_404")),
    (said(404, mozilla(404, 102)), dead(404, "errno_102")),
    (said(404, apple("BadPath")), failed(404, "BadPath")),
    (said(405), failed(405, "HTTP_405")),
    (said(410, mozilla(410, 103)), dead(410, "errno_103")),
    (said(410, mozilla(410, 106)), dead(410, "errno_106")),
    (said(410, apple("Unregistered")), dead(410, "Unregistered")),
    (said(410, b"push subscription has unsubscribed or expired."), dead(410, "Unsubscribed")),
    (said(410, x_wns_status="dropped"), dead(410, "HTTP_410")),
    (said(410, b"NotRegistered"), dead(410, "NotRegistered")),
    (said(406, x_wns_status="channelthrottled", retry_after="900"), throttled(406, "channelthrottled", 900.0)),
    (said(406, x_wns_status="dropped"), throttled(406, "dropped", 60.0)),
    (said(406), failed(406, "HTTP_406")),
    (said(413), failed(413, "HTTP_413")),
    (said(413, mozilla(413, 104)), failed(413, "errno_104")),
    (said(413, apple("PayloadTooLarge")), failed(413, "PayloadTooLarge")),
    (said(429), throttled(429, "HTTP_429", 60.0)),
    (said(429, apple("TooManyRequests"), retry_after="120"), throttled(429, "TooManyRequests", 120.0)),
    (said(429, retry_after="99999"), throttled(429, "HTTP_429", 3600.0)),
    (said(500), later(500, "HTTP_500")),
    (said(502, mozilla(502, 900)), later(502, "errno_900")),
    (said(503, b"<html>", retry_after="30"), later(503, "HTTP_503", wait=30.0)),
    (said(503, mozilla(503, 201)), later(503, "errno_201", base=60.0)),
    (said(504), later(504, "HTTP_504")),
    (said(301, location="https://elsewhere.example/"), failed(301, "HTTP_301")),
    (said(307, location="https://elsewhere.example/"), failed(307, "HTTP_307")),
    (said(418), failed(418, "HTTP_418")),
    (said(599), later(599, "HTTP_599", base=1.0)),
    (said(410, b'{"reason":"' + b"x" * 5000 + b'"}'), dead(410, "HTTP_410")),
    (said(410, b'{"reason":"two\\nlines"}'), dead(410, "HTTP_410")),
    (said(410, b'{"errno":"text"}'), dead(410, "HTTP_410")),
    (said(410, b"{"), dead(410, "HTTP_410")),
]


@pytest.mark.parametrize(("answer", "expected"), ROWS, ids=[f"{o.status} {o.reason}" for _, o in ROWS])
async def test_an_answer_has_its_row(answer: Answer, expected: Outcome) -> None:
    async with a_push_service(answer) as service, provider_of() as provider:
        results = await send(provider, service.batch(claimed_at=CLAIMED_AT), PUSH)
        found = results.exceptions[0]
        if expected.pause is not None:
            assert found.pause is not None
            assert found.pause.scope == service.scope
            assert replace(found, pause=replace(found.pause, scope="")) == expected
        else:
            assert found == expected


def test_every_row_is_tried() -> None:
    statuses = {outcome.status for _, outcome in ROWS}
    words = {(outcome.status, outcome.reason) for _, outcome in ROWS}
    assert {status for status, _ in TABLE if status > 299} <= statuses
    assert {row for row in TABLE if row[0] > 299 and row[1] not in ("", WNS, "errno_202")} <= words


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (said(201, location="https://push.example.com/m/abc-1?t=2"), b"abc-1"),
        (said(201, location="/message/0:17%41"), b"0:17%41"),
        (said(200, location="https://push.example.com/"), b"push.example.com"),
        (said(201, location="x" * 600), b""),
        (said(201), b""),
        (said(200, b"body"), b""),
        (said(202), b""),
        (said(204), b""),
    ],
)
async def test_a_message_that_is_taken_has_the_services_name(answer: Answer, name: bytes) -> None:
    async with a_push_service(answer) as service, provider_of() as provider:
        results = await send(provider, service.batch(), PUSH)
        assert results.message_ids == [name]


async def to_windows(service: PushService, body: bytes = PUSH) -> Outcome | None:
    """A push to a browser that subscribed at WNS, by way of our server."""
    async with provider_of(endpoint=service.url) as provider:
        token = service.subscribe("/w/?token=abc").replace(service.scope.encode(), WINDOWS.encode(), 1)
        results = await send(provider, service.batch(tokens=[token], scope=WINDOWS), body)
        return results.exceptions.get(0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said(201, x_wns_status="received"), None),
        (said(201), None),
        (said(201, x_wns_status="dropped"), failed(201, "dropped")),
        (said(200, x_wns_notificationstatus="dropped"), failed(200, "dropped")),
        (said(201, x_wns_status="channelthrottled"), later(201, "channelthrottled", base=60.0)),
    ],
)
async def test_windows_says_what_became_of_a_message_it_took(answer: Answer, expected: Outcome | None) -> None:
    async with a_push_service(answer) as service:
        assert await to_windows(service) == expected


async def test_windows_takes_a_ttl_of_nothing_with_a_header_of_its_own() -> None:
    async with a_push_service() as service:
        assert await to_windows(service, b'{"headers":{"TTL":0}}') is None
        assert await to_windows(service, b'{"headers":{"TTL":1}}') is None
        first, second = (request.headers for request in service.requests)
        assert (first["ttl"], first["x-wns-cache-policy"]) == ("0", "no-cache")
        assert "x-wns-cache-policy" not in second


async def test_mozillas_passing_trouble_is_tried_again_at_once_and_only_once() -> None:
    trouble = said(503, mozilla(503, 202))
    async with a_push_service(trouble) as service, provider_of() as provider:
        assert not (await send(provider, service.batch(), PUSH)).exceptions
        service.answers = [trouble, trouble]
        assert (await send(provider, service.batch(), PUSH)).exceptions[0] == later(503, "errno_202")
        assert len(service.requests) == 4


async def test_a_date_to_come_back_at_is_understood() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    async with a_push_service(said(503, retry_after=at)) as service, provider_of() as provider:
        wait = (await send(provider, service.batch(), PUSH)).exceptions[0].retry_after_seconds
        assert wait is not None
        assert 80 < wait <= 90


@pytest.mark.parametrize(("status", "suspicious"), [(401, True), (403, True), (404, False), (410, False)])
async def test_a_subscription_of_another_key_makes_the_credential_suspect(status: int, suspicious: bool) -> None:
    async with a_push_service(said(status)) as service, provider_of() as provider:
        outcome = (await send(provider, service.batch(), PUSH)).exceptions[0]
        assert outcome.kind is Kind.DEAD
        assert is_suspicious(outcome) is suspicious
        assert outcome.pause is None


async def test_a_refusal_is_logged_once_a_batch_and_names_no_browser(caplog: pytest.LogCaptureFixture) -> None:
    async with a_push_service(streams=10) as service, provider_of() as provider:
        batch = service.batch(60)
        service.answers = [said(403, apple("VapidPkHashMismatch")) for _ in range(60)]
        with caplog.at_level(logging.INFO, "delivery.providers"):
            await send(provider, batch, PUSH)
        (record,) = caplog.records
        assert record.__dict__["reason"] == "VapidPkHashMismatch"
        assert "/push/" not in str(record.__dict__)
