"""Brings what PostgreSQL has in its queue to Redis: what is new at once, what was lost there when that is noticed.

Batches have numbers that rise. New ones are followed by them; a number that is missing may belong to a transaction
that has not ended, and is asked for again for a while. The whole queue is walked when a worker starts, when Redis has
lost something or may have, and now and then in any case: putting in what is there already changes nothing.
"""

import logging
import time
from collections.abc import Mapping

from delivery.queues.redis_order import RedisOrder, Row
from storage.queue_order import Order, Standing

_LOG = logging.getLogger(__name__)
_PAGE = 5000
_MISSED_SECONDS = 5.0  # no transaction of ours takes longer between taking a number and its end
_MISSED_EVERY_SECONDS = 0.05
_LATELY_SECONDS = 0.25  # for so long a number is asked for each time, later once a second: most are settled batches
_LATE_EVERY_SECONDS = 1.0
_MOST_MISSED = 10_000
_LOOK_BACK = 1000  # numbers that may have been taken and not been committed when a worker starts
_WALK_EVERY_SECONDS = 30.0
_WALK_SHARE = 20  # a walk takes at most a twentieth of the time


class Feed:
    """Follows the queue of PostgreSQL for one worker; any number of workers may, and do the same."""

    def __init__(self, order: Order, redis: RedisOrder) -> None:
        self._order = order
        self._redis = redis
        self._high: int | None = None
        self._missed: dict[int, float] = {}
        self._asked_at = self._asked_all_at = float("-inf")
        self._place: int | None = None  # of the walk
        self._once_more = False
        self._torn: set[Row] = set()
        self._generation = redis.generation

    def lacks(self, torn: Mapping[Row, bool]) -> None:
        """Say that something may be missing of these: the queue is walked, once more where that is news in a walk."""
        if self._place is None:
            self._place = 0
        else:
            self._once_more |= any(torn.values())
        self._torn |= torn.keys()

    @property
    def is_walking(self) -> bool:
        """Whether the queue is being walked."""
        return self._place is not None

    async def follow(self) -> int:
        """Bring over what is new; how many batches that were."""
        if self._high is None or self._redis.generation != self._generation:
            self._generation = self._redis.generation
            if self._high is None:
                self._high = max(0, await self._order.newest() - _LOOK_BACK)
            self._place = 0
        found = 0
        while True:
            rows = await self._order.standing_after(self._high, self._asked_again(), _PAGE)
            found += await self._bring(rows)
            self._note(rows)
            if len(rows) < _PAGE:
                return found

    async def walk(self, most_seconds: float = float("inf")) -> None:
        """Take the next steps of the walk that has begun, a page of batches each: to its end, or for so long."""
        began = time.monotonic()
        while self._place is not None and time.monotonic() - began < most_seconds:
            await self.step()

    async def step(self) -> None:
        """Bring over one page of the walk; at its end, what lacked something is marked as whole."""
        place = self._place
        if place is None:
            return
        rows = await self._order.standing_after(place, (), _PAGE)
        found = await self._bring(rows)
        if found:
            _LOG.debug("batches were brought to Redis by a walk", extra={"batches": found})
        if self._place != place:
            return  # somebody else took this step, or the walk began anew
        if len(rows) == _PAGE:
            self._place = rows[-1].id
            return
        if self._once_more:
            self._place, self._once_more = 0, False
            return
        self._place = None
        whole, self._torn = self._torn, set()
        lost = await self._redis.mark_whole(whole)
        if lost:
            self.lacks(dict.fromkeys(lost, False))

    async def look_through(self) -> float:
        """Walk the queue, if no other worker has lately; seconds until that may be worth asking again."""
        if await self._redis.take_turn("walk", _WALK_EVERY_SECONDS):
            began = time.monotonic()
            rows = await self._redis.rows()
            self._place = 0
            self._torn |= rows
            await self.walk()
            return max(_WALK_EVERY_SECONDS, _WALK_SHARE * (time.monotonic() - began))
        return _WALK_EVERY_SECONDS / 2

    async def _bring(self, rows: list[Standing]) -> int:
        """Put them in their places; what is parked has none until it is set free, under another number."""
        found, lost = await self._redis.add([row for row in rows if not row.parked])
        if lost:
            self.lacks(lost)
        return found

    def _asked_again(self) -> list[int]:
        now = time.monotonic()
        if not self._missed or now - self._asked_at < _MISSED_EVERY_SECONDS:
            return []
        self._asked_at = now
        self._missed = {batch: since for batch, since in self._missed.items() if now - since < _MISSED_SECONDS}
        if now - self._asked_all_at < _LATE_EVERY_SECONDS:
            return [batch for batch, since in self._missed.items() if now - since < _LATELY_SECONDS]
        self._asked_all_at = now
        return list(self._missed)

    def _note(self, rows: list[Standing]) -> None:
        """Remember which numbers were not there."""
        if not rows:
            return
        for row in rows:
            self._missed.pop(row.id, None)
        last, high = rows[-1].id, self._high or 0
        if last <= high:
            return
        there = {row.id for row in rows}
        now = time.monotonic()
        first = max(high + 1, last - _MOST_MISSED)
        self._missed.update((batch, now) for batch in range(first, last) if batch not in there)
        for batch in list(self._missed)[: max(0, len(self._missed) - _MOST_MISSED)]:
            del self._missed[batch]
        self._high = last
