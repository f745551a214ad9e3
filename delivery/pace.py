"""How fast a credential sends, so that enough work is claimed ahead and no more."""

import time
from collections.abc import Callable

_WINDOW_SECONDS = 0.5


class Pace:
    """Recipients held (claimed and not finished) and finished a second, over windows of half a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._window_started = clock()
        self._in_window = 0
        self._rate = 0.0
        self.held = 0

    def took(self, recipients: int) -> None:
        """So many were claimed."""
        self.held += recipients

    def finished(self, recipients: int) -> None:
        """So many are done with."""
        self.held -= recipients
        self._roll()
        self._in_window += recipients

    def ahead(self, seconds: float) -> int:
        """How many recipients it sends in so many seconds, by the last whole window."""
        self._roll()
        return int(self._rate * seconds)

    def _roll(self) -> None:
        elapsed = self._clock() - self._window_started
        if elapsed >= _WINDOW_SECONDS:
            self._rate = self._in_window / elapsed
            self._in_window = 0
            self._window_started += elapsed
