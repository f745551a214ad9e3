"""Push services as others choose them: addresses that may not be reached, services that are not there, many of them."""

import asyncio
import socket

import msgspec
import pytest

from delivery.guard import Allowed
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.credential_fields import Way
from delivery.providers.webpush import OPTIONS
from delivery.providers.webpush_attempt import WebpushAttempt
from delivery.providers.webpush_origins import Origins, TooManyOriginsError
from delivery.providers.webpush_subscription import SubscriptionError, audience, host_and_port
from tests.delivery.http_peer import Request, serving
from tests.delivery.providers.push_service import (
    LOCAL,
    PUSH,
    Browser,
    a_push_service,
    authority,
    provider_of,
    said,
    submit,
)
from tests.delivery.providers.sending import Watched, batch_of, send, until

QUICK = msgspec.structs.replace(OPTIONS, backoff_base=0.0, tick_seconds=0.01)


def not_connected(reason: str, scope: str, seconds: float | None = None) -> Outcome:
    return Outcome(Kind.RETRY, reason, pause=Pause("throttle", scope, seconds), counts_as_attempt=False)


async def test_a_private_address_is_not_connected_to_and_fails_only_who_is_there() -> None:
    async with a_push_service() as service, provider_of(Allowed()) as provider:
        results = await send(provider, service.batch(3), PUSH)
        assert results.exceptions == dict.fromkeys(range(3), Outcome(Kind.FAILED, "AddressNotAllowed"))
        assert not service.connections


async def test_a_refused_address_is_looked_at_again_after_a_minute() -> None:
    now = [1_700_000_000.0]
    async with a_push_service() as service, provider_of(Allowed(), clock=lambda: now[0], options=QUICK) as provider:
        for _ in range(2):
            batch = service.batch(3)
            watched = Watched(batch)
            provider.submit(batch, provider.prepare(msgspec.Raw(PUSH), batch), watched.results)
            at_once = not watched.results.remaining
            assert {o.reason for o in (await watched.end()).exceptions.values()} == {"AddressNotAllowed"}
        assert at_once
        now[0] += 61
        batch = service.batch(3)
        watched = Watched(batch)
        provider.submit(batch, provider.prepare(msgspec.Raw(PUSH), batch), watched.results)
        assert watched.results.remaining
        assert {o.reason for o in (await watched.end()).exceptions.values()} == {"AddressNotAllowed"}


async def test_behind_a_proxy_what_is_known_to_be_private_is_refused_too() -> None:
    async with a_push_service() as service, provider_of(Allowed(), proxy="http://127.0.0.1:1") as provider:
        results = await send(provider, service.batch(), PUSH)
        assert results.exceptions == {0: Outcome(Kind.FAILED, "AddressNotAllowed")}


async def test_a_host_that_the_settings_allow_is_reached() -> None:
    async with a_push_service() as service, provider_of(Allowed.parse(service.scope)) as provider:
        assert not (await send(provider, service.batch(), PUSH)).exceptions


async def test_an_endpoint_of_the_credential_is_judged_too_and_pauses_it() -> None:
    async with a_push_service() as service, provider_of(Allowed(), endpoint=service.url) as provider:
        results = await send(provider, service.batch(2), PUSH)
        expected = Outcome(Kind.RETRY, "AddressNotAllowed", pause=Pause("trouble"), counts_as_attempt=False)
        assert expected in results.exceptions.values()
        assert set(results.exceptions.values()) <= {expected, Outcome(Kind.RELEASED, "Released")}
        assert not service.connections


async def test_a_service_that_is_not_there_waits_and_others_do_not() -> None:
    async with a_push_service() as service, provider_of(options=QUICK) as provider:
        scope = "localhost:1"
        gone = batch_of(1, id=1, scope=scope, tokens=[Browser().address(f"https://{scope}/x")])
        missing = asyncio.create_task(send(provider, gone, PUSH))
        assert not (await send(provider, service.batch(), PUSH)).exceptions
        assert (await missing).exceptions == {0: not_connected("NotConnected", scope)}


async def test_a_service_that_was_there_is_tried_again_soon() -> None:
    async with provider_of(options=QUICK) as provider:
        async with a_push_service() as service:
            await send(provider, service.batch(), PUSH)
        while not (results := await send(provider, service.batch(), PUSH)).exceptions[0].pause:
            pass  # it may be sent before we hear that the connection has ended
        assert results.exceptions == {0: not_connected("NotConnected", service.scope, 5.0)}


@pytest.mark.parametrize("error", [socket.EAI_NONAME, socket.EAI_AGAIN])
async def test_a_name_that_does_not_exist_is_not_waited_for_without_end(
    error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_the_name_server(*_: object, **__: object) -> None:
        raise socket.gaierror(error, "said the name server")

    monkeypatch.setattr(socket, "getaddrinfo", ask_the_name_server)
    async with provider_of(options=QUICK) as provider:
        scope = "nowhere.invalid"
        batch = batch_of(1, scope=scope, tokens=[Browser().address(f"https://{scope}/x")])
        outcome = (await send(provider, batch, PUSH)).exceptions[0]
    if error == socket.EAI_NONAME:
        assert outcome == Outcome(Kind.RETRY, "NoSuchHost", backoff_base_seconds=60.0)
    else:
        assert outcome == not_connected("NotConnected", scope)


async def test_a_service_that_speaks_no_http2_is_named_as_such(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: Request) -> bytes:
        raise AssertionError("nothing may be asked over HTTP/1.1")

    context = authority().server_context(())
    async with serving(answer, tls=context) as port, provider_of(options=QUICK) as provider:
        scope = f"localhost:{port}"
        batch = batch_of(1, scope=scope, tokens=[Browser().address(f"https://{scope}/x")])
        assert (await send(provider, batch, PUSH)).exceptions == {0: not_connected("NoHttp2", scope)}
    assert any(record.__dict__.get("origin") == scope for record in caplog.records)


@pytest.mark.parametrize("overridden", [True, False])
async def test_a_service_that_speaks_no_http2_is_served_by_httpx(overridden: bool) -> None:
    seen: list[Request] = []

    async def answer(request: Request) -> bytes:
        seen.append(request)
        return b"HTTP/1.1 201 Created\r\nlocation: /m/7\r\ncontent-length: 0\r\n\r\n"

    async with serving(answer, tls=authority().server_context(("http/1.1",))) as port:
        scope, browser = f"localhost:{port}", Browser()
        endpoint = f"https://{scope}" if overridden else None
        async with provider_of(transport="httpx", endpoint=endpoint) as provider:
            batch = batch_of(1, scope=scope, tokens=[browser.address(f"https://{scope}/x?y=1")])
            assert (await send(provider, batch, PUSH)).message_ids == [b"7"]
    assert seen[0].target == "/x?y=1"
    assert browser.read(seen[0].body) == b'{"title":"hello"}'
    assert seen[0].headers["ttl"] == "60"


async def test_httpx_connects_to_no_private_address_either() -> None:
    async with a_push_service() as service, provider_of(Allowed(), transport="httpx") as provider:
        results = await send(provider, service.batch(2), PUSH)
        assert results.exceptions == dict.fromkeys(range(2), Outcome(Kind.FAILED, "AddressNotAllowed"))
        assert not service.connections


async def test_httpx_says_when_a_service_is_not_there() -> None:
    async with provider_of(transport="httpx") as provider:
        batch = batch_of(1, scope="localhost:1", tokens=[Browser().address("https://localhost:1/x")])
        results = await send(provider, batch, PUSH)
        assert results.exceptions == {0: not_connected("NotConnected", "localhost:1")}
        assert provider.room("") == 2000


async def test_a_service_whose_certificate_nobody_signed_is_not_trusted() -> None:
    async with a_push_service() as service, provider_of(options=QUICK, tls_ca=None) as provider:
        assert (await send(provider, service.batch(), PUSH)).exceptions[0].reason == "NotConnected"
        assert not service.requests


async def test_a_redirect_is_not_followed() -> None:
    async with a_push_service() as other, a_push_service(said(308, location=other.url)) as service:
        async with provider_of() as provider:
            assert (await send(provider, service.batch(), PUSH)).exceptions == {
                0: Outcome(Kind.FAILED, "HTTP_308", 308)
            }
        assert not other.connections


async def test_each_service_has_connections_of_its_own() -> None:
    async with a_push_service() as one, a_push_service() as other, provider_of() as provider:
        for service in (one, other, one):
            assert not (await send(provider, service.batch(), PUSH)).exceptions
        assert (len(one.connections), len(other.connections)) == (1, 1)


async def test_a_service_that_answers_nothing_takes_no_more_and_others_go_on() -> None:
    now = [1_700_000_000.0]
    async with (
        a_push_service(streams=5) as silent,
        a_push_service() as other,
        provider_of(max_connections=1, clock=lambda: now[0]) as provider,
    ):
        silent.held = []
        batch, late = silent.batch(520), silent.batch(tokens=[silent.subscribe("/push/late")])
        first = Watched(batch)
        attempt = provider.submit(batch, provider.prepare(msgspec.Raw(PUSH), batch), first.results)
        assert isinstance(attempt, WebpushAttempt)
        await silent.got(5)
        await until(lambda: not attempt.waiting)
        now[0] += 6
        assert (await send(provider, late, PUSH)).exceptions == {0: not_connected("NoAnswers", silent.scope, 15.0)}
        assert not (await send(provider, other.batch(3), PUSH)).exceptions
        silent.release()
        assert not (await first.end()).exceptions


async def test_of_too_many_pools_the_idle_one_used_longest_ago_is_closed() -> None:
    origins = Origins(Way(), "", LOCAL, OPTIONS, most=3)
    first, second = origins.get("a.example"), origins.get("b.example")
    origins.get("c.example")
    assert origins.get("a.example") is first
    origins.get("d.example")
    assert len(origins) == 3
    assert origins.get("a.example") is first
    assert origins.get("b.example") is not second
    await origins.close(0.0)


async def test_a_busy_pool_is_not_closed() -> None:
    origins = Origins(Way(), "", LOCAL, OPTIONS, most=1)
    busy = origins.get("a.example")
    busy.waiting = 1
    with pytest.raises(TooManyOriginsError):
        origins.get("b.example")
    busy.waiting = 0
    assert origins.get("b.example") is not busy
    await origins.close(0.0)


async def test_room_counts_what_waits_for_every_service() -> None:
    async with a_push_service() as one, a_push_service() as other, provider_of() as provider:
        assert provider.room("") == 2000
        watched = [submit(provider, service.batch(100)) for service in (one, other)]
        assert provider.room("") == 1800
        for each in watched:
            await each.end()
        assert provider.room("") >= 2000


async def test_a_check_signs_and_connects_to_the_endpoint_if_there_is_one() -> None:
    async with a_push_service() as service:
        async with provider_of() as provider:
            (verdict,) = (await provider.check()).values()
            assert verdict.startswith("ok: ")
        async with provider_of(endpoint=service.url) as provider:
            assert (await provider.check())["connect"] == f"ok: {service.scope}"
        async with provider_of(Allowed(), endpoint=service.url) as provider:
            verdict = (await provider.check())["connect"]
            assert verdict == f"no connection: address not allowed ({service.scope})"


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ("push.example.com", ("push.example.com", 443)),
        ("push.example.com:8443", ("push.example.com", 8443)),
        ("[::1]:8443", ("::1", 8443)),
    ],
)
def test_an_origin_says_what_to_connect_to(scope: str, found: tuple[str, int]) -> None:
    assert host_and_port(scope) == found


@pytest.mark.parametrize("scope", ["", ":443", "host:", "host:0", "host:65536", "a b", "a/b", "user@host", "ä.example"])
def test_what_is_no_origin_is_refused(scope: str) -> None:
    with pytest.raises(SubscriptionError):
        host_and_port(scope)


def test_an_audience_names_no_port_that_https_has_anyway() -> None:
    assert audience("push.example.com:443") == audience("push.example.com") == "https://push.example.com"
    assert audience("push.example.com:8443") == "https://push.example.com:8443"
