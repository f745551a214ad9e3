"""What a user's preferences mean for a push, on chosen days and by property."""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.preferences import Importance, Quiet, is_muted, judge_preferences
from delivery.windows import QuietInterval, parse_weekly, quiet_until
from storage.users import LEVELS, Preferences

HOUR = 3600.0
NIGHTS = '[{"days":[1,2,3,4,5,6,7],"from":"22:00","to":"07:00"}]'
IMPORTANCES: list[Importance] = ["low", "normal", "high"]


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_nothing_holds_a_push_to_a_user_without_preferences() -> None:
    assert [judge_preferences(Preferences(), "UTC", each, at("2026-11-22 03:00")) for each in IMPORTANCES] == [None] * 3


def test_quiet_hours_hold_until_they_end_by_the_clock_of_the_device() -> None:
    wanted, now = Preferences(NIGHTS), at("2026-11-22 23:30", "Europe/Lisbon")
    assert judge_preferences(wanted, "Europe/Lisbon", "high", now) == Quiet("QuietHours", now + 7.5 * HOUR)
    assert judge_preferences(wanted, "Asia/Tokyo", "high", now) is None


def test_a_device_without_a_zone_has_no_quiet_hours() -> None:
    assert judge_preferences(Preferences(NIGHTS), "", "normal", at("2026-11-22 23:30")) is None


def test_a_snooze_holds_until_its_end_whatever_the_zone() -> None:
    wanted = Preferences(snooze_until=1000.0)
    assert judge_preferences(wanted, "", "high", 999.0) == Quiet("Snoozed", 1000.0)
    assert judge_preferences(wanted, "", "high", 1000.0) is None


def test_of_a_snooze_and_quiet_hours_the_one_that_ends_later_counts() -> None:
    now = at("2026-11-22 23:00")
    assert judge_preferences(Preferences(NIGHTS, now + 2 * HOUR), "UTC", "low", now) == Quiet(
        "QuietHours", now + 8 * HOUR
    )
    assert judge_preferences(Preferences(NIGHTS, now + 9 * HOUR), "UTC", "low", now) == Quiet("Snoozed", now + 9 * HOUR)


def test_what_is_less_important_than_the_level_is_never_wanted() -> None:
    wanted = {
        level: [each for each in IMPORTANCES if judge_preferences(Preferences(level=level), "UTC", each, 0.0) is None]
        for level in LEVELS
    }
    assert wanted == {"low": ["low", "normal", "high"], "normal": ["normal", "high"], "high": ["high"], "none": []}


def test_the_level_comes_before_what_only_holds() -> None:
    wanted = Preferences(NIGHTS, 2e9, level="high")
    assert judge_preferences(wanted, "UTC", "normal", at("2026-11-22 23:30")) == Quiet("LevelTooLow", None)


def test_a_push_is_muted_when_every_topic_by_which_it_reaches_the_device_is() -> None:
    wanted = Preferences(muted_topics=["news", "sports"])
    assert is_muted(wanted, ["news"])
    assert is_muted(wanted, {"news", "sports"})
    assert not is_muted(wanted, ["news", "weather"])
    assert not is_muted(wanted, [])


@st.composite
def wishes(draw: st.DrawFn) -> tuple[Preferences, float]:
    """Preferences and an instant around which they do something."""
    now = float(draw(st.integers(1_790_000_000, 1_800_000_000)))
    times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 30]))
    intervals = draw(
        st.lists(
            st.builds(QuietInterval, st.sets(st.integers(1, 7), min_size=1).map(tuple), times, times).filter(
                lambda each: each.start != each.end
            ),
            max_size=3,
        )
    )
    snooze = draw(st.none() | st.floats(now - HOUR, now + 100 * HOUR))
    return Preferences(msgspec.json.encode(intervals).decode(), snooze, level=draw(st.sampled_from(LEVELS))), now


@settings(max_examples=300, deadline=None)
@given(wishes(), st.sampled_from(["", "UTC", "America/New_York", "Asia/Kathmandu"]), st.sampled_from(IMPORTANCES))
def test_a_push_waits_exactly_as_long_as_something_holds_it(
    wish: tuple[Preferences, float], zone: str, importance: Importance
) -> None:
    wanted, now = wish
    weekly = parse_weekly(msgspec.json.decode(wanted.quiet_hours, type=list[QuietInterval]))

    def held(second: float) -> bool:
        return (wanted.snooze_until or 0.0) > second or quiet_until(weekly, zone, second) is not None

    quiet = judge_preferences(wanted, zone, importance, now)
    if quiet is None:
        assert not held(now)
    elif quiet.until is None:
        assert quiet.reason == "LevelTooLow"
    else:
        assert quiet.until > now
        assert held(now)
        assert all(held(now + (quiet.until - now) * part / 50) for part in range(50))


@settings(max_examples=100, deadline=None)
@given(wishes(), st.sampled_from(["", "UTC", "America/New_York"]))
def test_more_important_pushes_are_held_no_more_than_less_important_ones(
    wish: tuple[Preferences, float], zone: str
) -> None:
    wanted, now = wish
    judged = [judge_preferences(wanted, zone, each, now) for each in IMPORTANCES]
    stopped = [quiet is not None and quiet.until is None for quiet in judged]
    assert stopped == sorted(stopped, reverse=True)
    assert len({quiet for quiet, is_stopped in zip(judged, stopped, strict=True) if not is_stopped}) <= 1
