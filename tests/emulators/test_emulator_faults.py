"""Scripted faults: which requests they hit, and what the client then sees on the wire."""

import time
from typing import Any

import msgspec
import pytest
from h2.errors import ErrorCodes

from emulators.apns import ApnsEmulator
from emulators.faults import FaultPlan, Rule
from tests.emulators.wire import WireClient, connected

OTHER = "cd" * 32


def plan(*rules: dict[str, Any]) -> FaultPlan:
    made = FaultPlan()
    made.set(msgspec.convert(list(rules), list[Rule]))
    return made


def hits(made: FaultPlan, tokens: list[str], path: str = "/3/device/x", is_push: bool = True) -> list[bool]:
    return [made.pick([token], path, is_push).status is not None for token in tokens]


def test_a_token_prefix_chooses_the_requests() -> None:
    made = plan({"match": {"token_prefix": "ab"}, "action": {"status": 500}})
    assert hits(made, ["abc", "bcd", "ab"]) == [True, False, True]


def test_a_count_ends_a_rule() -> None:
    made = plan({"match": {"count": 2}, "action": {"status": 500}})
    assert hits(made, ["a"] * 4) == [True, True, False, False]


def test_a_skip_spares_the_first() -> None:
    made = plan({"match": {"skip": 2, "count": 1}, "action": {"status": 500}})
    assert hits(made, ["a"] * 4) == [False, False, True, False]


def test_a_rate_hits_that_share_and_repeats() -> None:
    rule = {"match": {"rate": 0.3, "seed": 7}, "action": {"status": 500}}
    first, second = hits(plan(rule), ["a"] * 1000), hits(plan(rule), ["a"] * 1000)
    assert first == second
    assert 250 < sum(first) < 350


def test_the_first_rule_that_hits_decides() -> None:
    made = plan({"match": {"count": 1}, "action": {"status": 503}}, {"action": {"status": 500}})
    assert [made.pick(["a"], "/", True).status for _ in range(2)] == [503, 500]


def test_what_is_no_push_is_hit_by_its_path_only() -> None:
    made = plan({"action": {"status": 500}})
    assert hits(made, ["a"], "/token", is_push=False) == [False]
    made = plan({"match": {"path_prefix": "/token"}, "action": {"status": 500}})
    assert hits(made, [""], "/token", is_push=False) == [True]


def test_rules_show_what_they_matched_and_hit() -> None:
    made = plan({"match": {"skip": 1}, "action": {"status": 500}})
    hits(made, ["a"] * 3)
    assert [(rule.matched, rule.hits) for rule in made.describe()] == [(3, 2)]


@pytest.mark.parametrize(
    "rule",
    [
        {"action": {"stall": True, "drop_connection": True}},
        {"action": {"status": 500, "rst_stream": "CANCEL"}},
        {"action": {"status": 99}},
        {"action": {"rst_stream": "NOPE"}},
        {"action": {"goaway": {"last_stream_id": "almost"}}},
        {"action": {"goaway": {"last_stream_id": -1}}},
        {"action": {"delay_ms": -1}},
        {"action": {"shrink_settings": {"max_concurrent_streams": -1}}},
        {"action": {"unknown": 1}},
        {"match": {"rate": 1.5}, "action": {}},
        {"match": {"skip": -1}, "action": {}},
        {"match": {}},
    ],
)
def test_a_senseless_rule_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        plan(rule)


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1000"):
        plan(*[{"action": {"status": 500}}] * 1001)


async def test_an_unknown_reason_needs_a_status(apns: ApnsEmulator) -> None:
    with pytest.raises(ValueError, match="status is needed"):
        apns.set_faults([{"action": {"reason": "Bored"}}])
    apns.set_faults([{"action": {"reason": "Bored", "status": 400}}])


ANSWERS: list[tuple[dict[str, Any], int, str]] = [
    ({"reason": "BadDeviceToken"}, 400, "BadDeviceToken"),
    ({"status": 503}, 503, "ServiceUnavailable"),
    ({"status": 410}, 410, "Unregistered"),
    ({"status": 503, "reason": "Shutdown"}, 503, "Shutdown"),
    ({"status": 429, "reason": "TooManyRequests"}, 429, "TooManyRequests"),
]


@pytest.mark.parametrize(("action", "status", "reason"), ANSWERS)
async def test_an_answer_can_be_forced(
    apns: ApnsEmulator, device: WireClient, action: dict[str, Any], status: int, reason: str
) -> None:
    apns.set_faults([{"match": {"token_prefix": "ab"}, "action": action}])
    response = await device.pushed()
    assert (response.status, response.reason) == (status, reason)
    assert "apns-id" in response.headers
    assert (await device.pushed(OTHER)).status == 200
    assert apns.counters().by_reason == {reason: 1}


async def test_a_forced_410_has_the_given_time(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"reason": "Unregistered", "timestamp_ms": 42}}])
    assert (await device.pushed()).json["timestamp"] == 42


async def test_a_forced_410_without_a_time_is_of_now(apns: ApnsEmulator, device: WireClient) -> None:
    before = time.time_ns() // 1_000_000
    apns.set_faults([{"action": {"reason": "Unregistered"}}])
    assert before <= (await device.pushed()).json["timestamp"] <= time.time_ns() // 1_000_000


async def test_retry_after_is_a_header(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"status": 429, "retry_after": 7, "headers": {"X-Why": "test"}}}])
    response = await device.pushed()
    assert (response.headers["retry-after"], response.headers["x-why"]) == ("7", "test")


async def test_an_error_can_come_without_a_body(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"status": 503, "bodyless": True}}])
    response = await device.pushed()
    assert (response.status, response.frames) == (503, [])


async def test_an_error_body_can_come_in_two_frames(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"split_body": True}}])
    response = await device.pushed("xyz")
    assert (len(response.frames), response.reason) == (2, "BadDeviceToken")


async def test_a_body_can_be_html(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"html": True}}])
    response = await device.pushed()
    assert response.status == 502
    assert response.headers["content-type"].startswith("text/html")
    assert b"<html>" in response.body


async def test_a_body_can_be_anything(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"status": 400, "body": "{oops", "content_type": "application/json"}}])
    response = await device.pushed()
    assert (response.headers["content-type"], response.body) == ("application/json", b"{oops")


async def test_padding_trailers_and_informational_answers(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"pad_length": 100, "trailers": True, "informational": 103}}])
    response = await device.pushed("xyz")
    assert response.reason == "BadDeviceToken"
    assert response.informational == [103]
    assert response.trailers == {"x-emulated-trailer": "1"}


async def test_large_headers_come_in_continuation_frames(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"headers": {"x-large": "~" * 30_000}}}])
    assert len((await device.pushed()).headers["x-large"]) == 30_000


async def test_a_delayed_answer_comes_after_later_ones(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults([{"match": {"token_prefix": "ab"}, "action": {"delay_ms": 50}}])
    slow = device.push()
    assert (await device.pushed(OTHER)).status == 200
    assert not device.responses[slow].ended
    assert (await device.answer(slow)).status == 200


async def test_a_stream_can_be_reset(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"match": {"count": 1}, "action": {"rst_stream": "REFUSED_STREAM"}}])
    assert (await device.pushed()).reset == ErrorCodes.REFUSED_STREAM
    assert (await device.pushed()).status == 200
    counters = apns.counters()
    assert (counters.requests, counters.accepted, counters.unanswered) == (2, 1, {"rst_stream": 1})


async def test_a_connection_can_drop_before_processing(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"drop_connection": True}}])
    assert (await device.pushed()).status == 0
    assert device.lost
    assert apns.counters().accepted == 0


async def test_a_connection_can_drop_after_processing(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"action": {"drop_after_body": True}}])
    assert (await device.pushed()).status == 0
    counters = apns.counters()
    assert (counters.accepted, counters.by_status, counters.unanswered) == (1, {}, {"drop_after_body": 1})


async def test_an_answer_can_fail_to_come(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults([{"match": {"token_prefix": "ab"}, "action": {"stall": True}}])
    stalled = device.push()
    assert (await device.pushed(OTHER)).status == 200
    assert not device.responses[stalled].ended
    assert apns.counters().unanswered == {"stall": 1}


async def test_a_connection_can_go_silent(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults([{"match": {"token_prefix": "ab"}, "action": {"stall_connection": True}}])
    silent = device.push()
    device.push(OTHER)
    async with connected(apns) as second:
        assert (await second.pushed(OTHER)).status == 200
    counters = apns.counters()
    assert (counters.requests, counters.unanswered) == (3, {"stall_connection": 1})
    assert not device.responses[silent].ended
    assert not device.lost


async def test_settings_can_shrink(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    apns.set_faults([{"match": {"count": 1}, "action": {"shrink_settings": {"max_concurrent_streams": 3}}}])
    assert (await device.pushed()).status == 200
    assert device.stream_limits == [1, 1000, 3]


async def test_a_goaway_lets_open_streams_finish(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    slow = {"match": {"token_prefix": "ab"}, "action": {"delay_ms": 50}}
    apns.set_faults([slow, {"action": {"goaway": {"reason": "Shutdown"}}}])
    first = device.push()
    last = device.push(OTHER)
    assert (await device.answer(last)).status == 200
    assert (await device.answer(first)).status == 200
    await device.until(lambda: device.lost)
    goaway = device.goaways[0]
    assert (goaway.last_stream_id, goaway.error_code) == (last, ErrorCodes.NO_ERROR)
    assert goaway.additional_data == b'{"reason":"Shutdown"}'


async def test_streams_above_a_goaway_are_not_processed(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    held = {"match": {"token_prefix": "ab"}, "action": {"delay_ms": 50}}
    apns.set_faults([held, {"action": {"goaway": {"last_stream_id": "minus:1", "error_code": "INTERNAL_ERROR"}}}])
    kept = device.push()
    ignored = device.push(OTHER)
    assert (await device.answer(kept)).status == 200
    await device.until(lambda: device.lost)
    assert not device.responses[ignored].ended
    assert (device.goaways[0].last_stream_id, device.goaways[0].error_code) == (kept, ErrorCodes.INTERNAL_ERROR)
    assert OTHER not in apns.arrivals(duplicates_only=False).tokens or not apns.arrivals().tokens[OTHER].accepted


async def test_a_goaway_with_the_highest_number_is_a_warning_only(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"match": {"count": 1}, "action": {"goaway": {"last_stream_id": 2**31 - 1}}}])
    assert (await device.pushed()).status == 200
    assert (await device.pushed()).status == 200
    assert len(device.goaways) == 1


async def test_without_a_fault_nothing_is_unanswered(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    assert apns.counters().unanswered == {}
