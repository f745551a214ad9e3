"""What could hide work in Redis: stale entries, small shares of quotas, losses in the middle, workers that leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from delivery.outcomes import Pause
from delivery.queues import redis_feed
from delivery.queues.opening import QueueOptions, open_queue
from delivery.queues.redis import RedisQueue
from delivery.queues.redis_errors import RedisUnavailableError
from delivery.queues.redis_feed import Feed
from delivery.queues.redis_link import RedisLink
from delivery.queues.redis_order import RedisOrder
from storage import queue as storage
from storage.database import Database
from storage.ids import new_id
from storage.pushes import cancel, pause
from storage.queries import load
from storage.queue_order import Order
from tests.delivery.queues.queue_arranging import ROOM, accept, finished
from tests.delivery.queues.test_redis_queue import PREFIX, Workers, tokens
from tests.redis_server import RedisServer

pytestmark = pytest.mark.usefixtures("credentials")
_FILL = b"""
insert into batches (push_id, provider, credential, lane, turn, due_at, recipient_count, tokens, scope)
select p.id, 'apns', 'apns', 1, n, now(), 1, lpad(n::text, 6, '0'), 'scope' || n %% %(scopes)s
from pushes p, generate_series(1, %(batches)s) n
"""


@pytest.fixture
async def workers(database: Database, redis: RedisServer) -> AsyncIterator[Workers]:
    async with RedisLink(redis.url) as link:
        yield Workers(database, link)


async def fill(database: Database, batches: int, scopes: int = 1) -> None:
    """Put so many batches into the queue, more than one page of a walk has."""
    uid = await accept(database, "ff")
    await database.execute(b"delete from batches", {})
    await database.execute(_FILL, {"batches": batches, "scopes": scopes})
    assert uid


@pytest.mark.parametrize("ended", [cancel, pause])
async def test_what_is_gone_does_not_hide_what_a_small_quota_allows(workers: Workers, ended: object) -> None:
    database, worker = workers.database, workers.queue()
    gone = await accept(database, *(f"{n:04x}" for n in range(900)), batch_size=1)
    assert await worker.claim({"other": 1}, []) == []  # everything is in Redis now
    await ended(database, gone)  # type: ignore[operator]
    await database.execute(
        b"insert into credential_paces (credential, per_second, ramp_seconds, paid_until)"
        b" values ('apns', 10, 0, now())",
        {},
    )
    await accept(database, "ffff")
    assert tokens(await worker.claim({"apns": 10}, [])) == ["ffff"]


async def test_a_worker_that_has_not_heard_of_a_pause_takes_what_is_behind_it_at_once(workers: Workers) -> None:
    database, worker, other = workers.database, workers.queue(), workers.queue()
    await accept(database, *(f"{n:04x}" for n in range(300)), batch_size=1, apns_topic="one")
    await accept(database, "ffff", apns_topic="two")
    assert await worker.claim({"other": 1}, []) == []
    await other.pause("apns", Pause("throttle", "one", 300.0), "TooManyRequests", version=None, again=False)
    assert tokens(await worker.claim({"apns": 10}, [])) == ["ffff"]


async def test_what_is_forgotten_in_the_middle_of_a_walk_is_found_by_it(workers: Workers, redis: RedisServer) -> None:
    await fill(workers.database, 6000)
    order = workers.order()
    feed = Feed(Order(workers.database), order)
    _, torn = await order.take({("apns", 1): 1}, {}, 0.0)
    feed.lacks(torn)
    await feed.step()
    redis.command("FLUSHALL")
    _, torn = await order.take({("apns", 1): 1}, {}, 0.0)
    feed.lacks(torn)
    await feed.walk()
    assert redis.command("SCARD", PREFIX + ":{apns|1}:known") == 6000


async def test_a_server_that_is_another_in_the_middle_of_a_walk_gets_all(workers: Workers, redis: RedisServer) -> None:
    await fill(workers.database, 6000)
    feed = Feed(Order(workers.database), workers.order())
    await feed.follow()
    await feed.step()
    redis.kill()
    redis.start()
    async with asyncio.timeout(10):
        while workers.link.generation == 0:
            with suppress(RedisUnavailableError):
                await workers.link.command("PING")
    await feed.follow()
    await feed.walk()
    assert redis.command("SCARD", PREFIX + ":{apns|1}:known") == 6000


async def test_a_stream_that_is_lost_alone_hides_nothing_for_ever(workers: Workers, redis: RedisServer) -> None:
    worker = workers.queue(lease_seconds=0.0)
    await accept(workers.database, "aa")
    assert tokens(await worker.claim(ROOM, [])) == ["aa"]
    await worker.look_through()
    redis.command("DEL", PREFIX + ":{apns|1}:work")
    assert tokens(await workers.queue().claim(ROOM, [])) == ["aa"]


async def test_leases_are_kept_where_the_stream_was_lost(workers: Workers, redis: RedisServer) -> None:
    worker = workers.queue()
    await accept(workers.database, "aa")
    [claim] = await worker.claim(ROOM, [])
    redis.command("FLUSHALL")
    assert await worker.extend([claim.batch.id], []) == []
    await accept(workers.database, "bb")
    await worker.claim(ROOM, [])
    assert redis.command("EXISTS", PREFIX + ":{apns|1}:work") == 1, "it was not taken to be away"


async def test_what_a_worker_took_and_did_not_claim_is_had_by_others_when_it_leaves(
    database: Database, redis: RedisServer
) -> None:
    """It was stopped between the offer of Redis and the claim in PostgreSQL."""
    await accept(database, "aa")
    options = QueueOptions(redis.url)
    async with open_queue(database, options, 60.0) as heir:
        async with open_queue(database, options, 60.0) as leaving:
            assert isinstance(leaving, RedisQueue)
            assert await leaving.claim({"other": 1}, []) == []
            offers, _ = await leaving._redis.take({("apns", 1): 10}, {}, 4e9)
            assert len(offers) == 1
            assert await heir.claim({"other": 1}, []) == []
        assert tokens(await heir.claim(ROOM, [])) == ["aa"]


async def test_many_scopes_are_served_in_the_order_of_their_turns(workers: Workers) -> None:
    await fill(workers.database, 700, scopes=300)
    worker = workers.queue()
    had: list[str] = []
    while claims := await worker.claim({"apns": 1000}, []):
        had += tokens(claims)
    assert had == [f"{n:06}" for n in range(1, 701)]


async def test_more_than_a_page_of_new_batches_is_followed_at_once(workers: Workers, redis: RedisServer) -> None:
    feed = Feed(Order(workers.database), workers.order())
    await feed.follow()
    await fill(workers.database, 2 * redis_feed._PAGE + 7)
    assert await feed.follow() == 2 * redis_feed._PAGE + 7


async def test_a_page_of_a_walk_reads_a_page(database: Database) -> None:
    await fill(database, 20_000)
    await database.execute(b"analyze batches", {})
    parameters = {"after": 0, "missed": [], "limit": 500}
    async with database.connection() as connection:
        for mode in (b"force_custom_plan", b"force_generic_plan"):
            await connection.execute(b"set plan_cache_mode = " + mode)
            cursor = await connection.execute(
                b"explain (analyze, timing off, costs off, buffers off) " + load("queue").standing_after, parameters
            )
            plan = "\n".join(row[0] for row in await cursor.fetchall())
            assert "Seq Scan" not in plan, plan
            assert "rows=20000" not in plan, plan
        await connection.execute(b"reset plan_cache_mode")


async def test_chosen_batches_are_claimed_by_their_numbers(database: Database) -> None:
    await fill(database, 20_000)
    await database.execute(b"analyze batches", {})
    parameters = {"ids": list(range(1, 257)), "known": [], "taken": "[]", "worker": new_id(), "lease_seconds": 60.0}
    async with database.connection() as connection:
        for mode in (b"force_custom_plan", b"force_generic_plan"):
            await connection.execute(b"set plan_cache_mode = " + mode)
            cursor = await connection.execute(b"explain (costs off) " + load("queue").claim_chosen, parameters)
            plan = "\n".join(row[0] for row in await cursor.fetchall())
            assert "Seq Scan on batches" not in plan, plan
        await connection.execute(b"reset plan_cache_mode")


async def test_a_share_of_a_quota_that_finds_nothing_is_given_back(workers: Workers) -> None:
    await workers.database.execute(
        b"insert into credential_paces (credential, per_second, ramp_seconds, paid_until)"
        b" values ('apns', 100, 0, now() - interval '1 s')",
        {},
    )
    worker = workers.queue()
    for _ in range(5):
        assert await worker.claim(ROOM, []) == []
    rows = await workers.database.values(b"select paid_until <= now() from credential_paces", {})
    assert rows == [(True,)]


async def test_nothing_is_held_of_batches_that_are_settled(workers: Workers) -> None:
    worker = workers.queue()
    await accept(workers.database, *(f"{n:02x}" for n in range(30)), batch_size=1)
    claims = await worker.claim(ROOM, [])
    await worker.settle([finished(claim) for claim in claims])
    assert worker._held == {}


async def test_a_worker_with_a_long_lease_keeps_what_it_has(workers: Workers) -> None:
    """Redis offers its batch to others after a minute, PostgreSQL refuses them."""
    worker, other = workers.queue(lease_seconds=600.0), workers.queue()
    await accept(workers.database, "aa")
    [claim] = await worker.claim(ROOM, [])
    await worker._redis.let_go()
    assert await other.claim(ROOM, []) == []
    assert await worker.settle([finished(claim)]) == 0
    claims = storage.Queue(workers.database, new_id(), 60.0)
    late = RedisQueue(claims, Order(workers.database), RedisOrder(workers.link, PREFIX, new_id(), 60.0))
    assert await late.claim(ROOM, []) == []
