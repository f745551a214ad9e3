"""One wheel of request deadlines a connection: ranges of stream ids by the tick at which they are overdue."""


class DeadlineWheel:
    """Costs a request nothing: neighbours with the same deadline are one range, and answered ones are skipped later."""

    def __init__(self, tick_seconds: float) -> None:
        self._tick = tick_seconds
        self._buckets: dict[int, list[list[int]]] = {}

    def add(self, first: int, end: int, due_at: float) -> None:
        """Note that the streams `first`, `first` + 2, … below `end` are overdue at `due_at` (never noticed earlier)."""
        slot = int(due_at / self._tick) + 1
        ranges = self._buckets.get(slot)
        if ranges is None:
            self._buckets[slot] = [[first, end]]
        elif ranges[-1][1] == first:
            ranges[-1][1] = end
        else:
            ranges.append([first, end])

    def overdue(self, now: float) -> list[range]:
        """Take out the stream ids whose deadline has passed; the caller knows which of them are still open."""
        slot = int(now / self._tick)
        due = sorted(key for key in self._buckets if key <= slot)
        return [range(first, end, 2) for key in due for first, end in self._buckets.pop(key)]
