"""Local-time windows and quiet hours as functions of a clock: no state, no I/O but the time zone database.

One rule gives every answer: an instant is inside when the local time it has lies inside. So what the clock skips is
never inside (a window that begins in a skipped hour opens at the end of it; one that lies wholly in it is not open that
day), and a local time that comes twice is inside twice.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import msgspec

TIMEZONES = frozenset(available_timezones())

_DAY = 86_400
_WEEK = 7 * _DAY
_FROM_MONDAY = 3 * _DAY  # 1970-01-01 was a Thursday
_LONGEST_QUIET_SECONDS = 8 * _DAY
_MOST_INTERVALS = 50

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)

_BLOCK_BITS = 20  # offsets are kept by blocks of twelve days
_BLOCK_SECONDS = 1 << _BLOCK_BITS
_PROBE_SECONDS = 21_600  # no zone changed its offset twice within six days since 1989
_EPOCH = datetime(1970, 1, 1)


class WindowError(ValueError):
    """A window or an interval that means nothing; `path` names the field inside the object that was given."""

    def __init__(self, detail: str, path: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path


class Window(msgspec.Struct, frozen=True):
    """The local times from `after` up to, not including, `before`; over midnight when `after` is the later one."""

    after: time
    before: time


class QuietInterval(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """Quiet from `from` to `to` (HH:MM), on the ISO weekdays (1 = Monday) on which it begins.

    A `to` that is not later than `from` is the next day's; 24:00 is the end of the day.
    """

    days: tuple[int, ...]
    start: str
    end: str


class Weekly(msgspec.Struct, frozen=True):
    """Quiet hours: disjoint pieces of the week in local seconds since Monday 00:00, ascending."""

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()


class _Offsets(NamedTuple):
    """The offsets from UTC in a block: from each of `starts` on (Unix seconds), so many seconds."""

    starts: tuple[int, ...]
    offsets: tuple[int, ...]


def parse_window(send_after_time: str, send_before_time: str) -> Window:
    """Read two local times, "HH:MM:SS" or "HH:MM".

    Raises WindowError for another form, and when both are equal: that could mean never as well as always.
    """
    after = _time(send_after_time, "send_after_time")
    before = _time(send_before_time, "send_before_time")
    if after == before:
        raise WindowError("the window is empty: it is the same as send_after_time", "send_before_time")
    return Window(after, before)


def opens_at(window: Window, zone: str, now: float) -> float | None:
    """When to send to a device in that zone: `now` if its local time is inside, else when the window opens next.

    Unix seconds, up to the year 9998. None when the zone is empty or unknown.
    """
    if zone not in TIMEZONES:
        return None
    after = _seconds(window.after)
    length = (_seconds(window.before) - after) % _DAY
    first = second = math.floor(now)  # windows begin and end at whole seconds, so its second answers for it
    while True:
        offset, until = _offset(zone, second)
        since_opening = (second + offset - after) % _DAY
        if since_opening < length:
            return now if second == first else float(second)
        second = min(second + _DAY - since_opening, until)


def parse_weekly(intervals: Sequence[QuietInterval]) -> Weekly:
    """Read the quiet hours of a user; no interval means never quiet.

    Raises WindowError (path as `[0].days`) for more than 50 intervals, days outside 1..7 or none, another form of
    time than HH:MM or HH:MM:SS, and an interval that begins and ends at the same time of day.
    """
    if len(intervals) > _MOST_INTERVALS:
        raise WindowError(f"up to {_MOST_INTERVALS} intervals are expected", "")
    pieces: list[tuple[int, int]] = []
    for index, interval in enumerate(intervals):
        pieces += _pieces(interval, f"[{index}]")
    return _merged(sorted(pieces))


def quiet_until(weekly: Weekly, zone: str, now: float) -> float | None:
    """When the quiet time that `now` lies in ends, in Unix seconds; None when it is not quiet now.

    Intervals that touch or overlap are one quiet time. It ends after eight days at the latest, so that someone who is
    quiet all week is asked about again. A device whose zone is empty or unknown is never quiet.
    """
    if not weekly.starts or zone not in TIMEZONES:
        return None
    first = second = math.floor(now)
    latest = first + _LONGEST_QUIET_SECONDS
    while second < latest:
        offset, until = _offset(zone, second)
        place = (second + offset + _FROM_MONDAY) % _WEEK
        index = bisect_right(weekly.starts, place) - 1
        if index < 0 or place >= weekly.ends[index]:
            return None if second == first else float(second)
        second = min(second + weekly.ends[index] - place, until)
    return float(latest)


def _time(text: str, path: str) -> time:
    found = _TIME.fullmatch(text)
    if found is None:
        raise WindowError("not a time of day, as 09:30:00 or 09:30", path)
    return time(int(found[1]), int(found[2]), int(found[3] or 0))


def _seconds(of_day: time) -> int:
    return of_day.hour * 3600 + of_day.minute * 60 + of_day.second


def _pieces(interval: QuietInterval, path: str) -> list[tuple[int, int]]:
    """The interval on each of its days, in seconds of the week; cut in two where the week ends."""
    if not interval.days or not all(1 <= day <= 7 for day in interval.days):
        raise WindowError("days of the week are expected, 1 (Monday) to 7 (Sunday)", f"{path}.days")
    start = _seconds(_time(interval.start, f"{path}.from"))
    end = _DAY if interval.end in {"24:00", "24:00:00"} else _seconds(_time(interval.end, f"{path}.to"))
    if start == end:
        raise WindowError("the interval is empty; the whole day is 00:00 to 24:00", f"{path}.to")
    pieces = []
    for day in set(interval.days):
        begins = (day - 1) * _DAY + start
        ends = begins + (end - start) % _DAY if end < _DAY else day * _DAY
        pieces.append((begins, min(ends, _WEEK)))
        if ends > _WEEK:
            pieces.append((0, ends - _WEEK))
    return pieces


def _merged(pieces: list[tuple[int, int]]) -> Weekly:
    starts: list[int] = []
    ends: list[int] = []
    for start, end in pieces:
        if ends and start <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return Weekly(tuple(starts), tuple(ends))


def _offset(zone: str, second: int) -> tuple[int, int]:
    """The zone's offset from UTC at this second, and until when it certainly stays; both in seconds."""
    block = second >> _BLOCK_BITS
    starts, offsets = _block(zone, block)
    if len(starts) == 1:
        return offsets[0], (block + 1) << _BLOCK_BITS
    index = bisect_right(starts, second)
    return offsets[index - 1], starts[index] if index < len(starts) else (block + 1) << _BLOCK_BITS


@lru_cache(maxsize=8192)
def _block(zone: str, block: int) -> _Offsets:
    """The offsets in a block, by probing: zoneinfo does not tell when they change."""
    rules = ZoneInfo(zone)
    begin = block << _BLOCK_BITS
    end = begin + _BLOCK_SECONDS
    starts, offsets = [begin], [_offset_at(rules, begin)]
    for low in range(begin, end, _PROBE_SECONDS):
        high = min(low + _PROBE_SECONDS, end - 1)
        if _offset_at(rules, high) != offsets[-1]:
            starts.append(_changes_at(rules, low, high))
            offsets.append(_offset_at(rules, high))
    return _Offsets(tuple(starts), tuple(offsets))


def _changes_at(rules: ZoneInfo, low: int, high: int) -> int:
    """The first second with the offset of `high`, between `low`, which has another, and it."""
    before = _offset_at(rules, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_at(rules, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _offset_at(rules: ZoneInfo, second: int) -> int:
    wall = datetime.fromtimestamp(second, UTC).astimezone(rules).replace(tzinfo=None)
    return (wall - _EPOCH) // timedelta(seconds=1) - second
