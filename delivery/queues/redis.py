"""The queue with Redis or Valkey: the order of service, the leases and the waiting are there, the batches are not.

PostgreSQL has every batch, and decides by its own statement whose it is: Redis says which to ask for next. So what
Redis loses, or says twice, costs time and nothing else; and while it is away, batches are claimed as without it.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import ParamSpec

from delivery.batches import Results
from delivery.outcomes import Pause
from delivery.queues.contract import Claim
from delivery.queues.postgres import PostgresQueue, claim_of
from delivery.queues.redis_errors import RedisScriptError, RedisUnavailableError
from delivery.queues.redis_feed import Feed
from delivery.queues.redis_order import Held, Offer, RedisOrder
from storage import queue as storage
from storage.database import DatabaseUnavailableError
from storage.queue_order import Order, Share, Standing

_LOG = logging.getLogger(__name__)
_AWAY_SECONDS = 1.0  # how long Redis is left alone after it did not answer
_MOST_AWAY_SECONDS = 8.0  # when it still does not: to ask one that hangs costs a claim two seconds
_FOLLOW_SECONDS = 0.25  # how old the news may be without a hint, while there is work
_TIME_SECONDS = 10.0
_QUOTAS_SECONDS = 1.0
_MOST_ROUNDS = 100
_WALK_SECONDS = 1.0  # the longest that a claim takes part in a walk when there seems to be nothing
_SIFTED = 10_000
P = ParamSpec("P")
_FAILURES = (RedisUnavailableError, RedisScriptError)  # the latter where somebody else's keys are in the way


class RedisQueue(PostgresQueue):
    """The queue contract with the order of service in Redis; see `run`, which a worker has beside it."""

    def __init__(
        self, queue: storage.Queue, order: Order, redis: RedisOrder, *, follow_seconds: float = _FOLLOW_SECONDS
    ) -> None:
        super().__init__(queue)
        self._follow_seconds = follow_seconds
        self._order = order
        self._redis = redis
        self._feed = Feed(order, redis)
        self._held: dict[int, Held] = {}
        self._pauses: dict[str, set[str]] = {}
        self._without_quota: dict[str, float] = {}
        self._database_clock = 0.0  # ahead of the monotonic one, which nobody sets
        self._timed_at = self._followed_at = self._away_since = float("-inf")
        self._is_away = False
        self._left_alone_seconds = 0.0
        self._news = True

    def noticed(self) -> None:
        """There may be new work: look into PostgreSQL with the next claim."""
        self._news = True

    async def run(self) -> None:
        """Keep Redis whole until cancelled: whatever is missing there is found in PostgreSQL and put in again."""
        wait = 0.0
        while True:
            await asyncio.sleep(max(wait, 1.0))
            try:
                wait = await self.look_through()
            except _FAILURES as error:
                self._went_away(error)
                wait = _AWAY_SECONDS
            except DatabaseUnavailableError as error:
                _LOG.warning("looking through the queue waits for the database", extra={"error": str(error)})
                wait = _AWAY_SECONDS

    async def look_through(self) -> float:
        """Put in whatever is missing in Redis, unless a worker did lately; seconds until it may be time again."""
        wait = await self._feed.look_through()
        await self._redis.drop(await self._order.unused({row[0] for row in await self._redis.rows()}))
        return wait

    async def claim(self, room: Mapping[str, int], known: Sequence[str], *, only_urgent: bool = False) -> list[Claim]:
        """Claim due batches: `room` is credential → recipients; `known` are pushes whose request is at hand."""
        if self._is_left_alone:
            return await super().claim(room, known, only_urgent=only_urgent)
        try:
            await self._feed.step()
            await self._bring(force=False)
            claims = await self._claim(room, known, only_urgent)
            if not claims and await self._may_have_more(only_urgent):
                claims = await self._claim(room, known, only_urgent)
        except _FAILURES as error:
            self._went_away(error)
            return await super().claim(room, known, only_urgent=only_urgent)
        self._came_back()
        return claims

    async def extend(self, batches: Sequence[int], pushes: Sequence[str]) -> list[str]:
        """Keep these leases; tell which of these pushes are cancelled or paused."""
        stopped = await super().extend(batches, pushes)
        await self._at_leisure(self._redis.keep, [self._held[batch] for batch in batches if batch in self._held])
        return stopped

    async def settle(self, results: Sequence[Results]) -> int:
        """Write what came of these batches, then forget them in Redis; how many were no longer ours."""
        settled = await self.settle_all(results)
        held = {each.batch.id: self._held.pop(each.batch.id, None) for each in results}
        gone = {batch: found for batch, found in held.items() if found and batch in settled}
        await self._at_leisure(self._redis.done, gone)
        self.noticed()
        return len(results) - len(settled)

    async def leave(self) -> None:
        """Let others have at once what was taken and not claimed; whatever was claimed must be settled by now."""
        await self._at_leisure(self._redis.let_go)

    async def set_free(self, ahead_seconds: float) -> tuple[int, int]:
        """Let batches of pushes with a rate of their own go: (batches set free, such pushes)."""
        freed, paced = await super().set_free(ahead_seconds)
        self._news |= freed > 0
        return freed, paced

    async def pause(self, credential: str, pause: Pause, reason: str, *, version: int | None, again: bool) -> None:
        """Stop a credential or a scope of it, if it still is the version that had the trouble."""
        await super().pause(credential, pause, reason, version=version, again=again)
        await self.paused()

    async def paused(self) -> dict[tuple[str, str], str]:
        """The pauses in force: (credential, scope) → reason."""
        found = await super().paused()
        pauses: dict[str, set[str]] = defaultdict(set)
        for credential, scope in found:
            pauses[credential].add(scope)
        self._pauses = pauses
        return found

    async def _claim(self, room: Mapping[str, int], known: Sequence[str], only_urgent: bool) -> list[Claim]:
        """Take what Redis offers, and of that what PostgreSQL gives; again while nothing stood where Redis had it."""
        for _ in range(_MOST_ROUNDS):
            shares = {} if only_urgent else await self._shares(room)
            offers = await self._offers(room, shares, only_urgent)
            claims, moved = await self._have(offers, known, list(shares.values()))
            if claims or not moved:
                return claims
            if shares:
                await self._sift(shares)
        return []

    async def _sift(self, credentials: Iterable[str]) -> None:
        """Drop what is gone from the beginning of these: a small share of a quota would find it bit by bit."""
        wanted = {(name, lane): _SIFTED for name in credentials for lane in (1, 2)}
        offers, _ = await self._redis.take(wanted, self._pauses, await self._now())
        if offers:
            await self._put_back(offers)

    async def _offers(self, room: Mapping[str, int], shares: Mapping[str, Share], only_urgent: bool) -> list[Offer]:
        """Take batches lane by lane; urgent ones do not wait for a quota."""
        offers: list[Offer] = []
        now = await self._now()
        allowed = {name: share.recipients for name, share in shares.items()}
        left = {name: most for name, most in room.items() if "" not in self._pauses.get(name, ())}
        for lane in (0,) if only_urgent else (0, 1, 2):
            wanted = {
                (name, lane): most if lane == 0 else min(most, allowed.get(name, most)) for name, most in left.items()
            }
            found, torn = await self._redis.take(wanted, self._pauses, now)
            if torn:
                self._feed.lacks(torn)
            for offer in found:
                left[offer.row[0]] -= offer.recipients
                if offer.row[0] in allowed:
                    allowed[offer.row[0]] -= offer.recipients
            offers += found
        return offers

    async def _have(
        self, offers: Sequence[Offer], known: Sequence[str], shares: Sequence[Share]
    ) -> tuple[list[Claim], bool]:
        """Claim what was offered; the claims, and whether something of it no longer stands where it was taken."""
        if not offers and not shares:
            return [], False
        try:
            rows = await self._queue.claim_chosen([offer.batch for offer in offers], known, shares)
        except DatabaseUnavailableError:
            await self._at_leisure(self._redis.give_back, offers, {})
            raise
        places = {offer.batch: n for n, offer in enumerate(offers)}
        rows.sort(key=lambda row: places[row.id])
        got = {row.id for row in rows}
        self._held |= {offer.batch: Held(offer.row, offer.entry) for offer in offers if offer.batch in got}
        refused = [offer for offer in offers if offer.batch not in got]
        moved = await self._put_back(refused) if refused else False
        return [claim_of(row) for row in rows], moved

    async def _put_back(self, refused: Sequence[Offer]) -> bool:
        """Put what could not be had where it stands by now, forget what is gone; whether that is another place."""
        pauses = self._pauses
        try:
            found = {each.id: each for each in await self._order.standing([offer.batch for offer in refused])}
            if any(not each.parked for each in found.values()):
                await self.paused()  # the usual reason
        except DatabaseUnavailableError:
            await self._at_leisure(self._redis.give_back, refused, {})
            return False
        gone = [offer for offer in refused if not _stands(found.get(offer.batch))]
        there = [offer for offer in refused if _stands(found.get(offer.batch))]
        for offer in there:
            self._without_quota.pop(offer.row[0], None)  # the other reason: it has one by now
        await self._at_leisure(self._redis.give_back, there, found)
        await self._at_leisure(self._redis.done, {offer.batch: Held(offer.row, offer.entry) for offer in gone})
        return bool(gone) or self._pauses != pauses or any(_moved(offer, found[offer.batch]) for offer in there)

    async def _may_have_more(self, only_urgent: bool) -> bool:
        """Whether there may be something after all: new in PostgreSQL, missing in Redis, or no longer paused.

        A busy worker does not wait for a walk: with each claim it goes on by a step in any case.
        """
        pauses = self._pauses
        if pauses:
            await self.paused()
        walked = self._feed.is_walking and not only_urgent
        if walked:
            await self._feed.walk(_WALK_SECONDS)
        return bool(await self._bring(force=True)) or walked or self._pauses != pauses

    async def _bring(self, *, force: bool) -> int:
        now = time.monotonic()
        if not (force or self._news) and now - self._followed_at < self._follow_seconds:
            return 0
        self._news = False
        self._followed_at = now
        return await self._feed.follow()

    async def _shares(self, room: Mapping[str, int]) -> dict[str, Share]:
        """Take what quotas allow just now; most credentials have none, and are not asked about each time."""
        now = time.monotonic()
        asked = {name: most for name, most in room.items() if now - self._without_quota.get(name, 0) > _QUOTAS_SECONDS}
        if not asked:
            return {}
        shares = {each.credential: each for each in await self._order.take_share(asked)}
        self._without_quota.update((name, now) for name in asked if name not in shares)
        return shares

    async def _now(self) -> float:
        """The database's time: what batches wait for was written down by it."""
        if time.monotonic() - self._timed_at > _TIME_SECONDS:
            # rather late by the time that the answer took than early: what is not due yet would be refused
            self._database_clock = await self._order.now() - time.monotonic()
            self._timed_at = time.monotonic()
        return time.monotonic() + self._database_clock

    async def _at_leisure(self, tell: Callable[P, Awaitable[None]], *words: P.args, **named: P.kwargs) -> None:
        """Tell Redis what it need not hear: entries that stay are claimed again later, and found to be settled."""
        if self._is_left_alone:
            return
        try:
            await tell(*words, **named)
        except _FAILURES as error:
            self._went_away(error)

    @property
    def _is_left_alone(self) -> bool:
        return time.monotonic() - self._away_since < self._left_alone_seconds

    def _went_away(self, error: Exception) -> None:
        self._away_since = time.monotonic()
        self._left_alone_seconds = (
            min(2 * self._left_alone_seconds, _MOST_AWAY_SECONDS) if self._is_away else _AWAY_SECONDS
        )
        if not self._is_away:
            self._is_away = True
            _LOG.warning("Redis is away; batches are claimed in PostgreSQL", extra={"reason": str(error)})

    def _came_back(self) -> None:
        if self._is_away:
            self._is_away = False
            _LOG.info("Redis is back")


def _stands(standing: Standing | None) -> bool:
    return standing is not None and not standing.parked


def _moved(offer: Offer, standing: Standing) -> bool:
    """Whether a batch waits now, or for later than was thought."""
    return standing.turn is None and bool(offer.turn or standing.due_ms > float(offer.due))
