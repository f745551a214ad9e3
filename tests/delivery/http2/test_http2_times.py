"""Deadlines, signs of life and the pace of connecting, with times as arguments."""

from delivery.http2 import PoolOptions
from delivery.http2.deadlines import DeadlineWheel
from delivery.http2.liveness import Liveness
from delivery.http2.pace import Pace
from delivery.http2.stats import goaway_reason


def streams(wheel: DeadlineWheel, now: float) -> list[int]:
    return [stream for ids in wheel.overdue(now) for stream in ids]


def test_a_deadline_is_never_noticed_early_and_at_most_a_tick_late() -> None:
    wheel = DeadlineWheel(0.5)
    wheel.add(1, 7, 10.2)
    assert streams(wheel, 10.2) == []
    assert streams(wheel, 10.7) == [1, 3, 5]
    assert streams(wheel, 99.0) == []


def test_neighbours_are_one_range_and_mixed_timeouts_keep_their_own() -> None:
    wheel = DeadlineWheel(0.5)
    wheel.add(1, 5, 10.2)
    wheel.add(5, 9, 10.3)
    wheel.add(9, 11, 3.0)
    wheel.add(11, 13, 10.4)
    assert streams(wheel, 4.0) == [9]
    assert wheel.overdue(11.0) == [range(1, 9, 2), range(11, 13, 2)]


def life(**options: float) -> Liveness:
    liveness = Liveness(PoolOptions(**options))  # type: ignore[arg-type]
    liveness.opened(0.0)
    return liveness


def test_open_requests_and_silence_bring_a_ping_and_then_death() -> None:
    liveness = life(ping_timeout=10.0)
    liveness.sent(100.0)
    assert liveness.check(109.0, 1).ping is None
    assert liveness.check(110.0, 1).ping is not None
    assert liveness.check(119.0, 1).dead is None
    assert liveness.check(120.0, 1).dead is not None


def test_sending_on_does_not_hide_a_peer_that_answers_nothing() -> None:
    liveness = life(ping_timeout=10.0)
    for second in range(10):
        liveness.sent(100.0 + second)
    assert liveness.check(110.0, 10).ping is not None


def test_any_byte_is_a_sign_of_life() -> None:
    liveness = life(ping_timeout=10.0)
    liveness.sent(0.0)
    assert liveness.check(10.0, 1).ping is not None
    liveness.heard(12.0)
    assert liveness.check(21.0, 1).dead is None
    assert liveness.check(22.0, 1).ping is not None


def test_idle_pings_are_counted_from_the_last_request() -> None:
    liveness = Liveness(PoolOptions(ping_idle_seconds=60.0, idle_ping_limit=1))
    liveness.opened(0.0)
    assert liveness.check(60.0, 0).ping is not None
    liveness.heard(60.1)
    assert liveness.check(121.0, 0).idle is not None
    liveness.sent(122.0)
    liveness.heard(122.1)
    assert liveness.check(183.0, 0).ping is not None


def test_every_ping_has_its_own_payload() -> None:
    liveness = life(ping_idle_seconds=1.0)
    first = liveness.check(2.0, 0).ping
    liveness.heard(2.0)
    assert first != liveness.check(4.0, 0).ping


def test_backoff_doubles_up_to_its_cap_and_jitter_takes_all_of_it() -> None:
    pace = Pace(PoolOptions(backoff_base=1.0, backoff_cap=5.0), lambda: 1.0)
    waits = []
    for _ in range(5):
        pace.failed(0.0)
        waits.append(next(second for second in range(100) if pace.allows(second)))
    assert waits == [1, 2, 4, 5, 5]
    pace.succeeded()
    assert pace.allows(0.0)
    eager = Pace(PoolOptions(), lambda: 0.0)
    eager.failed(0.0)
    assert eager.allows(0.0)


def test_connects_are_limited_in_any_minute() -> None:
    pace = Pace(PoolOptions(connects_per_minute=2), lambda: 0.0)
    pace.started(0.0)
    pace.started(30.0)
    assert not pace.allows(59.0)
    assert pace.allows(60.0)
    pace.started(60.0)
    assert not pace.allows(89.0)
    assert pace.allows(90.0)


def test_goaway_reasons_are_read_from_json_and_text_and_made_harmless() -> None:
    assert goaway_reason(b'{"reason":"Shutdown"}') == "Shutdown"
    assert goaway_reason(b"max_age") == "max_age"
    assert goaway_reason(b"\x1b[31mred\n") == "?[31mred?"
    assert goaway_reason(b'{"reason":7}') == '{"reason":7}'
    assert len(goaway_reason(b"x" * 10_000)) == 200
    assert goaway_reason(b"") == ""
