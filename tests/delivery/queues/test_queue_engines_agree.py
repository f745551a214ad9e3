"""Redis says what to ask for, PostgreSQL has it: whatever happens to both, all that may be claimed is, and once."""

import asyncio
from collections import Counter
from contextlib import suppress

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from delivery.outcomes import Kind, Outcome, Pause
from delivery.queues.contract import Claim
from delivery.queues.postgres import PostgresQueue
from delivery.queues.redis import RedisQueue
from delivery.queues.redis_errors import RedisUnavailableError
from delivery.queues.redis_link import RedisLink
from delivery.queues.redis_order import RedisOrder
from storage import queue as storage
from storage.credentials import switch
from storage.database import Database
from storage.ids import new_id
from storage.pushes import cancel, pause, resume
from storage.queue_order import Order
from tests.delivery.queues.queue_arranging import ROOM, accept, finished
from tests.redis_server import RedisServer

SCOPES = ("", "one", "push.example:8443", "ünï {x}|1} * ? [a]")
AGAIN = Outcome(Kind.RETRY, "InternalServerError", 500, retry_after_seconds=0.0)
LATER = Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=3600.0)
CLAIMABLE = b"""
select id from batches q
where not parked and (turn is not null or due_at <= now())
  and not exists (select from pauses z where z.credential = q.credential and z.scope in ('', q.scope))
  and not exists (select from credentials c where c.provider_id = q.credential and not c.enabled)
"""
SCOPE = st.sampled_from(SCOPES)
CREDENTIAL = st.sampled_from(("apns", "other"))
NUMBER = st.integers(0, 9)
STEPS = st.one_of(
    st.tuples(st.just("accept"), CREDENTIAL, SCOPE, st.integers(0, 2), st.integers(1, 12)),
    st.tuples(st.just("claim"), NUMBER, st.sampled_from((1, 3, 10_000)), st.booleans()),
    st.tuples(st.just("claim"), NUMBER, st.sampled_from((1, 3, 10_000)), st.just(False)),
    st.tuples(st.just("claim_without_redis"), st.integers(1, 5)),
    st.tuples(st.just("die_with"), st.integers(1, 5)),
    st.tuples(st.just("settle"), st.sampled_from((None, AGAIN, LATER)), st.integers(1, 20)),
    st.tuples(st.sampled_from(("pause", "resume", "cancel")), NUMBER),
    st.tuples(st.sampled_from(("stop", "go")), CREDENTIAL, SCOPE),
    st.tuples(st.just("switch"), CREDENTIAL, st.booleans()),
    st.tuples(st.sampled_from(("forget", "kill", "look_through"))),
    st.tuples(st.just("lose"), st.sampled_from((":known", ":work", ":whole", ":scopes", ":fresh:", ":waited:one"))),
)


class Story:
    """A database and a Redis to which things happen, and who has claimed what."""

    def __init__(self, database: Database, link: RedisLink, redis: RedisServer) -> None:
        self._database = database
        self._link = link
        self._redis = redis
        self._prefix = f"tocsin:{new_id()}"
        self._workers = [self.worker() for _ in range(3)]
        self._plain = PostgresQueue(storage.Queue(database, new_id(), 3600.0))
        self._pushes: list[str] = []
        self._held: list[tuple[PostgresQueue, Claim]] = []
        self.had: Counter[tuple[int, int]] = Counter()

    def worker(self, lease_seconds: float = 3600.0) -> RedisQueue:
        name = new_id()
        claims = storage.Queue(self._database, name, lease_seconds)
        order = RedisOrder(self._link, self._prefix, name, lease_seconds)
        return RedisQueue(claims, Order(self._database), order, follow_seconds=0.0)

    async def do(self, what: str, *words: object) -> None:
        await getattr(self, f"_{what}")(*words)

    async def finish(self) -> None:
        """Claim whatever can be claimed, as a worker that has just started."""
        await self._look_through()
        expected = {row[0] for row in await self._database.values(CLAIMABLE, {})}
        worker, found = self.worker(), set[int]()
        while claims := await worker.claim(ROOM, []):
            found |= self._took(worker, claims)
        assert found == expected, f"never claimed: {sorted(expected - found)}"
        assert max(self.had.values(), default=1) == 1, "an attempt was had twice"

    def _took(self, worker: PostgresQueue, claims: list[Claim]) -> set[int]:
        self.had.update((claim.batch.id, claim.batch.attempt) for claim in claims)
        self._held += [(worker, claim) for claim in claims]
        return {claim.batch.id for claim in claims}

    async def _accept(self, credential: str, scope: str, lane: int, batches: int) -> None:
        addresses = [f"{new_id()}" for _ in range(batches)]
        self._pushes.append(
            await accept(self._database, *addresses, provider_id=credential, batch_size=1, lane=lane, apns_topic=scope)
        )

    async def _claim(self, number: int, recipients: int, only_urgent: bool) -> None:
        worker = self._workers[number % 3]
        room = dict.fromkeys(ROOM, recipients)
        claims = await worker.claim(room, [], only_urgent=only_urgent)
        self._took(worker, claims)
        assert not only_urgent or {claim.batch.lane for claim in claims} <= {0}

    async def _claim_without_redis(self, recipients: int) -> None:
        self._took(self._plain, await self._plain.claim(dict.fromkeys(ROOM, recipients), []))

    async def _die_with(self, recipients: int) -> None:
        dying = self.worker(lease_seconds=0.0)
        claims = await dying.claim(dict.fromkeys(ROOM, recipients), [])
        self.had.update((claim.batch.id, claim.batch.attempt) for claim in claims)

    async def _settle(self, outcome: Outcome | None, most: int) -> None:
        for _ in range(min(most, len(self._held))):
            worker, claim = self._held.pop(0)
            assert await worker.settle([finished(claim, {0: outcome} if outcome else None)]) == 0, "it is still ours"

    async def _pause(self, number: int) -> None:
        if self._pushes:
            await pause(self._database, self._pushes[number % len(self._pushes)])

    async def _resume(self, number: int) -> None:
        if self._pushes:
            await resume(self._database, self._pushes[number % len(self._pushes)])

    async def _cancel(self, number: int) -> None:
        if self._pushes:
            await cancel(self._database, self._pushes[number % len(self._pushes)])

    async def _stop(self, credential: str, scope: str) -> None:
        stopping = Pause("throttle", scope, 3600.0)
        await self._workers[0].pause(credential, stopping, "TooManyRequests", version=None, again=False)

    async def _go(self, credential: str, scope: str) -> None:
        await self._workers[1].lift_pause(credential, [scope])

    async def _switch(self, credential: str, enabled: bool) -> None:
        await switch(self._database, provider_id=credential, app=None, enabled=enabled)

    async def _forget(self) -> None:
        self._redis.command("FLUSHALL")

    async def _kill(self) -> None:
        self._redis.kill()
        self._redis.start()

    async def _lose(self, what: str) -> None:
        for key in self._redis.command("KEYS", f"{self._prefix}*{what}"):
            self._redis.command("DEL", key)

    async def _look_through(self) -> None:
        self._redis.command("DEL", f"{self._prefix}:walk")
        worker = self.worker()
        with suppress(RedisUnavailableError):  # of the connections that a server had when it was killed
            await worker.look_through()
            return
        await worker.look_through()


@settings(
    max_examples=30,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # to shrink it takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example([("accept", "apns", "one", 2, 5), ("claim", 0, 3, False), ("die_with", 5), ("die_with", 5)])
@given(steps=st.lists(STEPS, min_size=4, max_size=25))
def test_whatever_happens_all_that_can_be_claimed_is_claimed_once(
    database_url: str, redis: RedisServer, steps: list[tuple[str, object]]
) -> None:
    asyncio.run(_told(database_url, redis, steps))


async def _told(database_url: str, redis: RedisServer, steps: list[tuple[str, object]]) -> None:
    async with Database(database_url) as database, RedisLink(redis.url) as link:
        await database.execute(b"delete from batches", {})
        await database.execute(b"delete from pushes", {})
        await database.execute(b"delete from credentials", {})
        await database.execute(
            b"insert into credentials (provider_id, provider, is_default, source, settings, secrets)"
            b" select id, 'apns', id = 'apns', 'api', '{}', '' from unnest('{apns,other}'::text[]) id",
            {},
        )
        story = Story(database, link, redis)
        for what, *words in steps:
            await story.do(what, *words)
        await story.finish()
