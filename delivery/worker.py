"""One worker process: a planner, a sender and the upkeep, over one database; any number of them may run."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import msgspec

from delivery.admission import Admissions
from delivery.messages import Messages
from delivery.outflow import Outflow, OutflowOptions
from delivery.planner import Planner, PlannerOptions
from delivery.providers.registry import Registry, build_provider
from delivery.pump import Pump
from delivery.queues.contract import Queue
from delivery.queues.hints import CHANNEL_CREDENTIALS, CHANNEL_STOPPED, CHANNEL_WORK, Hints
from delivery.queues.opening import QueueOptions, open_queue
from delivery.receipts import RECEIPTS, Receipts
from delivery.sender import Sender, SenderOptions
from delivery.settler import Settler
from storage import credentials, upkeep
from storage.database import Database, DatabaseUnavailableError
from storage.listener import listen
from storage.vault import Vault

_LOG = logging.getLogger(__name__)
_UPKEEP_SECONDS = 3600.0
_OUTAGE_SECONDS = 0.5


class WorkerOptions(msgspec.Struct, frozen=True):
    """Times in seconds; `retention` says how long what is kept."""

    planner: PlannerOptions = PlannerOptions()
    sender: SenderOptions = SenderOptions()
    queue: QueueOptions = QueueOptions()
    shutdown_seconds: float = 20.0
    refresh_seconds: float = 15.0
    retention: upkeep.Retention = upkeep.Retention()
    outflow: OutflowOptions = OutflowOptions()


class Worker:
    """Plans and sends until told to stop; then gives back what it has not sent and waits for what is in flight.

    `clock` (Unix seconds) is what windows and rate limits are judged by.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        options: WorkerOptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._vault = vault
        self._options = options or WorkerOptions()
        self._clock = clock
        self._refresh = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; returns when everything claimed is settled or given back."""
        async with (
            Hints(self._database) as hints,
            open_queue(self._database, self._options.queue, self._options.sender.lease_seconds) as claims,
            Settler(claims) as settler,
            Registry(self._load, build=partial(build_provider, allowed=self._options.outflow.allowed)) as registry,
        ):
            sender = self._sender(claims, registry, settler)

            def work() -> None:
                claims.noticed()
                sender.wake.set()
                hints.work()

            planner = Planner(self._database, self._options.planner, work)
            async with _beside(sender.keep(), sender.fence()):  # leases are kept until the last batch has settled
                async with _beside(
                    planner.run(),
                    sender.run(),
                    claims.run(),
                    Pump(claims, work).run(),
                    Outflow(self._database, self._vault, self._options.outflow).run(),
                    self._listen(planner, sender, claims),
                    self._refresh_credentials(registry, sender),
                    self._upkeep(),
                ):
                    await stop.wait()
                    await sender.cease(self._options.shutdown_seconds * 0.1)
                _LOG.info("stopping", extra={"batches_in_flight": sender.in_flight})
                await sender.stop(self._options.shutdown_seconds * 0.7)
                # what has not answered by now is reported as unknown and settled, before somebody loses patience
                registry.drain_seconds = self._options.shutdown_seconds * 0.1

    def _sender(self, claims: Queue, registry: Registry, settler: Settler) -> Sender:
        return Sender(
            claims,
            registry,
            settler,
            self._options.sender,
            Messages(Receipts(self._vault.derived(RECEIPTS))),
            Admissions(self._database, claims.note_admitted, self._clock),
            self._refresh.set,
        )

    async def _load(self) -> list[credentials.StoredCredential]:
        """Read the credentials, however long the database is away: a worker that starts meanwhile waits for it."""
        while True:
            try:
                return await credentials.load(self._database, self._vault)
            except DatabaseUnavailableError as error:
                _LOG.warning("credentials wait for the database", extra={"error": str(error)})
            await asyncio.sleep(_OUTAGE_SECONDS)

    async def _listen(self, planner: Planner, sender: Sender, claims: Queue) -> None:
        def heard(channel: str, payload: str) -> None:
            if channel == CHANNEL_CREDENTIALS:
                self._refresh.set()
            elif channel == CHANNEL_STOPPED and payload:
                sender.stop_push(payload)
            claims.noticed()
            planner.wake.set()
            sender.wake.set()

        await listen(self._database.url, [CHANNEL_WORK, CHANNEL_CREDENTIALS, CHANNEL_STOPPED], heard)

    async def _refresh_credentials(self, registry: Registry, sender: Sender) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.refresh_seconds):
                    await self._refresh.wait()
            self._refresh.clear()
            await registry.refresh()
            sender.wake.set()

    async def _upkeep(self) -> None:
        while True:
            started = time.monotonic()
            try:
                await upkeep.upkeep(self._database, self._options.retention)
            except DatabaseUnavailableError as error:
                _LOG.warning("upkeep was put off", extra={"error": str(error)})
            await asyncio.sleep(max(60.0, _UPKEEP_SECONDS - (time.monotonic() - started)))


@asynccontextmanager
async def _beside(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these beside the block; the end of the block cancels them, the failure of one ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        yield
        waiting = set(tasks)
        while waiting:  # again, because a library may lose a cancellation (see storage/database.py)
            for task in waiting:
                task.cancel()
            _, waiting = await asyncio.wait(waiting, timeout=0.5)
