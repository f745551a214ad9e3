"""How much work is claimed ahead."""

from delivery.pace import Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_held_is_what_was_claimed_and_not_finished() -> None:
    pace = Pace()
    pace.took(500)
    pace.finished(200)
    assert pace.held == 300


def test_the_rate_is_that_of_the_last_whole_window() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.took(10_000)
    pace.finished(5_000)
    assert pace.ahead(1.0) == 0, "no window has ended yet"
    clock.now += 0.5
    assert pace.ahead(1.0) == 10_000
    clock.now += 1.0
    assert pace.ahead(1.0) == 0, "nothing was finished since"
