"""What each answer of HMS leads to, against a real HTTP server on loopback."""

import json
import random

import msgspec
import pytest

from delivery.batches import Batch, Results
from delivery.breaker import Breaker, is_suspicious
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.hms_reactions import FAMILIES, STATUSES, TABLE
from tests.delivery.providers.company import Said
from tests.delivery.providers.huawei import DATA, a_huawei, batch, partly, provider_of, said
from tests.delivery.providers.sending import CLAIMED_AT, Watched, send

TROUBLE = Pause("trouble")
DEAD = Outcome(Kind.DEAD, "illegal_tokens", 410, proof_at=CLAIMED_AT)
PARTLY = "80100000"


def failed(code: str, status: int = 200) -> Outcome:
    return Outcome(Kind.FAILED, code, status)


def later(code: str, status: int = 200) -> Outcome:
    return Outcome(Kind.RETRY, code, status, backoff_base_seconds=10.0)


def paused(code: str, status: int = 200) -> Outcome:
    return Outcome(Kind.RETRY, code, status, pause=TROUBLE, counts_as_attempt=False)


def throttled(code: str, status: int, seconds: float = 10.0) -> Outcome:
    return Outcome(
        Kind.RETRY,
        code,
        status,
        retry_after_seconds=seconds,
        backoff_base_seconds=10.0,
        pause=Pause("throttle", seconds=seconds),
        counts_as_attempt=False,
    )


def all_invalid(count: int) -> dict[int, Outcome]:
    return dict.fromkeys(range(count), Outcome(Kind.DEAD, "80300007", 400, proof_at=CLAIMED_AT))


async def results_of(*answers: Said, of: Batch | None = None) -> Results:
    """What comes of a batch of three, or of another, with these answers and no more requests than they are."""
    async with a_huawei(*answers) as huawei, provider_of(huawei) as provider:
        results = await send(provider, of or batch(3), DATA)
    assert len(huawei.requests) == len(answers)
    return results


BY_CODE = [
    ("80100001", failed("80100001")),
    ("80100003", failed("80100003")),
    ("80100004", failed("80100004")),
    ("80100013", failed("80100013")),
    ("80100016", failed("80100016")),
    ("80100017", failed("80100017")),
    ("80100022", failed("80100022")),
    ("80300008", failed("80300008")),
    ("80300011", failed("80300011")),
    ("80300029", failed("80300029")),
    ("80300030", failed("80300030")),
    ("80300002", paused("80300002")),
    ("80300037", paused("80300037")),
    ("80600003", later("80600003")),
    ("81000001", later("81000001")),
    ("80300007", Outcome(Kind.DEAD, "80300007", 400, proof_at=CLAIMED_AT)),
]
RENEWED = ["80200001", "80200003", "80200005", "80300036"]
BY_STATUS = [
    (400, failed("HTTP_400", 400)),
    (403, paused("HTTP_403", 403)),
    (404, paused("HTTP_404", 404)),
    (429, throttled("HTTP_429", 429)),
    (500, later("HTTP_500", 500)),
    (502, later("HTTP_502", 502)),
    (503, throttled("HTTP_503", 503)),
    (504, later("HTTP_504", 504)),
    (418, failed("HTTP_418", 418)),
    (507, Outcome(Kind.RETRY, "HTTP_507", 507)),
    (302, Outcome(Kind.RETRY, "HTTP_302", 302)),
]


@pytest.mark.parametrize(("code", "expected"), BY_CODE)
async def test_a_code_decides_for_all_of_a_request(code: str, expected: Outcome) -> None:
    assert (await results_of(said(code))).exceptions == dict.fromkeys(range(3), expected)


@pytest.mark.parametrize("code", RENEWED)
async def test_a_refused_access_token_is_renewed_once(code: str) -> None:
    async with a_huawei(said(code, status=401)) as huawei, provider_of(huawei) as provider:
        assert not (await send(provider, batch(3), DATA)).exceptions
    assert [request.headers["authorization"] for request in huawei.requests] == ["Bearer CgB6/1==", "Bearer CgB6/2=="]


@pytest.mark.parametrize("answer", [*map(said, RENEWED), Said(401)])
async def test_what_a_renewed_access_token_does_not_mend_pauses_the_credential(answer: Said) -> None:
    results = await results_of(answer, answer)
    code = json.loads(answer.body)["code"] if answer.status == 200 else "HTTP_401"
    assert results.exceptions == dict.fromkeys(range(3), paused(code, answer.status))


def test_each_row_of_the_table_is_tested() -> None:
    assert {code for code, _ in BY_CODE} | {*RENEWED, "80300010"} == set(TABLE)
    assert {status for status, _ in BY_STATUS} | {401} >= set(STATUSES)


@pytest.mark.parametrize(("status", "expected"), BY_STATUS)
async def test_an_answer_without_a_code_is_judged_by_its_status(status: int, expected: Outcome) -> None:
    answer = Said(status, b"<html>busy</html>")
    assert (await results_of(answer)).exceptions == dict.fromkeys(range(3), expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said("80300002", status=500), paused("80300002", 500)),
        (said("81000001", status=503), later("81000001", 503)),
        (said("80300008", status=401), failed("80300008", 401)),
        (said("80300007", status=404), Outcome(Kind.DEAD, "80300007", 400, proof_at=CLAIMED_AT)),
    ],
)
async def test_a_code_goes_before_the_status(answer: Said, expected: Outcome) -> None:
    assert (await results_of(answer, of=batch())).exceptions == {0: expected}


async def test_success_is_success_with_any_status() -> None:
    results = await results_of(said("80000000", status=500))
    assert results.message_ids == [b"request-1"] * 3


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said("80199999"), failed("80199999")),
        (said("80399999"), failed("80399999")),
        (said("80699999"), Outcome(Kind.RETRY, "80699999", 200)),
        (said("80699999", status=503), throttled("80699999", 503)),
    ],
)
async def test_a_code_of_no_row_is_judged_by_its_family_and_then_by_the_status(answer: Said, expected: Outcome) -> None:
    assert (await results_of(answer, of=batch())).exceptions == {0: expected}
    assert set(FAMILIES) == {"801", "802", "803"}


async def test_a_service_that_asks_for_less_says_for_how_long() -> None:
    results = await results_of(Said(503, b"", "retry-after: 7\r\n"), of=batch())
    assert results.exceptions == {0: throttled("HTTP_503", 503, 7.0)}


async def test_tokens_that_are_named_are_dead_and_the_others_are_done() -> None:
    results = await results_of(partly("IQAAAACy0h-1", "of nobody here"))
    assert results.exceptions == {1: DEAD}
    assert results.message_ids == [b"request-1", None, b"request-1"]
    assert not is_suspicious(DEAD)


async def test_a_token_that_stands_twice_in_a_batch_is_dead_twice() -> None:
    results = await results_of(partly("a"), of=batch(tokens=[b"a", b"b", b"a"]))
    assert results.exceptions == {0: DEAD, 2: DEAD}


@pytest.mark.parametrize("text", ["", "partly", "[]", '{"illegal_tokens":"a"}', {"illegal_tokens": []}])
async def test_a_partial_success_that_names_nobody_is_not_sent_again(text: object) -> None:
    assert not (await results_of(said(PARTLY, text))).exceptions


async def test_a_partial_success_that_names_all_is_none() -> None:
    results = await results_of(partly(*(f"IQAAAACy0h-{n}" for n in range(3)), success=0))
    assert results.exceptions == all_invalid(3)


async def test_when_no_token_is_valid_it_may_be_the_credential() -> None:
    results = await results_of(said("80300007"), of=batch(30))
    assert results.exceptions == all_invalid(30)
    assert all(is_suspicious(outcome) for outcome in results.exceptions.values())
    assert Breaker().observe(results) == "80300007"


async def test_tokens_named_among_good_ones_stop_a_credential_only_when_most_are_gone() -> None:
    some = partly(*(f"IQAAAACy0h-{n}" for n in range(240)))
    assert Breaker().observe(await results_of(some, of=batch(500))) is None
    most = partly(*(f"IQAAAACy0h-{n}" for n in range(260)))
    assert Breaker().observe(await results_of(most, of=batch(500))) == "illegal_tokens"


@pytest.mark.parametrize("target", ["topic", "condition"])
async def test_a_topic_is_never_dead(target: str) -> None:
    results = await results_of(said("80300007"), of=batch(target=target))
    assert results.exceptions == {0: failed("80300007")}


async def test_a_request_with_too_many_tokens_goes_again_in_halves() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        huawei.most_tokens = 300
        huawei.illegal = {"IQAAAACy0h-700"}
        results = await send(provider, batch(1000), DATA)
    assert results.exceptions == {700: DEAD}
    assert sorted(len(message["token"]) for message in huawei.messages) == [250] * 4 + [500] * 2 + [1000]


async def test_a_request_that_cannot_be_halved_fails() -> None:
    assert (await results_of(said("80300010"), of=batch())).exceptions == {0: failed("80300010")}
    assert (await results_of(said("80300010"), of=batch(target="topic"))).exceptions == {0: failed("80300010")}


async def test_a_cancelled_batch_is_not_sent_again_in_halves() -> None:
    async with a_huawei(said("80300010"), held=True) as huawei, provider_of(huawei) as provider:
        watched = Watched(batch(3))
        attempt = provider.submit(
            watched.results.batch, provider.prepare(msgspec.Raw(DATA), watched.results.batch), watched.results
        )
        await huawei.got(1)
        attempt.cancel()
        huawei.hold.set()
        results = await watched.end()
    assert results.exceptions == dict.fromkeys(range(3), Outcome(Kind.RELEASED, "Released"))
    assert len(huawei.requests) == 1


async def test_what_is_not_sent_when_the_credential_pauses_is_given_back() -> None:
    async with a_huawei(said("80300002")) as huawei, provider_of(huawei, max_connections=1) as provider:
        results = await send(provider, batch(4, target="topic"), DATA)
    assert len(huawei.requests) == 1
    assert [results.exceptions[n].kind for n in range(4)] == [Kind.RETRY] + [Kind.RELEASED] * 3


@pytest.mark.parametrize("body", [b"", b"ok", b"{}", b"[1]", b"\xff", b'{"code":null}', b'{"code":"Success"}'])
async def test_a_good_status_without_a_code_leaves_it_unknown(body: bytes) -> None:
    expected = Outcome(Kind.UNKNOWN, "UnreadableAnswer", 200)
    assert (await results_of(Said(200, body))).exceptions == dict.fromkeys(range(3), expected)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b'{"code":80000000,"requestId":17}', b"17"),
        (b'{"code":"80000000"}', b""),
        (b'{"code":"80000000","requestId":"two\\nlines"}', b""),
    ],
)
async def test_a_message_has_the_name_that_huawei_gives_it(answer: bytes, name: bytes) -> None:
    assert (await results_of(Said(200, answer))).message_ids == [name] * 3


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_answered_each_recipient_is_reported_once(seed: int) -> None:
    chance = random.Random(seed)
    codes = [*TABLE, "80000000", "80300010", "80300010", "80199999", "80200003"]
    kinds = [
        lambda: said(chance.choice(codes), status=chance.choice([200, 400, 500])),
        lambda: partly(*(f"IQAAAACy0h-{chance.randrange(40)}" for _ in range(chance.randrange(50)))),
        lambda: Said(chance.choice([200, 401, 404, 500, 503])),
        lambda: Said(drop=True),
    ]
    answers = [chance.choice(kinds)() for _ in range(200)]
    async with a_huawei(*answers) as huawei, provider_of(huawei, max_connections=3) as provider:
        watching = []
        for number in range(20):
            each = [provider.prepare(msgspec.Raw(b'{"data":"%d"}' % n), batch()) for n in range(3)]
            watched = Watched(batch(40, id=number, target=chance.choice(["token", "token", "topic"])))
            messages = [chance.choice(each) for _ in range(40)]
            attempt = provider.submit(watched.results.batch, messages[0], watched.results, messages)
            watching.append(watched)
            if chance.random() < 0.3:
                await huawei.got(len(huawei.requests) + 1)
                attempt.cancel()
        for watched in watching:
            results = await watched.end()
            assert results.remaining == 0
            assert len(results.exceptions) + sum(name is not None for name in results.message_ids) == 40


async def test_a_refused_urgency_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "delivery.providers.attempt")
    await results_of(said("80300011"))
    (line,) = [each for each in caplog.records if each.name == "delivery.providers.attempt"]
    assert (line.__dict__["reason"], line.__dict__["field"]) == ("80300011", "message.android.urgency")
