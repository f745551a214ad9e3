"""A sender process as `tocsin serve` runs it, but for its small pages: a kill then finds pushes half planned."""

import asyncio

import msgspec

from delivery.planner import PlannerOptions
from delivery.worker import Worker
from server.process import Announce, WorkerOrders, run
from server.worker_process import options_of
from storage.database import Database
from storage.vault import Vault

_PAGE, _AHEAD, _MOST = 40, 4, 40


async def work(orders: WorkerOrders, stop: asyncio.Event, announce: Announce) -> None:
    """Plan and send until `stop`."""
    settings = orders.settings
    planner = PlannerOptions(
        page_size=_PAGE,
        batch_size=settings.batch_size,
        ahead_batches=_AHEAD,
        most_batches=_MOST,
        poll_seconds=settings.poll_seconds,
    )
    async with Database(
        settings.database_url, max_connections=settings.worker_connections, application=f"tocsin {orders.name}"
    ) as database:
        options = msgspec.structs.replace(options_of(settings), planner=planner)
        worker = Worker(database, Vault(settings.secret_key.encode()), options)
        announce(b"ready")
        await worker.run(stop)


if __name__ == "__main__":
    run(WorkerOrders, work)
