"""The queues under test, and credentials to send with."""

from collections.abc import AsyncIterator, Callable

import pytest

from delivery.queues.postgres import PostgresQueue
from delivery.queues.redis import RedisQueue
from delivery.queues.redis_link import RedisLink
from delivery.queues.redis_order import RedisOrder
from storage import queue as storage
from storage.database import Database
from storage.ids import new_id
from storage.queue_order import Order

MakeQueue = Callable[..., PostgresQueue]


@pytest.fixture(params=["postgres", "redis", "old_redis", "cluster"])
async def queue(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[MakeQueue]:
    """Makes a queue as one worker has it."""
    if request.param == "postgres":
        yield lambda *, lease_seconds=60.0: PostgresQueue(storage.Queue(database, new_id(), lease_seconds))
        return
    async with RedisLink(request.getfixturevalue(request.param).url) as link:

        def make(*, lease_seconds: float = 60.0) -> PostgresQueue:
            worker = new_id()
            order = RedisOrder(link, prefix, worker, lease_seconds)
            claims = storage.Queue(database, worker, lease_seconds)
            return RedisQueue(claims, Order(database), order, follow_seconds=0.0)

        prefix = f"tocsin:{new_id()}"
        yield make


@pytest.fixture
async def credentials(database: Database) -> None:
    for name in ("apns", "other"):
        await database.execute(
            b"insert into credentials (provider_id, provider, is_default, source, settings, secrets)"
            b" values (%(id)s, 'apns', %(id)s = 'apns', 'api', '{}', '')",
            {"id": name},
        )
