"""What a user's preferences mean for a push to one of the user's devices: pure, by the clock that is given.

Urgent pushes are not judged at all: who calls leaves them out.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec

from delivery.windows import QuietInterval, Weekly, parse_weekly, quiet_until
from storage.users import Preferences

Importance = Literal["low", "normal", "high"]

_RANKS: Final = {"low": 0, "normal": 1, "high": 2, "none": 3}
_INTERVALS = msgspec.json.Decoder(list[QuietInterval])


class Quiet(NamedTuple):
    """Why a user does not want a push now, and until when (Unix seconds); None when there is no such time."""

    reason: Literal["LevelTooLow", "Snoozed", "QuietHours"]
    until: float | None


def judge_preferences(preferences: Preferences, zone: str, importance: Importance, now: float) -> Quiet | None:
    """Tell whether a push of this importance may go to a device in that zone at `now` (Unix seconds); None: it may.

    LevelTooLow: never, as far as the user's level goes. Snoozed, or QuietHours by the device's clock: not before
    `until`, the later of the two when both hold; to be judged again then. A device without a zone has no quiet hours.
    """
    if _RANKS[importance] < _RANKS[preferences.level]:
        return Quiet("LevelTooLow", None)
    quiet = quiet_until(_weekly(preferences.quiet_hours), zone, now)
    snooze = preferences.snooze_until
    if snooze is not None and snooze > max(now, quiet or now):
        return Quiet("Snoozed", snooze)
    return None if quiet is None else Quiet("QuietHours", quiet)


def is_muted(preferences: Preferences, topics: Collection[str]) -> bool:
    """Tell whether a user wants none of the topics by which a push reaches a device; False when there are none."""
    return bool(topics) and set(topics) <= set(preferences.muted_topics)


@lru_cache(maxsize=4096)
def _weekly(quiet_hours: str) -> Weekly:
    """Read stored quiet hours; most users share a few of them."""
    return parse_weekly(_INTERVALS.decode(quiet_hours))
