"""When answers say that the credential is wrong, not the tokens."""

import pytest

from delivery.batches import Batch, Results
from delivery.breaker import Breaker
from delivery.outcomes import Kind, Outcome

BAD = Outcome(Kind.DEAD, "BadDeviceToken", 400)
GONE = Outcome(Kind.DEAD, "Unregistered", 410)
WRONG_APP = Outcome(Kind.DEAD, "DeviceTokenNotForTopic", 400)
NO_ANSWER = Outcome(Kind.RETRY, "ConnectFailed")


def results(count: int, refused: dict[Outcome, int]) -> Results:
    """A batch of so many recipients, of which so many came to these outcomes."""
    batch = Batch(1, "", "apns", "apns", "", "", "token", 1, 1, 0.0, 0.0, None, False, False, [b"aa"] * count)
    found = Results(batch, lambda done: None)
    outcomes = [outcome for outcome, times in refused.items() for _ in range(times)]
    for position in range(count):
        if position < len(outcomes):
            found.settled(position, outcomes[position])
        else:
            found.accepted(position, b"")
    return found


@pytest.mark.parametrize("outcome", [BAD, WRONG_APP])
def test_a_jump_of_one_reason_trips_it(outcome: Outcome) -> None:
    assert Breaker().observe(results(100, {outcome: 30})) == outcome.reason


@pytest.mark.parametrize("refused", [{BAD: 15}, {GONE: 50}, {NO_ANSWER: 100}, {BAD: 10, WRONG_APP: 10}])
def test_few_refusals_or_tokens_that_are_gone_do_not(refused: dict[Outcome, int]) -> None:
    assert Breaker().observe(results(100, refused)) is None


def test_most_tokens_being_gone_trips_it() -> None:
    assert Breaker().observe(results(200, {GONE: 110})) == "Unregistered"


def test_a_share_of_tokens_that_are_gone_can_be_allowed() -> None:
    assert Breaker(gone_share=1.0).observe(results(200, {GONE: 200})) is None


def test_refusals_add_up_over_small_batches() -> None:
    breaker = Breaker()
    found = [breaker.observe(results(1, {BAD: 1})) for _ in range(20)]
    assert found == [None] * 19 + ["BadDeviceToken"]


def test_what_does_not_answer_does_not_hide_a_jump() -> None:
    assert Breaker().observe(results(500, {BAD: 30, NO_ANSWER: 470})) == "BadDeviceToken"


def test_old_answers_fade() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.observe(results(500, {}))
    assert "BadDeviceToken" in {breaker.observe(results(500, {BAD: 500})) for _ in range(3)}


def test_it_begins_anew_once_it_has_tripped() -> None:
    breaker = Breaker()
    breaker.observe(results(100, {BAD: 100}))
    assert breaker.observe(results(100, {BAD: 10})) is None
