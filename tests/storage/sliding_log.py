"""What rate limits are measured against."""

from collections.abc import Sequence

from storage.limits import Policy, Verdict


class SlidingLog:
    """The limit of one key in memory, as `storage.limits.admit` keeps it for all: every admission, none forgotten.

    The measure that the database is tested against; made for clearness, not for speed. Times in microseconds.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = tuple(policies)
        self._times: list[int] = []

    def admit(self, now: float, requests: int) -> list[Verdict]:
        """Return a verdict for each of so many requests at this time (Unix seconds)."""
        at = max([round(now * 1e6), *self._times[-1:]])
        admitted = 0
        while admitted < requests and self._free_at(self._times, at) == at:
            self._times.append(at)
            admitted += 1
        ahead = self._times.copy()
        for _ in range(requests - admitted):
            ahead.append(self._free_at(ahead, at))
        waiting = [Verdict(admitted=False, at=slot / 1e6) for slot in ahead[len(self._times) :]]
        return [Verdict(admitted=True, at=at / 1e6)] * admitted + waiting

    def _free_at(self, times: Sequence[int], at: int) -> int:
        """The earliest time from `at` on that has room in every policy."""
        full = [policy for policy in self._policies if len(times) >= policy.rate]
        return max([at, *(times[-policy.rate] + policy.interval_ms * 1000 for policy in full)])
