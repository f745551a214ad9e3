"""How far this host's clock is from the database's, by which leases, times of pushes and retries are meant.

Hosts may be minutes apart. Read as it is, a clock that is ahead lets pushes expire unsent and retries wait longer, one
that is behind sends what is over, and tries again at once where a push service asked for a pause.
"""

import time

TOLERATED_SECONDS = 0.5


class Asked:
    """The moment before the database was asked something, by the clocks of this host."""

    __slots__ = ("monotonic", "wall")

    def __init__(self) -> None:
        self.wall = time.time()
        self.monotonic = time.monotonic()

    def ahead_seconds(self, theirs: float) -> float:
        """How far our clock is ahead of the database's (behind: negative), which told its time in the answer.

        0 when it may be right: between asking and now it was that time here, too, but for `TOLERATED_SECONDS`.
        """
        least, most = self.wall - theirs, time.time() - theirs
        ahead = least if least > 0 else min(most, 0.0)
        return ahead if abs(ahead) > TOLERATED_SECONDS else 0.0
