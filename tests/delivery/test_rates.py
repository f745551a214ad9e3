"""What a rate limit may say, who shares one, and the measure that the database is held to."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.rates import DEFAULT_KEY, RateError, parse_rate_limit, render_key
from storage.limits import Policy, Verdict
from tests.storage.sliding_log import SlidingLog

YEAR_MS = 31_536_000_000


def test_a_limit_without_key_is_for_each_device() -> None:
    for key in (None, ""):
        limit = parse_rate_limit(key, [(1, 1000)])
        assert limit.key == DEFAULT_KEY
        assert render_key(limit.key, "d1", "ann") == "d1"


def test_a_limit_keeps_its_policies_once_each() -> None:
    limit = parse_rate_limit("a", [(1, 1), (1000, YEAR_MS), (1, 1)], drop=True)
    assert limit.policies == (Policy(1, 1), Policy(1000, YEAR_MS))
    assert limit.drop


@pytest.mark.parametrize(
    ("key", "policies", "path"),
    [
        ("k" * 256, [(1, 1)], "key"),
        (None, [], "policies"),
        (None, [(1, 1)] * 9, "policies"),
        (None, [(1, 1), (0, 1)], "policies[1].rate"),
        (None, [(10_001, 1000)], "policies[0].rate"),
        (None, [(1, 0)], "policies[0].interval_ms"),
        (None, [(1, YEAR_MS + 1)], "policies[0].interval_ms"),
        (None, [(10_000, 9)], "policies[0].interval_ms"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_field(
    key: str | None, policies: list[tuple[int, int]], path: str
) -> None:
    with pytest.raises(RateError) as caught:
        parse_rate_limit(key, policies)
    assert caught.value.path == path


def test_a_high_rate_is_divided_so_that_few_admissions_are_kept() -> None:
    limit = parse_rate_limit(None, [(5000, 60_000), (10_000, 1000), (1500, 1001)])
    assert limit.policies == (Policy(1000, 12_000), Policy(1000, 100), Policy(750, 501))


@given(st.integers(1, 10_000), st.integers(10, YEAR_MS))
def test_a_divided_rate_implies_the_one_asked_for(rate: int, interval_ms: int) -> None:
    (policy,) = parse_rate_limit(None, [(rate, interval_ms)]).policies
    parts = -(-interval_ms // policy.interval_ms)
    assert policy.rate <= 1000
    assert parts * policy.rate <= rate, "the interval asked for is covered by so many of the policy's"


@pytest.mark.parametrize(
    "spelling",
    [
        "{{device.user}}",
        "{{ device.user }}",
        "{{.device.user}}",
        "{{ .device.user }}",
        "#{device.user}",
        "#{ device.user }",
        "device.user",
    ],
)
def test_a_variable_is_known_in_every_spelling(spelling: str) -> None:
    assert render_key(spelling, "d1", "ann") == "ann"
    assert render_key(f"news:{spelling}:en", "d1", "ann") == "news:ann:en"
    assert render_key(spelling.replace("user", "id"), "d1", "ann") == "d1"


def test_a_key_may_hold_several_variables() -> None:
    assert render_key("{{device.user}}/device.id/#{device.user}", "d1", "ann") == "ann/d1/ann"


@pytest.mark.parametrize(
    "key",
    ["promo", "{{device.meta.team}}", "{{user}}", "device.username", "my.device.id", "mydevice.id", "device.user.name"],
)
def test_all_else_in_a_key_stays_as_it_is(key: str) -> None:
    assert render_key(key, "d1", "ann") == key


def test_what_a_user_is_called_is_not_read_as_a_variable() -> None:
    assert render_key("{{device.user}}", "d1", r"{{device.id}}\1") == r"{{device.id}}\1"


def test_a_device_of_no_user_counts_for_itself() -> None:
    assert render_key("promo:{{device.user}}", "d1", "") == "promo:d1"


def test_a_full_interval_makes_room_when_its_oldest_admission_leaves_it() -> None:
    log = SlidingLog([Policy(2, 1000)])
    assert log.admit(100.0, 1) == [Verdict(admitted=True, at=100.0)]
    assert log.admit(100.4, 3) == [
        Verdict(admitted=True, at=100.4),
        Verdict(admitted=False, at=101.0),
        Verdict(admitted=False, at=101.4),
    ]
    assert log.admit(100.999999, 1) == [Verdict(admitted=False, at=101.0)]
    assert log.admit(101.0, 1) == [Verdict(admitted=True, at=101.0)]


def test_those_who_wait_get_the_slots_one_after_another() -> None:
    verdicts = SlidingLog([Policy(2, 1000), Policy(3, 10_000)]).admit(50.0, 8)
    assert [verdict.admitted for verdict in verdicts] == [True] * 2 + [False] * 6
    assert [verdict.at for verdict in verdicts] == [50.0, 50.0, 51.0, 60.0, 60.0, 61.0, 70.0, 70.0]


def test_a_clock_that_is_behind_goes_by_the_newest_admission() -> None:
    log = SlidingLog([Policy(2, 1000)])
    log.admit(100.0, 1)
    assert log.admit(98.0, 2) == [Verdict(admitted=True, at=100.0), Verdict(admitted=False, at=101.0)]


@given(
    st.lists(st.builds(Policy, st.integers(1, 5), st.integers(1, 3000)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(-500, 2000), st.integers(1, 6)), min_size=1, max_size=30),
)
def test_no_interval_ever_holds_more_than_its_rate(policies: list[Policy], asking: list[tuple[int, int]]) -> None:
    log, now, admitted = SlidingLog(policies), 1_000_000.0, []
    for step_ms, requests in asking:
        now += step_ms / 1000
        verdicts = log.admit(now, requests)
        assert all(one.at <= other.at for one, other in pairwise(verdicts))
        admitted += [round(verdict.at * 1e6) for verdict in verdicts if verdict.admitted]
    for policy in policies:
        for begin in admitted:
            assert sum(begin <= time < begin + policy.interval_ms * 1000 for time in admitted) <= policy.rate
