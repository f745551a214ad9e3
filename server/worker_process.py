"""A sender process: plans and sends until it is told to stop."""

import asyncio

from delivery.feed import FeedOptions
from delivery.guard import Allowed
from delivery.outflow import OutflowOptions
from delivery.planner import PlannerOptions
from delivery.queues.opening import QueueOptions
from delivery.sender import SenderOptions
from delivery.webhooks.deliverer import DeliveryOptions
from delivery.worker import Worker, WorkerOptions
from server.process import Announce, WorkerOrders, run
from server.settings import Settings
from storage.database import Database
from storage.upkeep import Retention
from storage.vault import Vault


def options_of(settings: Settings) -> WorkerOptions:
    """Return what the settings say about sending."""
    return WorkerOptions(
        planner=PlannerOptions(batch_size=settings.batch_size, poll_seconds=settings.poll_seconds),
        sender=SenderOptions(lease_seconds=settings.lease_seconds, poll_seconds=settings.poll_seconds),
        queue=QueueOptions(settings.queue_url, settings.queue_tls_ca),
        shutdown_seconds=settings.shutdown_seconds,
        retention=Retention(
            outcome_days=settings.outcome_days,
            dead_device_days=settings.dead_device_days,
            stale_device_days=settings.stale_device_days,
        ),
        outflow=OutflowOptions(
            feed=FeedOptions(outcome_days=settings.outcome_days),
            delivery=DeliveryOptions(failure_days=settings.outcome_days),
            allowed=Allowed.parse(settings.private_hosts_allowed),
            stats_days=settings.stats_days,
            stats_minute_days=settings.stats_minute_days,
            export_file=settings.export_file,
            export_file_bytes=settings.export_file_bytes,
            export_clickhouse_url=settings.export_clickhouse_url,
            export_from_start=settings.export_from == "start",
        ),
    )


async def work(orders: WorkerOrders, stop: asyncio.Event, announce: Announce) -> None:
    """Plan and send until `stop`; then what is not sent is given back and what is in flight is waited for."""
    settings = orders.settings
    async with Database(
        settings.database_url,
        max_connections=settings.worker_connections,
        statement_timeout_seconds=settings.statement_timeout_seconds,
        application=f"tocsin {orders.name}",
    ) as database:
        worker = Worker(database, Vault(settings.secret_key.encode()), options_of(settings))
        announce(b"ready")
        await worker.run(stop)


if __name__ == "__main__":
    run(WorkerOrders, work)
