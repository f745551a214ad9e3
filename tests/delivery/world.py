"""What tests of the whole engine share: a database, a worker on it, the methods to push with, and what to wait for."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from delivery.planner import PlannerOptions
from delivery.sender import SenderOptions
from delivery.worker import Worker, WorkerOptions
from emulators.control import ConnectionsOrder
from emulators.emulator import Emulator
from methods.all import TABLE
from methods.context import Context
from storage.database import Database
from storage.ids import new_id
from storage.vault import Vault

MakeContext = Callable[..., Context]
METHODS = TABLE
APNS = {"payload": {"aps": {"alert": "hi"}}}
FCM = {"message": {"notification": {"title": "hi"}}}
OPTIONS = WorkerOptions(
    planner=PlannerOptions(page_size=40, batch_size=10, poll_seconds=0.2),
    sender=SenderOptions(lease_seconds=5.0, poll_seconds=0.1),
    shutdown_seconds=5.0,
)


class World:
    """A database with credentials for two emulators, and the methods to push with."""

    def __init__(self, database: Database, vault: Vault, context: MakeContext) -> None:
        self.database = database
        self.vault = vault
        self._context = context

    @asynccontextmanager
    async def worker(
        self, options: WorkerOptions = OPTIONS, clock: Callable[[], float] = time.time
    ) -> AsyncIterator[asyncio.Event]:
        """Run a worker beside the block, by this clock; the event it yields stops it."""
        stop = asyncio.Event()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(Worker(self.database, self.vault, options, clock).run(stop))
            try:
                yield stop
            finally:
                stop.set()

    async def call(self, name: str, **params: object) -> Any:
        """Call a method as the API would; its result as plain JSON."""
        body = json.dumps(params).encode()
        method = METHODS[name]
        return msgspec.to_builtins(await method.handler(self._context(body=body), method.decoder.decode(body)))

    async def send(self, **params: object) -> str:
        uid: str = (await self.call("send_push_notification", **params))["uid"]
        return uid

    async def reached(self, uid: str, *states: str) -> dict[str, Any]:
        """Wait until the push is in one of these states; its status."""
        async with asyncio.timeout(15):
            while True:
                status: dict[str, Any] = await self.call("push_status", uid=uid)
                if status["state"] in states:
                    return status

    async def quiet(self) -> None:
        """Wait until no worker holds a batch."""
        async with asyncio.timeout(15):
            while await self.database.values(b"select 1 from batches where claimed_by is not null", {}):
                pass

    async def cut_off(self, emulator: Emulator) -> None:
        """Drop the emulator's connections until no worker holds a batch: what hangs there is over."""
        async with asyncio.timeout(15):
            while await self.database.values(b"select 1 from batches where claimed_by is not null", {}):
                emulator.order_connections(ConnectionsOrder(drop=True))

    async def probed(self) -> None:
        """Wait until no pause has a probe due, and what was tried with is settled."""
        async with asyncio.timeout(15):
            while await self.database.values(b"select 1 from pauses where next_probe_at <= now()", {}):
                pass
        await self.quiet()

    async def device(self, token: str, topic: str = "test", meta: dict[str, str] | None = None, **columns: str) -> str:
        """Register an APNs device, changed as a test needs it, an hour ago; its id."""
        row = {"id": new_id(), "provider": "apns", "platform": "ios", "token": token, "meta": meta or {}, **columns}
        await self.database.execute(
            b"with d as (insert into devices (id, provider, platform, token, user_id, locale, timezone, meta,"
            b" created_at, registered_at)"
            b" select r.id, r.provider, r.platform, r.token, coalesce(r.user_id, ''), coalesce(r.locale, ''),"
            b" coalesce(r.timezone, ''), r.meta, now() - interval '1 hour', now() - interval '1 hour'"
            b" from jsonb_populate_record(null::devices, %(row)s::jsonb) r returning id)"
            b" insert into device_topics (topic, device_id) select %(topic)s, id from d",
            {"row": json.dumps(row), "topic": topic},
        )
        return str(row["id"])

    async def registered(self, count: int, topic: str, provider: str = "apns") -> None:
        """Register so many devices with random tokens on a topic, an hour ago."""
        await self.database.execute(
            b"with d as (insert into devices (id, provider, platform, token, created_at, registered_at)"
            b" select gen_random_uuid(), %(provider)s, case %(provider)s when 'apns' then 'ios' else 'android' end,"
            b" md5(random()::text), now() - interval '1 hour', now() - interval '1 hour'"
            b" from generate_series(1, %(count)s) returning id)"
            b" insert into device_topics (topic, device_id) select %(topic)s, id from d",
            {"count": count, "topic": topic, "provider": provider},
        )


def ledger(status: dict[str, Any]) -> dict[str, int]:
    """The ledger without zeros, checked to sum."""
    entries: dict[str, int] = status["ledger"]
    assert entries["planned"] == sum(count for name, count in entries.items() if name != "planned")
    return {name: count for name, count in entries.items() if count}


async def until(condition: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another task, or in a log
            await asyncio.sleep(0)
