"""Everything of a worker that follows the record: counts, webhooks and exports."""

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from delivery.export.clickhouse import ClickHouseExport
from delivery.export.file import FileExport
from delivery.feed import Consumer, Feed, FeedOptions
from delivery.guard import Allowed
from delivery.stats import StatsWriter
from delivery.webhooks.deliverer import Deliverer, DeliveryOptions
from delivery.webhooks.writer import WebhookWriter
from storage.database import Database, DatabaseUnavailableError
from storage.vault import Vault

_LOG = logging.getLogger(__name__)
_CONNECTIONS = 3
_OUTAGE_SECONDS = 1.0


class OutflowOptions(msgspec.Struct, frozen=True):
    """What the settings say; an export that is not named is not made.

    `export_file_bytes` is where a file is put aside. `export_from_start`: an export that is new begins with what is
    kept of the record, not at the present.
    """

    feed: FeedOptions = FeedOptions()
    delivery: DeliveryOptions = DeliveryOptions()
    allowed: Allowed = Allowed()
    stats_minute_days: int = 8
    stats_days: int = 400
    export_file: str = ""
    export_file_bytes: int = 1 << 28
    export_clickhouse_url: str = ""
    export_from_start: bool = False

    def __repr__(self) -> str:
        return "OutflowOptions()"  # the URL may hold a password


class Outflow:
    """Runs beside a worker's sender; whatever fails here is logged and tried again."""

    def __init__(self, database: Database, vault: Vault, options: OutflowOptions | None = None) -> None:
        self._database = database
        self._vault = vault
        self._options = options or OutflowOptions()

    async def run(self) -> None:
        """Follow and deliver for ever; ends only by cancellation.

        Has a few connections of its own, so that those of the sender are the sender's.
        """
        while True:
            try:
                async with Database(
                    self._database.url, max_connections=_CONNECTIONS, application="tocsin outflow"
                ) as database:
                    await self._serve(database)
            except DatabaseUnavailableError as error:
                _LOG.warning("following the record waits for the database", extra={"error": str(error)})
            await asyncio.sleep(_OUTAGE_SECONDS)

    async def _serve(self, database: Database) -> None:
        options = self._options
        deliverer = Deliverer(database, self._vault, options.allowed, options.delivery)
        async with AsyncExitStack() as stack:
            consumers: list[Consumer] = [
                StatsWriter(database, minute_days=options.stats_minute_days, hour_days=options.stats_days),
                WebhookWriter(database, self._vault, deliverer.wake.set),
            ]
            from_start = options.export_from_start
            if options.export_file:
                path, size = Path(options.export_file), options.export_file_bytes
                consumers.append(FileExport(database, path, most_bytes=size, from_start=from_start))
            if options.export_clickhouse_url:
                export = ClickHouseExport(database, options.export_clickhouse_url, from_start=from_start)
                consumers.append(await stack.enter_async_context(export))
            async with asyncio.TaskGroup() as group:
                group.create_task(Feed(database, consumers, options.feed).run(), name="feed")
                group.create_task(deliverer.run(), name="webhooks")
