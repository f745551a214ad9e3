"""What the tests of webhooks share: deliveries that wait, and workers that deliver them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from delivery.feed import Reader
from delivery.guard import Allowed
from delivery.webhooks.deliverer import Deliverer, DeliveryOptions
from delivery.webhooks.hooks import OutcomeWebhook, credential_parts
from delivery.webhooks.writer import WebhookWriter
from storage import credentials, webhooks
from storage.credentials import NewCredential
from storage.database import Database
from storage.ids import new_id
from storage.vault import Vault
from storage.webhooks import NewDelivery
from tests.delivery.recording import OPTIONS, read_all

SECRET = "the secret of a webhook"
LOOPBACK = Allowed.parse("127.0.0.0/8")
QUICK = DeliveryOptions(
    poll_seconds=0.02, cool_seconds=0.01, coolest_seconds=0.02, backoff_seconds=0.01, longest_backoff_seconds=0.02
)


class Teller:
    """The record turned into deliveries, and workers that deliver them."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self.database = database
        self.vault = vault
        self.woken = 0

    def hook(self, url: str, secret: str | None = SECRET, outcomes: list[str] | None = None) -> str:
        """What the push of this webhook keeps."""
        given = {"url": url, "secret": secret, "outcomes": outcomes}
        return msgspec.convert(given, OutcomeWebhook).stored(self.vault)

    async def begin(self) -> None:
        """Begin with the record: what is there already is not told."""
        await self.write()

    async def write(self) -> None:
        """Write the deliveries for what is new in the record, as a worker that just started."""
        writer = WebhookWriter(self.database, self.vault, self._wake)
        for stream in writer.streams:
            await read_all(Reader(self.database, writer, stream, OPTIONS))

    async def put_credential(
        self, name: str, url: str, secret: str = SECRET, outcomes: list[str] | None = None
    ) -> None:
        """Write an FCM credential with a webhook."""
        settings, secrets = credential_parts(url, secret, outcomes)
        new = NewCredential(
            provider_id=name,
            provider="fcm",
            environment="",
            settings=msgspec.json.encode({"way": {}} | settings),
            secrets=msgspec.json.encode(secrets),
        )
        await credentials.put(self.database, self.vault, new)

    async def add(self, url: str, count: int = 1, *, credential: str = "") -> list[str]:
        """Write deliveries of one event each; their ids."""
        new = [
            NewDelivery(new_id(), url, credential, None, b'{"events":[{"n":%d}]}' % number, 1)
            for number in range(count)
        ]
        async with self.database.transaction() as connection:
            await webhooks.add(connection, new)
        return [each.id for each in new]

    @asynccontextmanager
    async def delivering(
        self, allowed: Allowed = LOOPBACK, options: DeliveryOptions = QUICK
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Run a worker that delivers, beside the block."""
        async with asyncio.timeout(30):
            task = asyncio.create_task(Deliverer(self.database, self.vault, allowed, options).run())
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error

    async def waiting(self) -> int:
        """How many deliveries are not ended."""
        found: Any = await self.database.values(b"select count(*) from webhook_deliveries where failed_at is null", {})
        count: int = found[0][0]
        return count

    async def ended(self) -> list[Any]:
        """Wait until every delivery has arrived or failed; the dead letters."""
        async with asyncio.timeout(20):
            while await self.waiting():
                pass
        return await webhooks.failures(self.database, None, None, 1000)

    def _wake(self) -> None:
        self.woken += 1
