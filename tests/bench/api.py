"""Throughput and latency of the HTTP door: one API process, with one and with a million stored devices.

    python -m tests.bench.api --devices 1000000

Each method is called as fast as 16 connections can, then at half of the target's 1,500 calls a second, and at half of
the rate that was found; latency counts from the moment a call was due. What was answered is looked for in the
database afterwards.
"""

import argparse

import msgspec

from tests.bench.broadcasting import Shape, Stage, stage
from tests.bench.calls import Load, Orders, load
from tests.bench.installation import postgres
from tests.bench.processes import Usage, metered
from tests.bench.report import Figure, Report, main, milliseconds, parser, percentile
from tests.bench.seeding import Seed

_TARGET_RATE = 1500
_TARGET_P99 = 0.020
_QUEUE_LIMIT = 100_000_000
_DEVICES = b"select count(*) from devices where user_id like 'caller-%%'"
_PUSHES = b"select count(distinct uid) from pushes where uid like 'single-%%'"
_RECIPIENTS = b"select coalesce(sum(planned), 0)::bigint from push_ledger"
_COLUMNS = [
    "method",
    "stored",
    "calls",
    "calls/s",
    "p50 ms",
    "p99 ms",
    "750/s: p50",
    "p99",
    "half: p50",
    "p99",
    "p99.9",
]
_NAMES = {
    "register": "device_register",
    "send": "send_push_notification, one user",
    "list": "device_list, one user",
    "page": "device_list, page of 100",
}


class Both(msgspec.Struct):
    """A method at its most, at half of the target rate, and at half of its most."""

    kind: str
    most: Load
    floor: Load
    half: Load
    usage: dict[str, Usage]

    @property
    def rate(self) -> float:
        """Calls a second at its most."""
        return len(self.most.latencies) / self.most.seconds

    @property
    def faults(self) -> list[str]:
        """What was answered wrongly."""
        return [fault for each in (self.most, self.floor, self.half) for fault in each.faults(self.kind)]

    def p99(self, load: Load) -> float:
        """Seconds that 99 of 100 calls of this load take no longer than."""
        return percentile(sorted(load.latencies), 0.99)

    def cells(self, stored: int) -> list[str]:
        """Columns of the table."""
        most, half = sorted(self.most.latencies), sorted(self.half.latencies)
        floor = sorted(self.floor.latencies)
        times = [percentile(each, share) for each in (most, floor, half) for share in (0.5, 0.99)]
        times.append(percentile(half, 0.999))
        cpu = [f"{self.usage[role].cpu_per_thousand(len(most)):.0f}" for role in ("api", "database")]
        name = _NAMES[self.kind]
        return [name, f"{stored:,}", f"{len(most):,}", f"{self.rate:,.0f}", *map(milliseconds, times), *cpu]


class Bench:
    """Calls the methods of one API process on one database."""

    def __init__(self, at: Stage, port: int, api_pid: int, args: argparse.Namespace) -> None:
        self._at = at
        self._port = port
        self._roots = {"api": [api_pid], "database": [at.database_pid]}
        self._args = args
        self._used = {"register": 0, "send": 0}

    async def both(self, kind: str) -> Both:
        """Measure a method."""
        args = self._args
        await load(self._orders(kind, args.warm_up, 0.0))
        async with metered(self._roots) as meter:
            most = await load(self._orders(kind, args.calls, 0.0))
        rate = len(most.latencies) / most.seconds / 2
        floor = await self._paced(kind, _TARGET_RATE / 2)
        return Both(kind, most, floor, await self._paced(kind, rate), meter.usage())

    async def _paced(self, kind: str, rate: float) -> Load:
        count = max(10, min(self._args.calls, int(rate * self._args.half_seconds)))
        return await load(self._orders(kind, count, rate))

    async def faults(self) -> list[str]:
        """What was answered and is not in the database."""
        database = self._at.server
        counted = {
            "device_register": (await database.value(_DEVICES), self._used["register"]),
            "send_push_notification": (await database.value(_PUSHES), self._used["send"]),
            "recipients of the pushes": (await database.value(_RECIPIENTS), self._used["send"]),
        }
        wrong = {what: each for what, each in counted.items() if each[0] != each[1]}
        return [f"{what}: {found} in the database, {sent} answered" for what, (found, sent) in wrong.items()]

    def _orders(self, kind: str, count: int, rate: float) -> Orders:
        """Numbers that were not used, for what must be new; else spread over the devices that are there."""
        first = self._used.get(kind, 0)
        if kind in self._used:
            self._used[kind] += count
        users = self._at.seed.count
        return Orders(self._port, kind, count, first=first, rate=rate, connections=self._args.connections, users=users)


async def measure(args: argparse.Namespace) -> Report:
    """All methods with few and with many devices."""
    report = Report("The HTTP door, one API process", [*_COLUMNS, "api ms/1,000", "database ms/1,000"])
    shape = Shape(senders=args.senders, sink=args.sink, log_level=args.log_level)
    for stored in sorted({1, args.devices}):
        async with (
            postgres(args.directory) as database,
            stage(database, Seed(stored), shape, max_queue=_QUEUE_LIMIT) as at,
            at.server.api() as (port, pid),
        ):
            bench = Bench(at, port, pid, args)
            for kind in ("list", "page", "register", "send"):
                made = await bench.both(kind)
                report.rows.append(made.cells(stored))
                report.faults += made.faults
                report.figures += _figures(made, stored)
            report.faults += await bench.faults()
    report.notes.append(f"{args.connections} keep-alive connections; {args.senders} sender processes beside it")
    return report


def _figures(made: Both, stored: int) -> list[Figure]:
    if made.kind not in ("register", "send"):
        return []
    what = f"{_NAMES[made.kind]}, {stored:,} stored"
    rate, p99 = made.rate, made.p99(made.floor)
    return [
        Figure(what, f">= {_TARGET_RATE:,}/s", f"{rate:,.0f}/s", rate >= _TARGET_RATE),
        Figure(
            f"{what}: p99 at {_TARGET_RATE // 2}/s, half of it", "< 20 ms", f"{p99 * 1000:.1f} ms", p99 < _TARGET_P99
        ),
    ]


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 1_000_000)
    made.add_argument("--calls", type=int, default=10_000, help="calls of each method at its most")
    made.add_argument("--warm-up", type=int, default=300, help="calls of each method that nobody measures")
    made.add_argument("--half-seconds", type=float, default=8, help="how long at half of the rate")
    made.add_argument("--connections", type=int, default=16)
    made.add_argument("--senders", type=int, default=0, help="sender processes beside the API process")
    return made.parse_args()


if __name__ == "__main__":
    main(measure, _arguments())
