"""The send quota of FCM projects: a token bucket each, refilled evenly over the minute.

Source: https://firebase.google.com/docs/cloud-messaging/throttling-and-quotas
"""

import math


class ProjectQuota:
    """`per_minute` sends a minute and project, bursts of as many; None allows everything."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, project: str, now: float, sends: int = 1) -> int | None:
        """Take sends at `now` (monotonic seconds): None when they were there, else whole seconds until they will be.

        No more than a full bucket is taken.
        """
        if self._per_minute is None:
            return None
        full, per_second = float(self._per_minute), self._per_minute / 60
        level, then = self._levels.get(project, (full, now))
        level = min(full, level + (now - then) * per_second)
        wanted = max(1.0, min(full, float(sends)))
        if level < wanted:
            self._levels[project] = (level, now)
            return math.ceil((wanted - level) / per_second) if per_second else 60
        self._levels[project] = (level - wanted, now)
        return None

    def refill(self) -> None:
        """Start again with full buckets."""
        self._levels.clear()
