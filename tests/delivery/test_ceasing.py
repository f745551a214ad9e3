"""A sender that is told to stop while it waits for the answer to a claim."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from delivery.admission import Admissions
from delivery.messages import Messages
from delivery.providers.registry import Registry
from delivery.queues.contract import Claim
from delivery.queues.postgres import PostgresQueue
from delivery.receipts import RECEIPTS, Receipts
from delivery.sender import Sender, SenderOptions
from delivery.settler import Settler
from storage import credentials
from storage import queue as storage
from storage.database import Database
from storage.ids import new_id
from storage.vault import Vault
from tests.delivery.queues.queue_arranging import accept
from tests.delivery.world import World


class Slow(PostgresQueue):
    """The queue, whose answer to a claim is on its way until it is let go."""

    def __init__(self, queue: storage.Queue) -> None:
        super().__init__(queue)
        self.claimed, self.answers = asyncio.Event(), asyncio.Event()

    async def claim(self, room: Mapping[str, int], known: Sequence[str], *, only_urgent: bool = False) -> list[Claim]:
        """Claim, and keep it to itself for a while."""
        found = await super().claim(room, known, only_urgent=only_urgent)
        self.claimed.set()
        await self.answers.wait()
        return found


@asynccontextmanager
async def running(queue: Slow, database: Database, vault: Vault) -> AsyncIterator[Sender]:
    """A sender that waits for the answer to its claim; it is cancelled at the end of the block."""
    async with (
        Settler(queue) as settler,
        Registry(lambda: credentials.load(database, vault)) as registry,
        asyncio.TaskGroup() as group,
    ):
        messages = Messages(Receipts(vault.derived(RECEIPTS)))
        admissions = Admissions(database, queue.note_admitted, time.time)
        sender = Sender(queue, registry, settler, SenderOptions(), messages, admissions, lambda: None)
        task = group.create_task(sender.run())
        await queue.claimed.wait()
        yield sender
        task.cancel()
        await sender.stop(30.0)


async def test_what_it_is_about_to_get_is_given_back_at_once(world: World, database: Database, vault: Vault) -> None:
    await accept(database, "aa" * 32)
    queue = Slow(storage.Queue(database, new_id(), 60.0))
    async with running(queue, database, vault) as sender, asyncio.TaskGroup() as group:
        ceasing = group.create_task(sender.cease(30.0))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not ceasing.done(), "it waits for what was asked for"
        queue.answers.set()
    assert await database.values(b"select 1 from batches where claimed_by is not null", {}) == []


async def test_it_does_not_wait_for_an_answer_for_ever(world: World, database: Database, vault: Vault) -> None:
    queue = Slow(storage.Queue(database, new_id(), 60.0))
    async with running(queue, database, vault) as sender:
        await sender.cease(0.01)
    assert not queue.answers.is_set()
