"""What it costs to say more than bytes: the same broadcast as payloads, neutral fields, in ten languages, with names.

    python -m tests.bench.rendering --devices 300000

One sender process, one nginx over TLS, one database; every broadcast goes to the same devices, and each of them is
looked for in nginx's log. The baseline is the broadcast of payloads that pass byte for byte, in the same run.
"""

import argparse

from tests.bench.broadcasting import COLUMNS, Outcome, Shape, broadcast, stage
from tests.bench.installation import postgres
from tests.bench.payloads import CONTENTS
from tests.bench.report import Figure, Report, main, parser
from tests.bench.seeding import Seed


async def measure(args: argparse.Namespace) -> Report:
    """Send each content, the baseline first and once more at the end."""
    async with (
        postgres(args.directory) as database,
        stage(database, Seed(args.devices, args.provider), Shape()) as at,
    ):
        await broadcast(at)  # the first one opens the connections and warms the database
        found: list[tuple[str, Outcome]] = [
            (content, await broadcast(at, content)) for content in [*CONTENTS, "payloads"]
        ]
    base = max(outcome.rate for content, outcome in found if content == "payloads")
    report = Report(
        f"Broadcasts of several contents to {args.devices:,} {args.provider} devices, one sender",
        ["content", *COLUMNS, "against payloads"],
    )
    for content, outcome in found:
        report.rows.append([content, *outcome.cells(), f"{outcome.rate / base:.2f} x"])
        report.faults += outcome.faults
        if content == "ten languages":
            ratio = outcome.rate / base
            report.figures.append(Figure("ten languages, against payloads", ">= 0.8 x", f"{ratio:.2f} x", ratio >= 0.8))
    return report


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 300_000)
    made.add_argument("--provider", choices=["apns", "fcm", "mixed"], default="apns")
    return made.parse_args()


if __name__ == "__main__":
    main(measure, _arguments())
