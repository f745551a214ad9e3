"""The webhook provider against a real HTTP server on loopback: what is sent, and what each answer leads to."""

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from delivery.batches import Attributes, Batch, Results
from delivery.guard import Allowed
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.contract import PayloadError
from delivery.providers.webhook_reactions import TABLE
from emulators.authority import Authority
from tests.delivery.http_peer import Request, serving
from tests.delivery.providers.company import PAYLOAD, Company, Said, a_company, credentials_of, provider_of
from tests.delivery.providers.sending import CLAIMED_AT, Watched, batch_of, send, until


def later(status: int) -> Outcome:
    return Outcome(Kind.RETRY, f"HTTP_{status}", status, backoff_base_seconds=10.0)


def batch(count: int = 1, **changes: Any) -> Batch:
    names = [f"device {position} é".encode() for position in range(count)]
    return batch_of(count, **({"provider": "webhook", "credential": "own", "tokens": names} | changes))


async def outcome(company: Company, **changes: Any) -> Outcome:
    async with provider_of(company, **changes) as provider:
        return (await send(provider, batch(), PAYLOAD)).exceptions[0]


async def test_each_recipient_gets_a_signed_request_with_the_payload_as_it_was_given() -> None:
    async with a_company() as company, provider_of(company) as provider:
        results = await send(provider, batch(3, uid="u1"), PAYLOAD)
    assert not results.exceptions
    request = company.requests[0]
    assert request.target == "/push?app=1"
    assert request.headers["content-type"] == "application/json"
    assert abs(int(request.headers["x-tocsin-timestamp"]) - time.time()) < 60
    assert request.body.endswith(b',"payload":{"title" : "hi","n":1.50}}')
    assert {body["recipient"]["token"] for body in company.bodies} == {f"device {n} é" for n in range(3)}
    assert [body["push"] for body in company.bodies] == ["u1"] * 3
    assert all(set(body) == {"push", "recipient", "payload"} for body in company.bodies)


async def test_a_request_does_not_carry_what_the_answer_to_another_set() -> None:
    async with a_company(Said(200, b"", "set-cookie: a=b\r\n")) as company, provider_of(company) as provider:
        await send(provider, batch(1), PAYLOAD)
        await send(provider, batch(1), PAYLOAD)
    assert not any("cookie" in request.headers for request in company.requests)


async def test_the_device_is_named_where_it_is_known() -> None:
    async with a_company() as company, provider_of(company) as provider:
        await send(provider, batch(1, device_ids=["d1"]), PAYLOAD)
        await send(provider, batch(1, attributes=[Attributes(id="d2")]), PAYLOAD)
    assert [body["device_id"] for body in company.bodies] == ["d1", "d2"]


async def test_a_message_keeps_its_name_when_it_is_sent_again_and_shares_it_with_no_other() -> None:
    async with a_company() as company, provider_of(company) as provider:
        first = await send(provider, batch(2), PAYLOAD)
        await send(provider, batch(1, id=8, attempt=2), PAYLOAD)
        await send(provider, batch(1, push_id="another"), PAYLOAD)
        await send(provider, batch(1, device_ids=["of another account"]), PAYLOAD)
    names = [request.headers["x-tocsin-delivery"] for request in company.requests]
    assert names == [body["recipient"]["id"] for body in company.bodies]
    assert sorted(names[:2]) == sorted(name.decode() for name in first.message_ids if name)
    assert names[2] in names[:2]
    assert len(set(names)) == 4


async def test_several_recipients_share_a_request_where_the_receiver_asks_for_it() -> None:
    async with a_company() as company, provider_of(company, batched=True, batch_recipients=4) as provider:
        results = await send(provider, batch(10, device_ids=[f"d{n}" for n in range(10)]), PAYLOAD)
        again = await send(provider, batch(1, device_ids=["d0"]), PAYLOAD)
    assert not results.exceptions
    sizes = sorted(len(body["recipients"]) for body in company.bodies)
    assert sizes == [1, 2, 4, 4]
    found = {r["token"]: (r["id"], r["device_id"]) for body in company.bodies for r in body["recipients"]}
    assert {device for _, device in found.values()} == {f"d{n}" for n in range(10)}
    assert {name for name, _ in found.values()} == {(name or b"").decode() for name in results.message_ids}
    assert again.message_ids[0] == results.message_ids[0]
    assert len({request.headers["x-tocsin-delivery"] for request in company.requests}) == 4


async def test_recipients_who_get_different_payloads_share_no_request() -> None:
    async with a_company() as company, provider_of(company, batched=True) as provider:
        of_all = batch(4)
        one, other = (provider.prepare(msgspec.Raw(b'{"payload":%d}' % n), of_all) for n in (1, 2))
        watched = Watched(of_all)
        provider.submit(of_all, one, watched.results, [one, other, one, other])
        assert not (await watched.end()).exceptions
    got = {body["payload"]: [r["token"] for r in body["recipients"]] for body in company.bodies}
    assert got == {1: ["device 0 é", "device 2 é"], 2: ["device 1 é", "device 3 é"]}


async def test_each_payload_goes_to_its_own_recipient() -> None:
    async with a_company() as company, provider_of(company) as provider:
        of_all = batch(2)
        each = [provider.prepare(msgspec.Raw(b'{"payload":%d}' % n), of_all) for n in range(2)]
        watched = Watched(of_all)
        provider.submit(of_all, each[0], watched.results, each)
        await watched.end()
    assert {(body["recipient"]["token"], body["payload"]) for body in company.bodies} == {
        ("device 0 é", 0),
        ("device 1 é", 1),
    }


async def test_an_answer_to_a_batch_names_those_that_failed() -> None:
    failed = [
        {"token": "device 1 é", "reason": "NoSuchUser", "dead": True},
        {"token": "device 2 é", "reason": "a sentence, with spaces"},
        {"token": "somebody else"},
    ]
    said = Said(202, json.dumps({"failed": failed}).encode())
    async with a_company(said) as company, provider_of(company, batched=True) as provider:
        results = await send(provider, batch(4), PAYLOAD)
    assert results.exceptions == {
        1: Outcome(Kind.DEAD, "NoSuchUser", 410, proof_at=CLAIMED_AT),
        2: Outcome(Kind.FAILED, "Refused", 202),
    }
    assert all(results.message_ids[position] for position in (0, 3))


async def test_an_answer_to_a_batch_may_name_recipients_by_the_id_of_their_message() -> None:
    async with a_company(held=True) as company, provider_of(company, batched=True) as provider:
        of_all = batch(3, tokens=[b"same", b"same", b"other"], device_ids=["a", "b", "c"])
        watched = Watched(of_all)
        provider.submit(of_all, provider.prepare(msgspec.Raw(PAYLOAD), of_all), watched.results)
        await company.got(1)
        second = company.bodies[0]["recipients"][1]["id"]
        company.answers = [Said(200, json.dumps({"failed": [{"id": second}]}).encode())]
        company.hold.set()
        results = await watched.end()
    assert results.exceptions == {1: Outcome(Kind.FAILED, "Refused", 200)}


@pytest.mark.parametrize("body", [b"", b"ok", b"{}", b"[1]", b"\xff{", b'{"failed":"everything"}', b'{"failed":[1]}'])
async def test_a_good_status_without_a_list_of_failures_accepts_all(body: bytes) -> None:
    async with a_company(Said(200, body)) as company, provider_of(company, batched=True) as provider:
        assert not (await send(provider, batch(2), PAYLOAD)).exceptions


async def test_the_body_of_an_answer_for_one_recipient_means_nothing() -> None:
    said = Said(201, b'{"failed":[{"token":"device 0 \xc3\xa9"}]}')
    async with a_company(said) as company, provider_of(company) as provider:
        assert not (await send(provider, batch(1), PAYLOAD)).exceptions


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Outcome(Kind.FAILED, "HTTP_400", 400)),
        (413, Outcome(Kind.FAILED, "HTTP_413", 413)),
        (422, Outcome(Kind.FAILED, "HTTP_422", 422)),
        (418, Outcome(Kind.FAILED, "HTTP_418", 418)),
        (404, Outcome(Kind.DEAD, "HTTP_404", 404, proof_at=CLAIMED_AT)),
        (410, Outcome(Kind.DEAD, "HTTP_410", 410, proof_at=CLAIMED_AT)),
        (401, Outcome(Kind.RETRY, "HTTP_401", 401, pause=Pause("trouble"), counts_as_attempt=False)),
        (403, Outcome(Kind.RETRY, "HTTP_403", 403, pause=Pause("trouble"), counts_as_attempt=False)),
        (405, Outcome(Kind.RETRY, "HTTP_405", 405, pause=Pause("trouble"), counts_as_attempt=False)),
        (302, Outcome(Kind.RETRY, "HTTP_302", 302, pause=Pause("trouble"), counts_as_attempt=False)),
        (408, later(408)),
        (425, later(425)),
        (500, later(500)),
        (502, later(502)),
        (503, later(503)),
        (504, later(504)),
        (599, later(599)),
    ],
)
async def test_an_answer_for_one_recipient_follows_the_table(status: int, expected: Outcome) -> None:
    async with a_company(Said(status, b"", "location: /elsewhere\r\n")) as company:
        assert await outcome(company) == expected
    assert len(company.requests) == 1


def test_each_row_of_the_table_is_tested() -> None:
    mark = test_an_answer_for_one_recipient_follows_the_table.pytestmark[0]  # type: ignore[attr-defined]
    assert {status for status, _ in mark.args[1]} | {429} >= set(TABLE)


@pytest.mark.parametrize("status", [404, 410])
async def test_a_url_that_is_gone_kills_no_token_of_a_batch(status: int) -> None:
    async with a_company(Said(status)) as company, provider_of(company, batched=True) as provider:
        results = await send(provider, batch(3), PAYLOAD)
    pause = Pause("trouble")
    expected = Outcome(Kind.RETRY, f"HTTP_{status}", status, pause=pause, counts_as_attempt=False)
    assert results.exceptions == dict.fromkeys(range(3), expected)


@pytest.mark.parametrize(("fields", "seconds"), [("retry-after: 7\r\n", 7.0), ("", 60.0)])
async def test_a_receiver_that_asks_for_less_is_given_less(fields: str, seconds: float) -> None:
    async with a_company(Said(429, b"", fields)) as company:
        found = await outcome(company)
    assert (found.kind, found.retry_after_seconds, found.counts_as_attempt) == (Kind.RETRY, seconds, False)
    assert found.pause == Pause("throttle", seconds=seconds)


async def test_a_receiver_in_trouble_may_say_when_to_come_again() -> None:
    async with a_company(Said(503, b"", "retry-after: 30\r\n")) as company:
        assert (await outcome(company)).retry_after_seconds == 30.0


async def test_what_is_not_sent_when_the_credential_pauses_is_given_back() -> None:
    async with a_company(Said(401), held=True) as company, provider_of(company, max_connections=1) as provider:
        watched = Watched(batch(5))
        provider.submit(watched.results.batch, provider.prepare(msgspec.Raw(PAYLOAD), batch()), watched.results)
        await company.got(1)
        company.hold.set()
        results = await watched.end()
    assert len(company.requests) == 1
    assert [results.exceptions[n].kind for n in range(5)] == [Kind.RETRY] + [Kind.RELEASED] * 4


async def test_a_lost_answer_leaves_it_unknown_whether_the_message_was_taken() -> None:
    async with a_company(Said(drop=True)) as company:
        assert await outcome(company) == Outcome(Kind.UNKNOWN, "ConnectionLost")


async def test_an_answer_that_takes_too_long_leaves_it_unknown() -> None:
    async with a_company(held=True) as company:
        assert await outcome(company, timeout_seconds=1) == Outcome(Kind.UNKNOWN, "Timeout")


async def test_a_message_that_could_not_be_sent_does_not_count_as_tried() -> None:
    async with a_company() as company:
        pass
    assert await outcome(company) == Outcome(Kind.RETRY, "NotConnected", counts_as_attempt=False)


@pytest.mark.parametrize("allowed", ["", "10.0.0.0/8", "127.0.0.1:1"])
async def test_a_private_address_is_not_called_unless_the_settings_allow_it(allowed: str) -> None:
    refused = Outcome(Kind.RETRY, "AddressNotAllowed", pause=Pause("trouble"), counts_as_attempt=False)
    async with a_company() as company:
        async with provider_of(company, Allowed.parse(allowed)) as provider:
            assert (await send(provider, batch(2), PAYLOAD)).exceptions[0] == refused
            assert "refused" in (await provider.check())["address"]
        localhost = company.url.replace("127.0.0.1", "localhost")
        assert await outcome(company, url=localhost, allowed=Allowed.parse(allowed)) == refused
    assert not company.requests


async def test_a_message_past_its_time_is_not_sent() -> None:
    async with a_company() as company, provider_of(company) as provider:
        results = await send(provider, batch(2, expire_at=1.0), PAYLOAD)
    assert results.exceptions == dict.fromkeys(range(2), Outcome(Kind.EXPIRED, "Expired"))
    assert not company.requests


async def test_requests_at_once_are_bounded_and_so_is_what_waits() -> None:
    async with a_company(held=True) as company, provider_of(company, max_connections=3) as provider:
        free = provider.room("")
        watched = Watched(batch(40))
        attempt = provider.submit(
            watched.results.batch, provider.prepare(msgspec.Raw(PAYLOAD), batch()), watched.results
        )
        await company.got(3)
        assert provider.room("") == free - 37
        attempt.cancel()
        company.hold.set()
        results = await watched.end()
    assert company.most_at_once == 3
    assert len(company.requests) == 3
    assert list(results.exceptions.values()) == [Outcome(Kind.RELEASED, "Released")] * 37


async def test_a_provider_that_closes_lets_what_is_in_flight_be_answered() -> None:
    async with a_company(held=True) as company:
        provider = provider_of(company, max_connections=1)
        watched = Watched(batch(2))
        provider.submit(watched.results.batch, provider.prepare(msgspec.Raw(PAYLOAD), batch()), watched.results)
        await company.got(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(provider.close(10.0))
            await until(lambda: provider.room("") == 0)
            company.hold.set()
        results: Results = await watched.end()
    assert results.message_ids[0]
    assert results.exceptions == {1: Outcome(Kind.RELEASED, "Released")}


async def test_a_check_sends_a_signed_request_that_is_for_nobody() -> None:
    async with a_company() as company, provider_of(company) as provider:
        steps = await provider.check()
    assert company.bodies == [{"check": True}]
    assert company.requests[0].headers["x-tocsin-delivery"].startswith("check-")
    assert steps == {"address": f"ok: 127.0.0.1:{company.port}", "request": "ok: answered 200"}


async def test_a_check_says_what_the_receiver_refused() -> None:
    async with a_company(Said(401)) as company, provider_of(company) as provider:
        assert (await provider.check())["request"] == "refused: HTTP_401"


async def test_a_check_says_when_nobody_answers() -> None:
    async with a_company() as company:
        pass
    async with provider_of(company) as provider:
        assert (await provider.check())["request"].startswith("no answer: not connected")


async def test_the_receivers_certificate_is_checked_against_the_authorities_given() -> None:
    trusted, foreign = Authority.create(), Authority.create()
    async with a_company(tls=trusted.server_context(["http/1.1"], ["127.0.0.1"])) as company:
        async with provider_of(company, tls_ca=trusted.ca_pem) as provider:
            assert not (await send(provider, batch(), PAYLOAD)).exceptions
        refused = await outcome(company, tls_ca=foreign.ca_pem)
    assert refused == Outcome(Kind.RETRY, "NotConnected", counts_as_attempt=False)
    assert len(company.requests) == 1


async def test_a_proxy_carries_the_request_and_gets_its_own_password() -> None:
    seen: list[Request] = []

    async def proxy(request: Request) -> bytes:
        seen.append(request)
        return Said().wire

    async with serving(proxy) as port, a_company() as company:
        changes: dict[str, Any] = {
            "proxy": f"http://me:word@127.0.0.1:{port}",
            "url": "http://api.company.invalid/push",
        }
        async with provider_of(company, **changes) as provider:
            assert not (await send(provider, batch(), PAYLOAD)).exceptions
    assert seen[0].target == "http://api.company.invalid/push"
    assert credentials_of(seen[0].headers["proxy-authorization"]) == "me:word"


async def test_a_proxy_leads_to_no_private_address() -> None:
    async with a_company() as company:
        allowed = Allowed.parse(f"127.0.0.1:{company.port}")
        changes: dict[str, Any] = {"proxy": f"http://127.0.0.1:{company.port}", "url": "http://169.254.169.254/latest"}
        async with provider_of(company, allowed, **changes) as provider:
            results = await send(provider, batch(), PAYLOAD)
    assert results.exceptions[0].reason == "AddressNotAllowed"
    assert not company.requests


async def test_a_private_proxy_is_not_used_unless_the_settings_allow_it() -> None:
    async with a_company() as company:
        changes: dict[str, Any] = {
            "proxy": f"http://127.0.0.1:{company.port}",
            "url": "http://api.company.invalid/push",
        }
        async with provider_of(company, Allowed(), **changes) as provider:
            results = await send(provider, batch(), PAYLOAD)
    assert results.exceptions[0].reason == "AddressNotAllowed"
    assert not company.requests


@pytest.mark.parametrize(
    ("member", "path"),
    [
        (b"{}", "notification.webhook"),
        (b"[]", "notification.webhook"),
        (b"{", "notification.webhook"),
        (b'{"payload":null}', "notification.webhook.payload"),
        (b'{"payload":{},"headers":{}}', "notification.webhook"),
    ],
)
async def test_a_member_without_a_payload_is_refused(member: bytes, path: str) -> None:
    async with a_company() as company, provider_of(company) as provider:
        with pytest.raises(PayloadError) as caught:
            provider.prepare(msgspec.Raw(member), batch())
    assert caught.value.path == path


async def test_nothing_that_is_printed_holds_a_secret_or_a_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "delivery")
    async with a_company(Said(401), Said(drop=True)) as company, provider_of(company) as provider:
        one = batch()
        message = provider.prepare(msgspec.Raw(PAYLOAD), one)
        watched = Watched(one)
        attempt = provider.submit(one, message, watched.results)
        texts = [repr(each) for each in (provider, message, attempt, attempt.bodies, watched.results)]
        await watched.end()
        await send(provider, batch(), PAYLOAD)
    texts += [str(record.__dict__) for record in caplog.records]
    assert not [text for text in texts if "secret" in text or "device 0" in text or "title" in text]
