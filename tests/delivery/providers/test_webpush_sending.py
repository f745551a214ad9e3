"""Sending to a push service on loopback: what browsers read, and the failures of the wire."""

import time

import msgspec
import pytest

from delivery.outcomes import Kind, Outcome
from delivery.providers.webpush_payload import MAX_TTL_SECONDS
from delivery.providers.webpush_sealing import SLICE
from tests.delivery.providers.push_service import (
    PUSH,
    SUBJECT,
    Browser,
    a_push_service,
    claims_of,
    encoded,
    provider_of,
)
from tests.delivery.providers.sending import Watched, batch_of, send


async def test_every_browser_reads_its_message_and_the_services_name_for_it_is_kept() -> None:
    async with a_push_service() as service, provider_of() as provider:
        results = await send(provider, service.batch(300), PUSH)
        assert not results.exceptions
        assert service.messages == {f"/push/{number}": b'{"title":"hello"}' for number in range(300)}
        assert set(results.message_ids) == {b"%d" % number for number in range(1, 301)}


async def test_a_request_says_what_the_rfcs_ask_for() -> None:
    async with a_push_service() as service, provider_of() as provider:
        await send(provider, service.batch(), b'{"headers":{"TTL":"60","Urgency":"low","Topic":"news"},"payload":1}')
        headers = service.requests[0].headers
        assert service.requests[0].method == "POST"
        assert headers["content-encoding"] == "aes128gcm"
        assert (headers["ttl"], headers["urgency"], headers["topic"]) == ("60", "low", "news")


async def test_a_push_is_signed_for_the_service_that_gets_it() -> None:
    async with a_push_service() as service, provider_of() as provider:
        await send(provider, service.batch(), PUSH)
        claims, point = claims_of(service.requests[0])
        assert (claims["aud"], claims["sub"]) == (service.url, SUBJECT)
        assert 0 < claims["exp"] - time.time() <= 72_000
        assert encoded(point).startswith(repr(provider)[len("WebpushProvider(public_key='") : -2])


async def test_one_token_serves_all_pushes_to_an_origin() -> None:
    async with a_push_service() as service, provider_of() as provider:
        await send(provider, service.batch(50), PUSH)
        await send(provider, service.batch(50), PUSH)
        assert len({request.headers["authorization"] for request in service.requests}) == 1


@pytest.mark.parametrize(
    ("lane", "given", "sent"), [(0, b"", "high"), (1, b"", None), (0, b'"Urgency":"low"', "low"), (2, b"", None)]
)
async def test_an_urgent_push_is_of_high_urgency_unless_it_says_otherwise(
    lane: int, given: bytes, sent: str | None
) -> None:
    async with a_push_service() as service, provider_of() as provider:
        await send(provider, service.batch(lane=lane), b'{"headers":{' + given + b"}}")
        assert service.requests[0].headers.get("urgency") == sent


async def test_a_service_keeps_a_message_no_longer_than_the_push_lasts() -> None:
    async with a_push_service() as service, provider_of() as provider:
        await send(provider, service.batch(expire_at=time.time() + 100), b'{"headers":{"TTL":3600}}')
        await send(provider, service.batch(expire_at=time.time() + 1000), b'{"headers":{"TTL":60}}')
        await send(provider, service.batch(), b"{}")
        first, second, third = (int(request.headers["ttl"]) for request in service.requests)
        assert 0 < first <= 100
        assert (second, third) == (60, MAX_TTL_SECONDS)


async def test_apple_is_never_told_a_ttl_of_nothing() -> None:
    async with a_push_service() as service, provider_of(endpoint=service.url) as provider:
        token = service.subscribe("/abc").replace(service.scope.encode(), b"web.push.apple.com", 1)
        await send(provider, service.batch(tokens=[token], scope="web.push.apple.com"), b'{"headers":{"TTL":0}}')
        assert service.requests[0].headers["ttl"] == "1"


async def test_an_expired_push_is_not_sent() -> None:
    async with a_push_service() as service, provider_of() as provider:
        results = await send(provider, service.batch(expire_at=time.time() - 1), PUSH)
        assert results.exceptions[0].kind is Kind.EXPIRED
        assert not service.requests


async def test_recipients_may_get_messages_of_their_own() -> None:
    async with a_push_service() as service, provider_of() as provider:
        batch = service.batch(SLICE + 5)
        bodies = [b'{"payload":{"n":%d}}' % number for number in range(SLICE + 5)]
        each = [provider.prepare(msgspec.Raw(body), batch) for body in bodies]
        watched = Watched(batch)
        provider.submit(batch, each[0], watched.results, each)
        assert not (await watched.end()).exceptions
        assert service.messages == {f"/push/{number}": b'{"n":%d}' % number for number in range(SLICE + 5)}


async def test_a_push_without_a_payload_wakes_the_page() -> None:
    async with a_push_service() as service, provider_of() as provider:
        await send(provider, service.batch(), b'{"headers":{"TTL":60}}')
        assert service.messages == {"/push/0": b""}


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("{url}/w/?token=a%2bb", "/w/?token=a%2bb"),
        ("{url}", "/"),
        ("{url}?token=1", "/?token=1"),
        ("{url}/x#part", "/x"),
        ("HTTPS://LOCALHOST:{port}/Aa", "/Aa"),
    ],
)
async def test_a_request_goes_to_path_and_query_of_the_endpoint(endpoint: str, path: str) -> None:
    async with a_push_service() as service, provider_of() as provider:
        address = Browser().address(endpoint.format(url=service.url, port=service.port))
        assert not (await send(provider, service.batch(tokens=[address]), PUSH)).exceptions
        assert service.requests[0].path == path
        assert service.requests[0].headers[":authority"] == service.scope


async def test_an_endpoint_of_the_credential_takes_all_and_the_token_names_the_origin() -> None:
    async with a_push_service() as service, provider_of(endpoint=service.url + "/base/") as provider:
        for scope in ("fcm.googleapis.com", "updates.push.services.mozilla.com:443"):
            address = Browser().address(f"https://{scope}/wpush/1?x=2")
            assert not (await send(provider, service.batch(tokens=[address], scope=scope), PUSH)).exceptions
        assert {request.path for request in service.requests} == {"/base/wpush/1?x=2"}
        audiences = [claims_of(request)[0]["aud"] for request in service.requests]
        assert audiences == ["https://fcm.googleapis.com", "https://updates.push.services.mozilla.com"]


BAD = {
    "other origin": (b"https://elsewhere.example/x %b %b", "InvalidSubscription"),
    "longer host": (b"https://localhost:%d.elsewhere.example/x %b %b", "InvalidSubscription"),
    "plain http": (b"http://localhost:%d/x %b %b", "InvalidSubscription"),
    "no keys": (b"https://localhost:%d/x", "InvalidSubscription"),
    "four parts": (b"https://localhost:%d/x %b %b more", "InvalidSubscription"),
    "not ASCII": ("https://localhost:%d/ä %%b %%b".encode(), "InvalidSubscription"),
    "very long": (b"https://localhost:%d/" + b"x" * 2048 + b" %b %b", "InvalidSubscription"),
    "point not on the curve": (
        b"https://localhost:%d/x " + encoded(b"\4" + b"\1" * 64).encode() + b" %b",
        "InvalidKeys",
    ),
    "short point": (b"https://localhost:%d/x AAAA %b", "InvalidKeys"),
    "short secret": (b"https://localhost:%d/x %b AAAA", "InvalidKeys"),
}


@pytest.mark.parametrize("form", BAD)
async def test_an_address_that_is_none_fails_alone(form: str) -> None:
    async with a_push_service() as service, provider_of() as provider:
        batch = service.batch(SLICE + 2)
        browser = Browser()
        text, reason = BAD[form]
        text = text.replace(b"%d", b"%d" % service.port).replace(b"%%", b"%")
        point, secret = encoded(browser.point).encode(), encoded(browser.secret).encode()
        parts = [point, secret] if text.count(b"%b") == 2 else [secret if text.endswith(b" %b") else point]
        batch.tokens[1] = text % tuple(parts[: text.count(b"%b")])
        results = await send(provider, batch, PUSH)
        assert results.exceptions == {1: Outcome(Kind.FAILED, reason)}
        assert len(service.requests) == SLICE + 1


async def test_a_batch_of_nobody_who_can_be_reached_ends() -> None:
    async with a_push_service() as service, provider_of() as provider:
        results = await send(provider, service.batch(tokens=[b"x"] * 40), PUSH)
        assert {outcome.reason for outcome in results.exceptions.values()} == {"InvalidSubscription"}


@pytest.mark.parametrize("scope", ["", "a b", "host:port", "host:99999", "host:0", "me@host", "host/path"])
async def test_an_origin_that_is_none_fails_its_recipients(scope: str) -> None:
    async with provider_of() as provider:
        batch = batch_of(2, scope=scope, tokens=[Browser().address(f"https://{scope}/x")] * 2)
        results = await send(provider, batch, PUSH)
        assert {outcome.reason for outcome in results.exceptions.values()} == {"InvalidSubscription"}
