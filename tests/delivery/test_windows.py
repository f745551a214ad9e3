"""Local-time windows and quiet hours, on chosen days and, by property, in any zone on any day."""

from datetime import UTC, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.windows import (
    TIMEZONES,
    QuietInterval,
    Weekly,
    Window,
    WindowError,
    opens_at,
    parse_weekly,
    parse_window,
    quiet_until,
)

DAY = 86_400
EARLIEST = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())
LATEST = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp())
ZONES = sorted(TIMEZONES)
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """The Unix time of a local time, as 2026-03-29 01:30:00."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def local(second: float, zone: str) -> datetime:
    return datetime.fromtimestamp(second, ZoneInfo(zone))


def inside(window: Window, zone: str, second: float) -> bool:
    """What a person with a clock on the wall would say."""
    now = local(second, zone).time()
    if window.after < window.before:
        return window.after <= now < window.before
    return now >= window.after or now < window.before


@cache
def changes(zone: str) -> tuple[int, ...]:
    """The seconds at which the zone's offset changes, found without the code under test."""
    found = []
    for day in range(EARLIEST, LATEST, DAY):
        low, high = day, day + DAY
        if local(low, zone).utcoffset() != local(high, zone).utcoffset():
            while high - low > 1:
                middle = (low + high) // 2
                same = local(middle, zone).utcoffset() == local(low, zone).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
    return tuple(found)


def grid(begin: float, end: float, zone: str) -> list[float]:
    """The whole minutes between two instants, and the seconds on either side of each change of offset."""
    minutes = [float(second) for second in range(int(begin // 60 + 1) * 60, int(end), 60)]
    edges = [float(change + side) for change in changes(zone) for side in (-1, 0, 1)]
    return minutes + [edge for edge in edges if begin < edge < end]


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, float]:
    """A zone and an instant; every other one within a day and a half of a change of offset."""
    zone = draw(st.sampled_from(ZONES))
    near = changes(zone) if draw(st.booleans()) else ()
    second = draw(st.sampled_from(near)) if near else draw(st.integers(EARLIEST, LATEST))
    away = draw(st.integers(-3 * DAY // 2, 3 * DAY // 2)) if near else 0
    fraction = draw(st.sampled_from([0.0, 0.0, 0.25, 0.999]))
    return zone, min(max(second + away, EARLIEST), LATEST) + fraction


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Any window; often one that lies in the hours of the night in which clocks are changed."""
    low, high = draw(st.sampled_from([(0, DAY - 1), (0, 4 * 3600)]))
    unit = draw(st.sampled_from([1, 60, 1800]))
    first, second = draw(st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted))
    times = [(datetime.min + timedelta(seconds=each // unit * unit)).time() for each in (first, second)]
    if times[0] == times[1]:
        times[1] = (datetime.min + timedelta(seconds=(second // unit + 1) * unit % DAY)).time()
    return Window(*(reversed(times) if draw(st.booleans()) else times))


@settings(max_examples=400, deadline=None)
@given(windows(), moments())
def test_it_opens_at_the_first_instant_that_is_inside(window: Window, moment: tuple[str, float]) -> None:
    zone, now = moment
    opening = opens_at(window, zone, now)
    assert opening is not None
    assert opening >= now
    assert inside(window, zone, opening)
    assert (opening == now) == inside(window, zone, now)
    assert opening == now or not inside(window, zone, opening - 1) or opening - 1 < now
    assert [second for second in grid(now, opening, zone) if inside(window, zone, second)] == []
    assert opens_at(window, zone, opening) == opening


def test_a_device_inside_its_window_gets_it_now() -> None:
    now = at("2026-11-22 09:00", "Europe/Lisbon") + 0.25
    assert opens_at(parse_window("09:00:00", "21:00:00"), "Europe/Lisbon", now) == now


def test_a_device_past_its_window_gets_it_the_next_day() -> None:
    window = parse_window("09:00:00", "21:00:00")
    now = at("2026-11-22 21:00:00", "Asia/Kathmandu")
    assert opens_at(window, "Asia/Kathmandu", now) == at("2026-11-23 09:00", "Asia/Kathmandu")
    assert opens_at(window, "Asia/Kathmandu", now - 0.001) == now - 0.001


def test_a_window_over_midnight_is_open_on_both_sides_of_it() -> None:
    window = parse_window("22:00", "02:00")
    for inside_it in ("2026-11-22 23:59:59", "2026-11-22 00:00:00", "2026-11-22 01:59:59"):
        assert opens_at(window, "America/Bogota", at(inside_it, "America/Bogota")) == at(inside_it, "America/Bogota")
    assert opens_at(window, "UTC", at("2026-11-22 02:00")) == at("2026-11-22 22:00")


def test_a_window_up_to_midnight_ends_there() -> None:
    window = parse_window("18:00", "00:00")
    assert opens_at(window, "UTC", at("2026-11-22 23:59:59")) == at("2026-11-22 23:59:59")
    assert opens_at(window, "UTC", at("2026-11-22 00:00:00")) == at("2026-11-22 18:00:00")


def test_a_window_that_begins_in_a_skipped_hour_opens_at_the_end_of_it() -> None:
    window = parse_window("02:30", "09:00")
    now = at("2026-03-29 01:00", "Europe/Berlin")
    assert opens_at(window, "Europe/Berlin", now) == at("2026-03-29 03:00", "Europe/Berlin")


def test_a_window_within_a_skipped_hour_opens_the_next_day() -> None:
    window = parse_window("02:15", "02:45")
    now = at("2026-03-29 01:00", "Europe/Berlin")
    assert opens_at(window, "Europe/Berlin", now) == at("2026-03-30 02:15", "Europe/Berlin")


def test_a_window_on_a_skipped_day_opens_on_the_day_after() -> None:
    window = parse_window("10:00", "11:00")
    now = at("2011-12-29 12:00", "Pacific/Apia")
    assert opens_at(window, "Pacific/Apia", now) == at("2011-12-31 10:00", "Pacific/Apia")


def test_a_local_time_that_comes_twice_is_inside_twice() -> None:
    window = parse_window("02:00", "02:30")
    first, second = (at("2026-10-25 02:00", "Europe/Berlin", fold) for fold in (0, 1))
    assert second - first == 3600
    assert opens_at(window, "Europe/Berlin", first - 60) == first
    assert opens_at(window, "Europe/Berlin", first + 1799) == first + 1799
    assert opens_at(window, "Europe/Berlin", first + 1800) == second
    assert opens_at(window, "Europe/Berlin", second + 1800) == at("2026-10-26 02:00", "Europe/Berlin")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "europe/berlin", "../etc/passwd", "Europe"])
def test_an_unknown_zone_has_no_opening_and_no_quiet(zone: str) -> None:
    assert opens_at(parse_window("09:00", "21:00"), zone, 1_795_000_000.0) is None
    assert quiet_until(parse_weekly([QuietInterval(EVERY_DAY, "00:00", "24:00")]), zone, 1_795_000_000.0) is None


def test_seconds_may_be_left_out() -> None:
    assert parse_window("09:30", "21:00:59") == Window(time(9, 30), time(21, 0, 59))


@pytest.mark.parametrize("text", ["", "9:30", "24:00", "09:60", "09:30:60", "09:30 ", "09.30", "09:30:00.5", "٠٩:٣٠"])
def test_another_form_of_time_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(WindowError, match="not a time of day") as first:
        parse_window(text, "10:00")
    with pytest.raises(WindowError) as second:
        parse_window("10:00", text)
    assert (first.value.path, second.value.path) == ("send_after_time", "send_before_time")


def test_a_window_that_begins_and_ends_at_once_is_refused() -> None:
    with pytest.raises(WindowError, match="empty") as caught:
        parse_window("10:00", "10:00:00")
    assert caught.value.path == "send_before_time"


def quiet_by_the_wall(intervals: list[QuietInterval], zone: str, second: float) -> bool:
    """Whether it is quiet, read off the intervals as they were given."""
    now = local(second, zone)
    today, yesterday = now.isoweekday(), (now.isoweekday() - 2) % 7 + 1
    clock = f"{now:%H:%M}"
    for interval in intervals:
        over_midnight = interval.end < interval.start
        if today in interval.days and interval.start <= clock and (over_midnight or clock < interval.end):
            return True
        if over_midnight and yesterday in interval.days and clock < interval.end:
            return True
    return False


@st.composite
def quiet_hours(draw: st.DrawFn) -> list[QuietInterval]:
    halves = [f"{hour:02}:{minute}" for hour in range(24) for minute in ("00", "30")]
    days = st.lists(st.sampled_from(EVERY_DAY), min_size=1, max_size=7).map(tuple)
    pairs = st.tuples(st.sampled_from(halves), st.sampled_from([*halves, "24:00"])).filter(lambda two: two[0] != two[1])
    return [QuietInterval(draw(days), *draw(pairs)) for _ in range(draw(st.integers(1, 4)))]


@settings(max_examples=300, deadline=None)
@given(quiet_hours(), moments())
def test_quiet_time_ends_at_the_first_instant_outside(
    intervals: list[QuietInterval], moment: tuple[str, float]
) -> None:
    zone, now = moment
    end = quiet_until(parse_weekly(intervals), zone, now)
    assert (end is None) == (not quiet_by_the_wall(intervals, zone, now))
    if end is not None:
        assert now < end <= now + 8 * DAY
        assert [second for second in grid(now, end, zone) if not quiet_by_the_wall(intervals, zone, second)] == []
        assert not quiet_by_the_wall(intervals, zone, end) or end == now // 1 + 8 * DAY


def test_quiet_hours_over_midnight_belong_to_the_day_they_begin_on() -> None:
    weekly = parse_weekly([QuietInterval((5,), "22:00", "07:00")])
    assert quiet_until(weekly, "Asia/Tokyo", at("2026-11-20 23:00", "Asia/Tokyo")) == at(
        "2026-11-21 07:00", "Asia/Tokyo"
    )
    assert quiet_until(weekly, "Asia/Tokyo", at("2026-11-20 06:00", "Asia/Tokyo")) is None
    assert quiet_until(weekly, "Asia/Tokyo", at("2026-11-21 07:00", "Asia/Tokyo")) is None


def test_quiet_time_ends_by_the_wall_whatever_the_clock_does_in_between() -> None:
    weekly, zone = parse_weekly([QuietInterval(EVERY_DAY, "22:00", "07:00")]), "Europe/Berlin"
    for evening, morning, hours in (("2026-03-28", "2026-03-29", 8), ("2026-10-24", "2026-10-25", 10)):
        begins, ends = at(f"{evening} 22:00", zone), at(f"{morning} 07:00", zone)
        assert ends - begins == hours * 3600
        assert quiet_until(weekly, zone, begins) == ends


def test_a_quiet_end_that_comes_twice_ends_it_twice() -> None:
    weekly, zone = parse_weekly([QuietInterval(EVERY_DAY, "22:00", "02:30")]), "Europe/Berlin"
    first, second = (at("2026-10-25 02:30", zone, fold) for fold in (0, 1))
    assert quiet_until(weekly, zone, first - 60) == first
    assert quiet_until(weekly, zone, first) is None
    assert quiet_until(weekly, zone, second - 1800) == second


def test_intervals_that_touch_or_overlap_are_one_quiet_time() -> None:
    given_ones = [QuietInterval((6,), "20:00", "24:00"), QuietInterval((7,), "00:00", "12:00")]
    weekly = parse_weekly([*given_ones, QuietInterval((7,), "11:00", "13:00")])
    assert quiet_until(weekly, "UTC", at("2026-11-21 20:00")) == at("2026-11-22 13:00")


def test_quiet_time_goes_on_over_the_end_of_the_week() -> None:
    weekly = parse_weekly([QuietInterval((7,), "22:00", "07:00"), QuietInterval((1,), "06:00", "08:00")])
    assert quiet_until(weekly, "UTC", at("2026-11-22 23:00")) == at("2026-11-23 08:00")
    assert quiet_until(weekly, "UTC", at("2026-11-23 05:00")) == at("2026-11-23 08:00")


def test_who_is_quiet_all_week_is_asked_about_again_after_eight_days() -> None:
    weekly = parse_weekly([QuietInterval(EVERY_DAY, "00:00", "24:00")])
    now = at("2026-11-22 12:00")
    assert quiet_until(weekly, "UTC", now) == now + 8 * DAY


def test_no_interval_is_never_quiet() -> None:
    assert parse_weekly([]) == Weekly()
    assert quiet_until(Weekly(), "UTC", 1_795_000_000.0) is None


@pytest.mark.parametrize(
    ("interval", "path"),
    [
        (QuietInterval((), "22:00", "07:00"), "[1].days"),
        (QuietInterval((0,), "22:00", "07:00"), "[1].days"),
        (QuietInterval((8,), "22:00", "07:00"), "[1].days"),
        (QuietInterval((1,), "24:00", "07:00"), "[1].from"),
        (QuietInterval((1,), "22:00", "7:00"), "[1].to"),
        (QuietInterval((1,), "22:00", "22:00"), "[1].to"),
    ],
)
def test_an_interval_that_means_nothing_is_refused_with_its_field(interval: QuietInterval, path: str) -> None:
    with pytest.raises(WindowError) as caught:
        parse_weekly([QuietInterval((1,), "22:00", "07:00"), interval])
    assert caught.value.path == path


def test_the_intervals_are_bounded() -> None:
    with pytest.raises(WindowError, match="up to 50"):
        parse_weekly([QuietInterval((1,), "22:00", "07:00")] * 51)
