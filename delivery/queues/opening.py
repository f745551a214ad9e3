"""Opens the queue that the settings ask for: PostgreSQL alone, or with the order of service in Redis."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from delivery.queues.contract import Queue
from delivery.queues.postgres import PostgresQueue
from storage import queue as storage
from storage.database import Database, DatabaseUnavailableError
from storage.ids import new_id
from storage.queue_order import Order

_LOG = logging.getLogger(__name__)
_OUTAGE_SECONDS = 0.5


class QueueOptions(msgspec.Struct, frozen=True):
    """Which queue: `url` of Redis or Valkey, '' for PostgreSQL alone; `tls_ca` is PEM text or a file of it."""

    url: str = ""
    tls_ca: str = ""

    def __repr__(self) -> str:
        return f"QueueOptions({'redis' if self.url else 'postgres'})"  # the URL may hold a password


@asynccontextmanager
async def open_queue(database: Database, options: QueueOptions, lease_seconds: float) -> AsyncIterator[Queue]:
    """Open the queue as one worker has it, under a name of its own; ValueError for a URL that cannot be used."""
    worker = new_id()
    claims = storage.Queue(database, worker, lease_seconds)
    if not options.url:
        yield PostgresQueue(claims)
        return
    # only here, because the client takes 20 MB and a sixth of a second from those who do not use it
    from delivery.queues.redis import RedisQueue
    from delivery.queues.redis_link import RedisLink
    from delivery.queues.redis_order import RedisOrder

    order = Order(database)
    async with RedisLink(options.url, tls_ca=options.tls_ca, name=f"tocsin-{worker[-12:]}") as link:
        queue = RedisQueue(claims, order, RedisOrder(link, await _prefix(order), worker, lease_seconds))
        try:
            yield queue
        finally:
            await queue.leave()


async def _prefix(order: Order) -> str:
    """What begins the keys of this installation, however long the database is away."""
    while True:
        try:
            return f"tocsin:{(await order.name())[:12]}"
        except DatabaseUnavailableError as error:
            _LOG.warning("the queue waits for the database", extra={"error": str(error)})
        await asyncio.sleep(_OUTAGE_SECONDS)
