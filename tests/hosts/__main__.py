"""Many hosts: `tocsin work` in network namespaces of one machine over one database, judged by what arrives.

    python -m tests.hosts                        # everything, some five minutes
    python -m tests.hosts --only lanes turns     # some of it
    python -m tests.hosts --report docs/hosts.md # and write down what was measured
    TOCSIN_QUEUE_URL=redis://{address}:6379/0 python -m tests.hosts --beside "redis-server --bind {address}"

`{address}` stands for this machine's address on the network of the database. Exit code 1 when something did not hold.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts.checks import Section
from tests.hosts.report import text_of, write
from tests.hosts.run import SCENARIOS, Order, run


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__, formatter_class=_FORMAT)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--hosts", type=int, default=3, help="hosts that send (default: %(default)s)")
    parser.add_argument("--loopback", action="store_true", help="127.0.0.x instead of network namespaces")
    parser.add_argument("--tree", type=Path, help="the folder whose code runs (default: this one)")
    parser.add_argument("--beside", default="", metavar="COMMAND", help="a program to run meanwhile, such as a queue")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures into this file")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave logs and notes here")
    given = parser.parse_args()
    order = Order(
        scenarios=given.only or list(SCENARIOS),
        hosts=given.hosts,
        loopback=given.loopback,
        beside=given.beside,
        settings={name: os.environ[name] for name in ("TOCSIN_QUEUE_URL",) if name in os.environ},
        **({"tree": given.tree.resolve()} if given.tree else {}),
    )
    with _folder(given.keep) as folder:
        kind, sections = asyncio.run(run(order, folder, _say))
    if given.report is not None:
        write(given.report, kind, order, sections)
    return 0 if all(check.ok for section in sections for check in section.checks) else 1


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="tocsin-hosts-") as folder:
        yield Path(folder)


def _say(section: Section) -> None:
    sys.stdout.write(text_of(section) + "\n")
    sys.stdout.flush()


_FORMAT = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    sys.exit(main())
