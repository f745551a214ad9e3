"""What a device, a membership, a push and an outcome take on disk, and what each step writes to the log of changes.

    python -m tests.hosts.sizes --devices 1000000

For docs/scale.md. PostgreSQL runs with durable settings; nothing is sent: what is claimed is settled as accepted.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec

from delivery.batches import Results
from delivery.planner import Planner, PlannerOptions
from delivery.providers.apns_message import message_ids
from delivery.queues.postgres import PostgresQueue
from methods.all import TABLE
from methods.context import Caller, Context, ServerFacts
from storage import queue
from storage.ids import new_id
from storage.vault import Vault
from tests.bench.installation import Server, postgres, server_on
from tests.bench.nginx import BUNDLE_ID, signing_key
from tests.bench.payloads import NOTIFICATION
from tests.bench.report import Report, main, parser
from tests.bench.seeding import TOPIC, Seed

_CREDENTIAL = "bench-apns"
_SIZE = b"""
select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, coalesce(sum(pg_relation_size(c.oid)), 0)::bigint
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'm')
  and (c.relname = %(table)s or c.oid in (select inhrelid from pg_inherits where inhparent = to_regclass(%(table)s)))
"""
_LSN = b"select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"


class Sizes:
    """A server without senders, and the rows of its report."""

    def __init__(self, server: Server, report: Report) -> None:
        self.server = server
        self.report = report
        self._claims = PostgresQueue(queue.Queue(server.database, new_id(), 3600.0))
        self._planner = Planner(server.database, PlannerOptions(ahead_batches=1 << 30), lambda: None)

    @asynccontextmanager
    async def step(self, name: str, count: int, *tables: str) -> AsyncIterator[None]:
        """What the block adds to these tables, and writes to the log, for each of `count`."""
        before = {table: await self._size(table) for table in tables}
        written = await self.server.value(_LSN)
        yield
        log = await self.server.value(_LSN) - written
        self.report.rows.append([name, "log of changes", f"{count:,}", f"{log / count:,.1f}", ""])
        for table in tables:
            total, heap = (now - then for now, then in zip(await self._size(table), before[table], strict=True))
            self.report.rows.append([name, table, f"{count:,}", f"{total / count:,.1f}", f"{heap / count:,.1f}"])

    async def stored(self, table: str, count: int) -> None:
        """What the rows that are there take."""
        total, heap = await self._size(table)
        self.report.rows.append(["stored", table, f"{count:,}", f"{total / count:,.1f}", f"{heap / count:,.1f}"])

    async def call(self, name: str, **params: object) -> None:
        """Call a method as the door would."""
        body = msgspec.json.encode(params)
        vault = Vault(self.server.settings.secret_key.encode())
        method = TABLE[name]
        facts = ServerFacts(version="0", name="sizes", started_at=0.0)
        context = Context(self.server.database, vault, self.server._hints, facts, Caller("bench"), body)
        await method.handler(context, method.decoder.decode(body))

    async def send(self, **recipient: object) -> None:
        """Accept a push."""
        await self.call("send_push_notification", uid=uuid4().hex, recipient=recipient, notification=NOTIFICATION)

    async def plan(self) -> None:
        """Plan what waits."""
        while await self._planner.plan_page():
            continue

    async def settle(self) -> None:
        """Claim what there is and settle it as accepted."""
        while claimed := await self._claims.claim({_CREDENTIAL: 50_000}, []):
            results = []
            for each in claimed:
                found = Results(each.batch, lambda results: None)
                found.derived_ids = True  # as APNs' are: they are not stored
                for position, name in enumerate(message_ids(each.batch)):
                    found.accepted(position, name)
                results.append(found)
            for first in range(0, len(results), 128):
                await self._claims.settle(results[first : first + 128])

    async def _size(self, table: str) -> tuple[int, int]:
        row = (await self.server.database.values(_SIZE, {"table": table}))[0]
        return row[0], row[1]


async def measure(args: argparse.Namespace) -> Report:
    """Measure all of it."""
    seed = Seed(args.devices)
    columns = ["step", "where", "count", "bytes each, indexes included", "of them the rows"]
    report = Report(f"Bytes on disk, {seed.count:,} APNs devices on one topic", columns)
    async with (
        postgres(args.directory) as database,
        database.seeded(seed) as url,
        server_on(url, log_level=args.log_level, statement_timeout_seconds=300) as server,
    ):
        names = {"provider_id": _CREDENTIAL, "provider": "apns", "bundle_id": BUNDLE_ID, "default": True}
        key: dict[str, Any] = {"key": signing_key(), "key_id": "ABCDE12345", "team_id": "TEAM123456"}
        await server.put_credentials([names | key])
        sizes = Sizes(server, report)
        for table in ("devices", "device_topics"):
            await sizes.stored(table, seed.count)
        async with sizes.step("register, 3 topics", args.calls, "devices", "device_topics"):
            for number in range(args.calls):
                topics = [f"t{number % 7}", f"u{number % 100}", "registered"]
                device = {"provider": "apns", "platform": "ios", "token": f"{number:064x}"}
                await sizes.call("device_register", **device, topics=topics, user=f"new-{number}")
        await _sends(sizes, seed.count, args.calls)
    report.notes.append("wal_compression on; pages are written whole once after each checkpoint, as in life")
    return report


async def _sends(sizes: Sizes, devices: int, calls: int) -> None:
    async with sizes.step("broadcast: accept and plan", devices, "batches"):
        await sizes.send(channels=[TOPIC])
        await sizes.plan()
    async with sizes.step("broadcast: claim and settle", devices, "outcomes"):
        await sizes.settle()
    async with sizes.step("single push: accept", calls, "pushes", "push_ledger", "batches"):
        for number in range(calls):
            await sizes.send(users=[str(number)])
        await sizes.plan()
    async with sizes.step("single push: claim and settle", calls, "outcomes"):
        await sizes.settle()


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 1_000_000)
    made.add_argument("--calls", type=int, default=5000, help="registrations and single pushes")
    return made.parse_args()


if __name__ == "__main__":
    main(measure, _arguments())
