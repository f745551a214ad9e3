"""Resident memory of a sender for few and for many recipients: it must not grow with the size of a push.

    python -m tests.bench.memory --sizes 10000 1000000
    python -m tests.bench.memory --sizes 10000 1000000 10000000

Each size is a broadcast of its own with sender processes of its own; the figure is the kernel's high-water mark.
"""

import argparse

from tests.bench.broadcasting import COLUMNS, Outcome, Shape, broadcast, stage
from tests.bench.installation import postgres
from tests.bench.report import Figure, Report, main, parser
from tests.bench.seeding import Seed

_LIMIT_BYTES = 200e6
_FLAT = 1.5


async def measure(args: argparse.Namespace) -> Report:
    """One broadcast for each size."""
    report = Report("Memory of a sender and cost of a recipient, by the size of the push", ["devices", *COLUMNS])
    shape = Shape(sink=args.sink, log_level=args.log_level)
    outcomes: list[Outcome] = []
    for size in args.sizes:
        seed = Seed(size, args.provider)
        async with postgres(args.directory) as database, stage(database, seed, shape) as at:
            outcomes.append(await broadcast(at))
        report.rows.append([f"{size:,}", *outcomes[-1].cells()])
        report.faults += outcomes[-1].faults
    peaks = [each.usage["sender"].peak_bytes for each in outcomes]
    shown = ", ".join(f"{peak / 1e6:.0f} MB" for peak in peaks)
    flat = max(peaks) < _LIMIT_BYTES and max(peaks) < _FLAT * min(peaks)
    sizes = " and ".join(f"{size:,}" for size in args.sizes)
    report.figures.append(Figure(f"memory of a sender, {sizes} recipients", "flat, < 200 MB", shown, flat))
    first, last = outcomes[0], outcomes[-1]
    report.figures.append(
        Figure(
            "sender CPU for 1,000 recipients, smallest and largest push",
            "does not grow",
            f"{first.sender_cpu:.1f} and {last.sender_cpu:.1f} ms",
            last.sender_cpu <= 1.2 * first.sender_cpu,
        )
    )
    return report


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 0)
    made.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000], help="devices of each push")
    made.add_argument("--provider", choices=["apns", "fcm", "webpush", "hms", "mixed"], default="apns")
    return made.parse_args()


if __name__ == "__main__":
    main(measure, _arguments())
