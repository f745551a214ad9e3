"""One to four sender processes on one database: what more processes bring, and what limits them.

    python -m tests.bench.scaling --devices 1000000 --senders 1 2 3 4

Each number of senders is a broadcast of its own. Busy cores are CPU seconds over wall seconds: when sender, database
and sink together use all cores of the machine, the machine is the limit.
"""

import argparse
import os

from tests.bench.broadcasting import COLUMNS, Outcome, Shape, broadcast, stage
from tests.bench.installation import postgres
from tests.bench.report import Figure, Report, main, parser
from tests.bench.seeding import Seed

_ROLES = ("sender", "database", "sink")


async def measure(args: argparse.Namespace) -> Report:
    """One broadcast for each number of senders."""
    cores = len(os.sched_getaffinity(0))
    report = Report(
        f"Sender processes on one database, {args.devices:,} {args.provider} devices, {cores} cores",
        ["senders", *COLUMNS, *(f"{role} cores" for role in _ROLES), "busy"],
    )
    outcomes: list[Outcome] = []
    seed = Seed(args.devices, args.provider)
    for senders in args.senders:
        shape = Shape(senders=senders, connections=args.connections, sink=args.sink, log_level=args.log_level)
        async with postgres(args.directory) as database, stage(database, seed, shape) as at:
            made = await broadcast(at)
        outcomes.append(made)
        busy = [made.usage[role].cpu_seconds / made.seconds for role in _ROLES]
        report.rows.append([str(senders), *made.cells(), *(f"{each:.2f}" for each in busy), f"{sum(busy) / cores:.0%}"])
        report.faults += made.faults
    rates = ", ".join(f"{senders}: {made.rate:,.0f}/s" for senders, made in zip(args.senders, outcomes, strict=True))
    report.figures.append(Figure("sender processes on one database", "see what limits it", rates))
    report.notes.append(f"busy: share of the {cores} cores that sender, database and sink use together")
    return report


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 1_000_000)
    made.add_argument("--senders", type=int, nargs="+", default=[1, 2, 3, 4], help="sender processes of each run")
    made.add_argument("--connections", type=int, default=4, help="most connections of a credential in a process")
    made.add_argument("--provider", choices=["apns", "fcm", "webpush", "hms", "mixed"], default="apns")
    return made.parse_args()


if __name__ == "__main__":
    main(measure, _arguments())
