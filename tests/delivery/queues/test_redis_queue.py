"""What the queue in Redis does beside the suite of all engines: whatever Redis loses or says, nothing else is lost."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.queues.contract import Claim
from delivery.queues.postgres import PostgresQueue
from delivery.queues.redis import RedisQueue
from delivery.queues.redis_link import RedisLink
from delivery.queues.redis_order import RedisOrder
from storage import queue as storage
from storage.database import Database
from storage.ids import new_id
from storage.pushes import cancel
from storage.queue_order import Order
from tests.delivery.queues.queue_arranging import ROOM, accept, finished, ledger
from tests.redis_server import RedisServer, redis_server

pytestmark = pytest.mark.usefixtures("credentials")
PREFIX = "tocsin:test"
_PENDING = "return redis.call('XPENDING', KEYS[1], 'tocsin', '-', '+', 10)"
_GROW_OLD = "return redis.call('XCLAIM', KEYS[1], 'tocsin', ARGV[1], 0, ARGV[2], 'IDLE', 90000, 'JUSTID')"


class Workers:
    """Makes workers of one database on a server."""

    def __init__(self, database: Database, link: RedisLink) -> None:
        self.database = database
        self.link = link

    def order(self, lease_seconds: float = 60.0, worker: str = "") -> RedisOrder:
        return RedisOrder(self.link, PREFIX, worker or new_id(), lease_seconds)

    def queue(self, lease_seconds: float = 60.0) -> RedisQueue:
        worker = new_id()
        claims = storage.Queue(self.database, worker, lease_seconds)
        return RedisQueue(claims, Order(self.database), self.order(lease_seconds, worker), follow_seconds=0.0)

    def plain(self) -> PostgresQueue:
        return PostgresQueue(storage.Queue(self.database, new_id(), 60.0))


@pytest.fixture
async def workers(database: Database, redis: RedisServer) -> AsyncIterator[Workers]:
    async with RedisLink(redis.url) as link:
        yield Workers(database, link)


def tokens(claims: list[Claim]) -> list[str]:
    return [token.decode() for claim in claims for token in claim.batch.tokens]


async def test_what_redis_forgets_is_found_again(workers: Workers, redis: RedisServer) -> None:
    worker = workers.queue()
    for token in ("aa", "bb", "cc"):
        await accept(workers.database, token)
    assert tokens(await worker.claim({"apns": 1}, [])) == ["aa"]
    redis.command("FLUSHALL")
    assert tokens(await worker.claim(ROOM, [])) == ["bb", "cc"], "and not what somebody has"


async def test_a_server_that_dies_with_all_it_knew_stops_nothing(workers: Workers, redis: RedisServer) -> None:
    worker = workers.queue()
    uid = await accept(workers.database, "aa", "bb", "cc", "dd", batch_size=1)
    first = await worker.claim({"apns": 1}, [])
    redis.kill()
    second = await worker.claim({"apns": 1}, [])
    assert tokens(first + second) == ["aa", "bb"], "it is claimed without it"
    assert await worker.settle([finished(claim) for claim in second]) == 0
    redis.start()
    other = workers.queue()
    third = await other.claim(ROOM, [])
    assert tokens(third) == ["cc", "dd"]
    assert await worker.settle([finished(claim) for claim in first]) == 0
    assert await other.settle([finished(claim) for claim in third]) == 0
    assert await ledger(workers.database, uid) == {"planned": 4, "accepted": 4}


async def test_nothing_is_kept_of_what_is_settled(workers: Workers, redis: RedisServer) -> None:
    worker = workers.queue()
    await accept(workers.database, *(f"{n:02x}" for n in range(20)), batch_size=2)
    claims = await worker.claim(ROOM, [])
    assert redis.command("XLEN", PREFIX + ":{apns|1}:work") == 10
    await worker.settle([finished(claim) for claim in claims])
    assert redis.command("XLEN", PREFIX + ":{apns|1}:work") == 0
    assert redis.command("XPENDING", PREFIX + ":{apns|1}:work", "tocsin")["pending"] == 0
    assert redis.command("SCARD", PREFIX + ":{apns|1}:known") == 0


async def test_entries_stay_until_their_outcomes_are_in_the_database(workers: Workers, redis: RedisServer) -> None:
    worker = workers.queue()
    await accept(workers.database, "aa", "bb", batch_size=1)
    claims = await worker.claim(ROOM, [])
    await worker.settle([finished(claims[0])])
    assert redis.command("XPENDING", PREFIX + ":{apns|1}:work", "tocsin")["pending"] == 1


async def test_engines_can_be_changed_with_work_in_the_queue(workers: Workers) -> None:
    database = workers.database
    uid = await accept(database, *(f"{n:02x}" for n in range(9)), batch_size=1)
    done: list[str] = []
    for worker in (workers.plain(), workers.queue(), workers.plain(), workers.queue()):
        claims = await worker.claim({"apns": 2}, [])
        done += tokens(claims)
        await worker.settle([finished(claim) for claim in claims])
    assert done == [f"{n:02x}" for n in range(8)], "in the order of service, whichever engine keeps it"
    assert await ledger(database, uid) == {"planned": 9, "accepted": 8, "queued": 1}


async def test_workers_of_both_engines_never_have_the_same_batch(workers: Workers) -> None:
    await accept(workers.database, *(f"{n:04x}" for n in range(400)), batch_size=1)
    several = [workers.plain(), workers.queue(), workers.plain(), workers.queue()]
    found = await asyncio.gather(*(worker.claim({"apns": 25}, []) for worker in several * 5))
    had = [token for claims in found for token in tokens(claims)]
    assert len(had) == len(set(had))
    assert len(had) > 200


async def test_two_servers_that_know_nothing_of_each_other_do_no_harm(workers: Workers) -> None:
    """As after a network split, or with two values of TOCSIN_QUEUE_URL."""
    await accept(workers.database, *(f"{n:02x}" for n in range(40)), batch_size=1)
    with redis_server() as second:
        async with RedisLink(second.url) as link:
            elsewhere = Workers(workers.database, link)
            one, other = workers.queue(), elsewhere.queue()
            had: list[str] = []
            for _ in range(4):
                had += tokens(await one.claim({"apns": 5}, []))
                had += tokens(await other.claim({"apns": 5}, []))
    assert sorted(had) == [f"{n:02x}" for n in range(40)]


async def test_what_a_dead_worker_had_only_in_redis_comes_back(workers: Workers, redis: RedisServer) -> None:
    """It died between the offer and the claim: PostgreSQL knows of nobody who has the batch."""
    await accept(workers.database, "aa")
    heir = workers.queue()
    assert await heir.claim({"other": 1}, []) == []  # everything is in Redis now
    offers, _ = await workers.order(lease_seconds=0.0).take({("apns", 1): 10}, {}, 4e9)
    assert len(offers) == 1
    assert tokens(await heir.claim(ROOM, [])) == ["aa"]


async def test_what_is_no_longer_in_the_queue_does_not_hide_what_is(workers: Workers) -> None:
    worker = workers.queue()
    gone = await accept(workers.database, *(f"{n:04x}" for n in range(1500)), batch_size=1)
    assert len(await worker.claim({"apns": 1}, [])) == 1
    await cancel(workers.database, gone)
    await accept(workers.database, "ffff")
    assert tokens(await worker.claim(ROOM, [])) == ["ffff"]


async def test_a_batch_that_is_committed_after_its_successors_is_found(workers: Workers) -> None:
    database, worker = workers.database, workers.queue()
    await accept(database, "aa")
    assert tokens(await worker.claim(ROOM, [])) == ["aa"]
    async with await psycopg.AsyncConnection.connect(database.url) as slow:
        await slow.execute(
            "insert into batches (push_id, provider, credential, lane, turn, due_at, recipient_count, tokens, page)"
            " select push_id, provider, credential, lane, 0, now(), 1, 'bb', page from batches"
        )
        await accept(database, "cc")
        assert tokens(await worker.claim(ROOM, [])) == ["cc"]
        await slow.commit()
    async with asyncio.timeout(10):
        while not (found := await worker.claim(ROOM, [])):  # noqa: ASYNC110 - there is nobody who could tell
            await asyncio.sleep(0)
    assert tokens(found) == ["bb"]


async def test_a_lease_that_is_kept_is_not_taken_over(workers: Workers, redis: RedisServer) -> None:
    await accept(workers.database, "aa")
    worker = workers.queue(lease_seconds=1.0)
    [claim] = await worker.claim(ROOM, [])
    work = PREFIX + ":{apns|1}:work"
    [(entry, consumer, idle_ms, _)] = redis.command("EVAL", _PENDING, 1, work)
    assert idle_ms >= 59_000, "a lease of a second is an entry that is nearly a minute old"
    redis.command("EVAL", _GROW_OLD, 1, work, consumer, entry)
    await worker.extend([claim.batch.id], [])
    [(_, _, idle_ms, _)] = redis.command("EVAL", _PENDING, 1, work)
    assert 59_000 <= idle_ms < 90_000


async def test_what_waits_behind_a_pause_is_taken_when_it_ends(workers: Workers) -> None:
    worker, other = workers.queue(), workers.queue()
    await accept(workers.database, "aa", apns_topic="one")
    await accept(workers.database, "bb", apns_topic="two")
    await worker.pause("apns", Pause("trouble", "one"), "TopicDisallowed", version=1, again=False)
    assert tokens(await other.claim(ROOM, [])) == ["bb"], "the other has not heard of it, and is refused"
    await worker.lift_pause("apns", ["one"])
    assert tokens(await other.claim(ROOM, [])) == ["aa"]


async def test_the_keys_of_a_removed_credential_go(workers: Workers, redis: RedisServer) -> None:
    worker = workers.queue()
    uid = await accept(workers.database, "aa", provider_id="other")
    await worker.claim({"apns": 1}, [])
    assert await workers.order().rows() >= {("other", 1)}
    await workers.database.execute(b"delete from credentials where provider_id = 'other'", {})
    for claim in await worker.claim_ended():
        await worker.settle([finished(claim, {0: Outcome(Kind.FAILED, "CredentialRemoved")})])
    await worker.look_through()
    assert {name for name, _ in await workers.order().rows()} <= {"apns"}
    assert await ledger(workers.database, uid) == {"planned": 1, "failed": 1}


async def test_looking_through_brings_back_what_redis_lost_unnoticed(workers: Workers, redis: RedisServer) -> None:
    """As after a failover to a replica that had not heard of the last second."""
    worker = workers.queue()
    assert await worker.claim(ROOM, []) == []  # and the walk of its beginning is over
    await accept(workers.database, "aa", "bb", "cc", batch_size=1)
    assert tokens(await worker.claim({"apns": 1}, [])) == ["aa"]
    for key in redis.command("KEYS", PREFIX + ":{apns|1}:*"):
        if not key.endswith((b":whole", b":work")):
            redis.command("DEL", key)
    assert await worker.claim({"apns": 10}, []) == []
    await worker.look_through()
    assert tokens(await worker.claim(ROOM, [])) == ["bb", "cc"]


async def test_a_retry_waits_in_redis_as_well(workers: Workers, redis: RedisServer) -> None:
    worker = workers.queue()
    await accept(workers.database, "aa")
    later = Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=300.0)
    await worker.settle([finished(claim, {0: later}) for claim in await worker.claim(ROOM, [])])
    assert await worker.claim(ROOM, []) == []
    assert redis.command("ZCARD", PREFIX + ":{apns|1}:waited:") == 1


async def test_somebody_elses_keys_in_the_way_stop_nothing(workers: Workers, redis: RedisServer) -> None:
    redis.command("SET", PREFIX + ":{apns|1}:scopes", "something else")
    await accept(workers.database, "aa")
    assert tokens(await workers.queue().claim(ROOM, [])) == ["aa"]
