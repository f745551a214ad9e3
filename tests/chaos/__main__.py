"""`make chaos`: kill processes and inject faults while pushes are sent, and account for every recipient."""

import argparse
import asyncio
import datetime
import os
import random
import sys
from pathlib import Path

from tests.chaos.report import append, text_of
from tests.chaos.run import Order, run
from tests.chaos.script import QUEUES


def main() -> int:
    """Run it; the exit code is 1 when anything was lost or is unexplained."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="kills and cuts in all (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=2.0, help="time to send (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the same seed is the same script (default: drawn, and printed)")
    parser.add_argument("--queue", choices=QUEUES, default=QUEUES[0], help="what orders it (default: %(default)s)")
    parser.add_argument("--lease", type=float, default=5.0, help="of a batch, seconds (default: %(default)s)")
    parser.add_argument("--nice", type=int, default=10, help="how much others go before it (default: %(default)s)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="append a line to this file's table")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    os.nice(options.nice)
    sys.stderr.write(f"seed {seed}\n")
    outcome = asyncio.run(
        run(Order(seed, options.kills, options.minutes * 60, queue=options.queue, lease_seconds=options.lease))
    )
    sys.stdout.write(text_of(outcome))
    if options.report is not None:
        append(options.report, outcome, datetime.datetime.now(datetime.UTC).date().isoformat())
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
