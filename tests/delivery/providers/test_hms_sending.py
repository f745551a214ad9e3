"""The HMS provider against a real HTTP server on loopback: what is sent, and to how many at once."""

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from delivery.batches import Results
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.contract import PayloadError
from delivery.providers.hms import OPTIONS
from delivery.providers.hms_message import HmsMessage
from emulators.authority import Authority
from tests.delivery.http_peer import Request, serving
from tests.delivery.providers.company import Said, credentials_of
from tests.delivery.providers.huawei import APP_ID, DATA, LATE, MESSAGE, SECRET, a_huawei, batch, provider_of, said
from tests.delivery.providers.sending import Watched, send, until

RELEASED = Outcome(Kind.RELEASED, "Released")


async def test_a_thousand_recipients_share_a_request_and_its_name() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        results = await send(provider, batch(1000), MESSAGE)
    assert not results.exceptions
    assert set(results.message_ids) == {b"request-1"}
    (message,) = huawei.messages
    assert message.pop("token") == [f"IQAAAACy0h-{n}" for n in range(1000)]
    assert {"message": message} == json.loads(MESSAGE)


async def test_more_than_a_thousand_recipients_get_another_request() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        results = await send(provider, batch(2300), MESSAGE)
    assert not results.exceptions
    assert sorted(len(message["token"]) for message in huawei.messages) == [300, 1000, 1000]
    assert len({token for message in huawei.messages for token in message["token"]}) == 2300


async def test_recipients_of_equal_messages_share_a_request() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        of_all = batch(5)
        each = [provider.prepare(msgspec.Raw(b'{"message":{"data":"%d"}}' % n), of_all) for n in (1, 2, 1, 2, 3)]
        watched = Watched(of_all)
        provider.submit(of_all, each[0], watched.results, each)
        assert not (await watched.end()).exceptions
    got = {message["data"]: [token[-1] for token in message["token"]] for message in huawei.messages}
    assert got == {"1": ["0", "2"], "2": ["1", "3"], "3": ["4"]}


@pytest.mark.parametrize(("target", "value"), [("topic", "news"), ("condition", "'a' in topics && !('b' in topics)")])
async def test_topics_and_conditions_get_a_request_each(target: str, value: str) -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        results = await send(provider, batch(target=target, tokens=[value.encode(), b"other"]), DATA)
    assert results.message_ids == [b"request-1"] * 2
    found = sorted(huawei.messages, key=lambda message: str(message[target] == "other"))
    assert found == [{"data": "{}", target: value}, {"data": "{}", target: "other"}]


async def test_a_message_is_kept_no_longer_than_its_push() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        await send(provider, batch(expire_at=time.time() + 600), DATA)
        await send(provider, batch(expire_at=LATE), DATA)
        await send(provider, batch(), DATA)
    first, second, third = huawei.messages
    assert 590 <= int(first["android"]["ttl"].removesuffix("s")) <= 600
    assert second["android"] == {"ttl": "1296000s"}
    assert "android" not in third


async def test_a_message_past_its_time_is_not_sent() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        results = await send(provider, batch(2, expire_at=1.0), DATA)
    assert results.exceptions == dict.fromkeys(range(2), Outcome(Kind.EXPIRED, "Expired"))
    assert not huawei.requests


async def test_all_that_wait_for_an_access_token_share_one_fetch() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        async with asyncio.TaskGroup() as sending:
            for number in range(20):
                sending.create_task(send(provider, batch(5, id=number), DATA))
        await send(provider, batch(), DATA)
    assert len(huawei.fetches) == 1
    assert {request.headers["authorization"] for request in huawei.requests} == {"Bearer CgB6/1=="}


async def test_an_expired_access_token_is_fetched_anew_once_for_all() -> None:
    async with a_huawei() as huawei, provider_of(huawei, max_connections=2) as provider:
        await send(provider, batch(), DATA)
        huawei.valid = "revoked"
        assert not (await send(provider, batch(6, target="topic"), DATA)).exceptions
    assert len(huawei.fetches) == 2
    assert len(huawei.requests) <= 1 + 2 + 6  # what was not sent yet waited for the new one


async def test_a_secret_that_huawei_refuses_pauses_the_credential() -> None:
    expected = Outcome(
        Kind.RETRY, "OAuth_1101_20155", backoff_base_seconds=10.0, pause=Pause("trouble"), counts_as_attempt=False
    )
    async with a_huawei() as huawei, provider_of(huawei, app_secret="another") as provider:
        results = await send(provider, batch(3), DATA)
    assert results.exceptions == dict.fromkeys(range(3), expected)
    assert not huawei.requests


async def test_trouble_at_the_issuer_pauses_nothing() -> None:
    expected = Outcome(Kind.RETRY, "HTTP_502", backoff_base_seconds=10.0, counts_as_attempt=False)
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        huawei.grants = [Said(502, b"<html>")]
        assert (await send(provider, batch(), DATA)).exceptions == {0: expected}
        assert not (await send(provider, batch(), DATA)).exceptions


async def test_a_batch_that_waits_for_an_access_token_can_be_cancelled() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        huawei.hold_grants.clear()
        free = provider.free_requests()
        watched = Watched(batch(1500))
        attempt = provider.submit(watched.results.batch, provider.prepare(msgspec.Raw(DATA), batch()), watched.results)
        await huawei.asked(1)
        assert provider.free_requests() == free - 2
        attempt.cancel()
        results = await watched.end()
        huawei.hold_grants.set()
        await provider.tokens.wait()
    assert list(results.exceptions.values()) == [RELEASED] * 1500
    assert not huawei.requests


async def test_requests_at_once_are_bounded_and_what_waits_can_be_cancelled() -> None:
    async with a_huawei(held=True) as huawei, provider_of(huawei, max_connections=3) as provider:
        await provider.tokens.wait()
        free = provider.free_requests()
        watched = Watched(batch(5, target="topic"))
        attempt = provider.submit(watched.results.batch, provider.prepare(msgspec.Raw(DATA), batch()), watched.results)
        await huawei.got(3)
        assert provider.free_requests() == free - 2
        attempt.cancel()
        huawei.hold.set()
        results = await watched.end()
    assert len(huawei.requests) == 3
    assert list(results.exceptions.values()) == [RELEASED] * 2


async def test_more_is_claimed_where_more_recipients_share_a_request() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        at_first = provider.room("")
        for _ in range(20):
            await send(provider, batch(1000), DATA)
        shared = provider.room("")
        for _ in range(20):
            await send(provider, batch(2, target="topic"), DATA)
        assert 1 <= provider.room("") < at_first < shared
        assert shared > 900 * provider.free_requests()


async def test_a_provider_that_closes_lets_what_is_in_flight_be_answered() -> None:
    async with a_huawei(held=True) as huawei:
        provider = provider_of(huawei, max_connections=1)
        watched = Watched(batch(2, target="topic"))
        provider.submit(watched.results.batch, provider.prepare(msgspec.Raw(DATA), batch()), watched.results)
        await huawei.got(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(provider.close(10.0))
            await until(lambda: provider.room("") == 0)
            huawei.hold.set()
        results: Results = await watched.end()
    assert results.message_ids[0] == b"request-1"
    assert results.exceptions == {1: RELEASED}


async def test_a_lost_answer_leaves_it_unknown_whether_the_message_was_taken() -> None:
    async with a_huawei(Said(drop=True)) as huawei, provider_of(huawei) as provider:
        results = await send(provider, batch(3), DATA)
    assert results.exceptions == dict.fromkeys(range(3), Outcome(Kind.UNKNOWN, "ConnectionLost"))
    assert len(huawei.requests) == 1


async def test_an_answer_that_takes_too_long_leaves_it_unknown() -> None:
    options = msgspec.structs.replace(OPTIONS, request_timeout=0.2)
    async with a_huawei(held=True) as huawei, provider_of(huawei, options=options) as provider:
        results = await send(provider, batch(2), DATA)
    assert results.exceptions == dict.fromkeys(range(2), Outcome(Kind.UNKNOWN, "Timeout"))


async def test_a_message_that_could_not_be_sent_does_not_count_as_tried() -> None:
    async with a_huawei() as nobody:
        pass
    async with a_huawei() as huawei, provider_of(huawei, endpoint=nobody.url) as provider:
        results = await send(provider, batch(), DATA)
    assert results.exceptions == {0: Outcome(Kind.RETRY, "NotConnected", counts_as_attempt=False)}


async def test_the_certificates_of_both_services_are_checked_against_the_authorities_given() -> None:
    trusted, foreign = Authority.create(), Authority.create()
    tls = trusted.server_context(["http/1.1"], ["127.0.0.1"])
    async with a_huawei(tls=tls) as huawei:
        async with provider_of(huawei, tls_ca=trusted.ca_pem) as provider:
            assert not (await send(provider, batch(), DATA)).exceptions
        async with provider_of(huawei, tls_ca=foreign.ca_pem) as provider:
            refused = (await send(provider, batch(), DATA)).exceptions[0]
    assert refused == Outcome(Kind.RETRY, "ConnectError", backoff_base_seconds=10.0, counts_as_attempt=False)
    assert len(huawei.fetches) == len(huawei.requests) == 1


async def test_a_proxy_carries_both_requests_and_gets_its_own_password() -> None:
    seen: list[Request] = []

    async def proxy(request: Request) -> bytes:
        seen.append(request)
        return Said(200, b'{"access_token":"a","code":"80000000"}').wire

    async with serving(proxy) as port, a_huawei() as huawei:
        changes: dict[str, Any] = {
            "proxy": f"http://me:word@127.0.0.1:{port}",
            "endpoint": "http://push.huawei.invalid/base",
            "token_url": "http://login.huawei.invalid/token",
        }
        async with provider_of(huawei, **changes) as provider:
            assert not (await send(provider, batch(), DATA)).exceptions
    assert [request.target for request in seen] == [
        "http://login.huawei.invalid/token",
        f"http://push.huawei.invalid/base/v1/{APP_ID}/messages:send",
    ]
    assert {credentials_of(request.headers["proxy-authorization"]) for request in seen} == {"me:word"}


async def test_a_payload_that_huawei_would_refuse_is_not_sent() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        with pytest.raises(PayloadError):
            provider.prepare(msgspec.Raw(b'{"message":{"notification":{"title":"no tap"}}}'), batch())


async def test_nothing_that_is_printed_holds_a_secret_or_a_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "delivery")
    answers = [said("80300002"), said("80300011"), Said(drop=True), said("80100000", "IQAAAACy0h-0")]
    async with a_huawei(*answers) as huawei, provider_of(huawei) as provider:
        one = batch()
        message = provider.prepare(msgspec.Raw(MESSAGE), one)
        watched = Watched(one)
        attempt = provider.submit(one, message, watched.results)
        texts = [repr(each) for each in (provider, provider.tokens, message, attempt, attempt.bodies, watched.results)]
        await watched.end()
        for _ in answers[1:]:
            await send(provider, batch(), MESSAGE)
        huawei.valid = "revoked"
        huawei.grants = [Said(400, json.dumps({"error": SECRET}).encode())]
        await send(provider, batch(), MESSAGE)
    assert isinstance(message, HmsMessage)
    texts += [str(record.__dict__) for record in caplog.records]
    hidden = (SECRET, "IQAAAA", "CgB6", "hello")
    assert not [text for text in texts if any(word in text for word in hidden)]
    assert any(APP_ID in text for text in texts)
