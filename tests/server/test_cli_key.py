"""`tocsin key`: the bounds of a key on the command line."""

import re

import pytest

from tests.server.conftest import Tocsin


@pytest.fixture
def key(tocsin: Tocsin, database_url: str) -> Tocsin:
    """Run `tocsin key` on this test's database."""

    def run(*words: str) -> tuple[int, str, str]:
        return tocsin("key", *words, database_url=database_url)

    return run


def listed(key: Tocsin) -> list[str]:
    """The lines of the list, one space for many, without the days."""
    lines = key("list")[1].splitlines()
    return [re.sub(r"20\d\d-\d\d-\d\d", "DAY", re.sub(r" +", " ", line)) for line in lines]


def test_a_key_is_listed_with_its_bounds(key: Tocsin) -> None:
    assert key("create", "plain")[0] == 0
    words = ["--methods", "@send,info", "--credentials", "shop", "--addresses", "10.0.0.0/8, ::1", "--rate", "2.5"]
    code, made, _ = key("create", "bound", *words, "--burst", "9", "--expires-at", "2099-12-31")
    assert code == 0
    assert made.startswith("tk_")
    bounds = "only @send, info for shop from 10.0.0.0/8, ::1/128 2.5 calls a second, 9 at once"
    assert listed(key) == [f"bound created DAY valid until DAY {bounds}", "plain created DAY valid"]
    assert "valid until 2099-12-31" in key("list")[1]


def test_a_key_is_replaced_with_an_overlap(key: Tocsin) -> None:
    key("create", "old", "--methods", "@send")
    assert key("create", "new", "--replaces", "old", "--overlap-s", "0")[1].startswith("tk_")
    assert listed(key) == ["new created DAY valid only @send", "old created DAY expired DAY only @send"]


def test_a_time_of_day_and_unix_seconds_are_times(key: Tocsin) -> None:
    assert key("create", "a", "--expires-at", "2099-12-31T18:00+01:00")[0] == 0
    assert key("create", "b", "--expires-at", "4102444800")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "nope"], "methods[0]: there is no method or group 'nope'"),
        (["--addresses", "10.0.0.1/8"], "addresses[0]: 10.0.0.1/8 has host bits set"),
        (["--burst", "5"], "burst: it goes with `rate`"),
        (["--rate", "-1"], "Expected `float` >= 0.0"),
        (["--expires-at", "2020-01-01"], "expires_at: this time is past"),
        (["--replaces", "nobody"], "there is no valid key named nobody"),
    ],
)
def test_bounds_that_mean_nothing_are_told(key: Tocsin, words: list[str], said: str) -> None:
    code, out, err = key("create", "k", *words)
    assert (code, out) == (1, "")
    assert said in err


def test_a_time_that_is_none_is_wrong_usage(key: Tocsin) -> None:
    with pytest.raises(SystemExit, match="2"):
        key("create", "k", "--expires-at", "soon")
