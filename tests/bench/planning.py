"""What the queue costs without any sending: planning an audience into batches, claiming them, settling them.

    python -m tests.bench.planning --devices 1000000

Runs the planner and the queue of the engine in this process against a PostgreSQL of its own with durable settings.
"""

import argparse
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec

from delivery.batches import Results
from delivery.planner import Planner, PlannerOptions
from delivery.providers.apns_message import message_ids
from delivery.queues.contract import Claim
from delivery.queues.postgres import PostgresQueue
from storage import queue
from storage.ids import new_id
from tests.bench.installation import Postgres, Server, postgres, server_on
from tests.bench.nginx import BUNDLE_ID, signing_key
from tests.bench.payloads import NOTIFICATION
from tests.bench.processes import metered
from tests.bench.report import Figure, Report, main, parser
from tests.bench.seeding import TOPIC, Seed

AUDIENCES: dict[str, dict[str, Any]] = {
    "topic": {"channels": [TOPIC]},
    "filter (all)": {"filter": {"all": True}},
    "filter (platform)": {"filter": {"platforms": ["ios"]}},
}
_CREDENTIAL = "bench-apns"
_EMPTY = b"truncate batches, pushes, push_ledger, push_reasons, outcomes cascade"
_PLANNED = b"""
select count(*), count(distinct t) from batches b cross join lateral string_to_table(b.tokens, e'\\n') t
"""
_ACCEPTED = b"select accepted from push_ledger"
_COLUMNS = ["step", "recipients", "seconds", "recipients/s", "python ms/1,000", "database ms/1,000"]


class Measured(msgspec.Struct):
    """One step: how many recipients, how long, and the CPU of this process and of the database."""

    step: str
    count: int = 0
    seconds: float = 0.0
    python_cpu: float = 0.0
    database_cpu: float = 0.0

    def cells(self) -> list[str]:
        """Columns of the table."""
        cpu = [f"{each / max(1, self.count) * 1e6:.2f}" for each in (self.python_cpu, self.database_cpu)]
        return [self.step, f"{self.count:,}", f"{self.seconds:.2f}", f"{self.rate:,.0f}", *cpu]

    @property
    def rate(self) -> float:
        """Recipients a second."""
        return self.count / self.seconds if self.seconds else 0.0


class Bench:
    """A server without senders, and the measurements so far."""

    def __init__(self, server: Server, database: Postgres, seed: Seed, report: Report) -> None:
        self.server = server
        self.seed = seed
        self.report = report
        self._database = database
        self.best = 0.0

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Measured]:
        """Measure the block, which sets `count`; the row joins the report."""
        made = Measured(name)
        roots = {"database": [self._database.pid], "all": [os.getpid()]}  # PostgreSQL is a child of ours
        async with metered(roots) as meter:
            started = time.perf_counter()
            yield made
            made.seconds = time.perf_counter() - started
        usage = meter.usage()
        made.database_cpu = usage["database"].cpu_seconds
        made.python_cpu = usage["all"].cpu_seconds - made.database_cpu
        self.report.rows.append(made.cells())

    async def plan(self, audience: str, page_size: int) -> None:
        """Accept a push and plan it whole; each device must be in it once."""
        await self.server.database.execute(_EMPTY, {})
        options = PlannerOptions(page_size=page_size, ahead_batches=1 << 30)
        planner = Planner(self.server.database, options, lambda: None)
        recipient = AUDIENCES[audience]
        await self.server.call(
            "send_push_notification", uid=uuid4().hex, recipient=recipient, notification=NOTIFICATION
        )
        async with self.step(f"plan {audience}, pages of {page_size:,}") as made:
            made.count = self.seed.count
            while await planner.plan_page():
                continue
        if page_size == PlannerOptions().page_size and audience == "topic":
            self.best = made.rate
        counts = (await self.server.database.values(_PLANNED, {}))[0]
        if counts != (self.seed.count, self.seed.count):
            self.report.faults.append(f"{made.step}: {counts[0]} recipients planned, {counts[1]} of them distinct")

    async def claim(self, claims: PostgresQueue, limit: int, most: int) -> list[Claim]:
        """Claim with this limit until there are `most` recipients or nothing is left."""
        found: list[Claim] = []
        async with self.step(f"claim and read, {limit:,} at a time") as made:
            while made.count < most:
                more = await claims.claim({_CREDENTIAL: limit}, [found[0].batch.push_id] if found else [])
                if not more:
                    break
                found += more
                made.count += sum(len(each.batch.tokens) for each in more)
        return found

    async def settle(self, claims: PostgresQueue, claimed: Sequence[Claim], at_once: int) -> None:
        """Settle these batches as accepted, so many in a statement."""
        async with self.step(f"settle, {at_once} batches at a time") as made:
            for first in range(0, len(claimed), at_once):
                results = [_accepted(each) for each in claimed[first : first + at_once]]
                made.count += sum(len(each.batch.tokens) for each in results)
                if lost := await claims.settle(results):
                    self.report.faults.append(f"{lost} batches were not ours any more")


def _accepted(claim: Claim) -> Results:
    results = Results(claim.batch, lambda results: None)
    for position, name in enumerate(message_ids(claim.batch)):
        results.accepted(position, name)
    return results


async def measure(args: argparse.Namespace) -> Report:
    """Plan with different page sizes, then claim and settle the last plan."""
    seed = Seed(args.devices)
    report = Report(f"Planning, claiming and settling {seed.count:,} recipients, no sending", _COLUMNS)
    async with (
        postgres(args.directory) as database,
        database.seeded(seed) as url,
        server_on(url, log_level=args.log_level, statement_timeout_seconds=300) as server,
    ):
        await server.put_credentials([_credential()])
        bench = Bench(server, database, seed, report)
        for audience in AUDIENCES:
            for page_size in args.page_sizes:
                await bench.plan(audience, page_size)
        await bench.plan("topic", PlannerOptions().page_size)
        claims = PostgresQueue(queue.Queue(server.database, new_id(), 3600.0))
        third = seed.count // 3
        claimed = [await bench.claim(claims, limit, third) for limit in (1_000, 5_000)]
        claimed.append(await bench.claim(claims, 50_000, seed.count))
        for batches, at_once in zip(claimed, (4, 16, 128), strict=True):
            await bench.settle(claims, batches, at_once)
        accepted = await server.value(_ACCEPTED)
        if accepted != seed.count:
            report.faults.append(f"{accepted} of {seed.count} recipients were settled")
    target = 200_000
    report.figures.append(Figure("planning a topic", f">= {target:,}/s", f"{bench.best:,.0f}/s", bench.best >= target))
    report.notes.append("rates include the commits; python ms and database ms are CPU for 1,000 recipients")
    return report


def _credential() -> dict[str, Any]:
    names = {"provider_id": _CREDENTIAL, "provider": "apns", "bundle_id": BUNDLE_ID}
    return names | {"key": signing_key(), "key_id": "ABCDE12345", "team_id": "TEAM123456", "default": True}


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 1_000_000)
    made.add_argument("--page-sizes", type=int, nargs="+", default=[1_000, 5_000, 20_000, 50_000])
    return made.parse_args()


if __name__ == "__main__":
    main(measure, _arguments())
