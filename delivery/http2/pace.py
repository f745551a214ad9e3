"""When the next connect may start: full jitter after failures, and a limit per minute (APNs blocks busy connectors)."""

from collections import deque
from collections.abc import Callable

from .options import PoolOptions

_MINUTE = 60.0
_DOUBLINGS = 16


class Pace:
    """Counts connects and failures; all times are the loop's."""

    def __init__(self, options: PoolOptions, jitter: Callable[[], float]) -> None:
        self._options = options
        self._jitter = jitter
        self._started: deque[float] = deque(maxlen=options.connects_per_minute)
        self._not_before = 0.0
        self.failures = 0

    def allows(self, now: float) -> bool:
        """Whether a connect may start now."""
        oldest = self._started[0] if len(self._started) == self._started.maxlen else None
        return now >= self._not_before and (oldest is None or now - oldest >= _MINUTE)

    def started(self, now: float) -> None:
        """A connect has started."""
        self._started.append(now)

    def failed(self, now: float) -> None:
        """A connect failed, or its connection ended before the first answer."""
        longest = self._options.backoff_base * 2 ** min(self.failures, _DOUBLINGS)
        self._not_before = now + self._jitter() * min(longest, self._options.backoff_cap)
        self.failures += 1

    def succeeded(self) -> None:
        """A connection has served."""
        self.failures = 0
        self._not_before = 0.0
