"""A broadcast to a million stored devices, from acceptance to the last settled outcome, beside h2load and libraries.

    python -m tests.bench.broadcast --devices 1000000 --provider apns
    python -m tests.bench.broadcast --devices 1000000 --provider mixed --faults
    python -m tests.bench.broadcast --devices 300000 --provider webpush

A PostgreSQL of its own with durable settings is seeded, real sender processes send one push of a topic to nginx over
TLS, and every device is looked for in nginx's log (of HMS, whose requests have many recipients, in their bodies). Then
h2load and the libraries of the provider send to the same nginx, and Web Push's encryption runs alone.
"""

import argparse
import asyncio
import shutil
import signal
from collections.abc import Mapping

from tests.bench.baselines import LIBRARIES, Baseline, h2load, library
from tests.bench.broadcasting import COLUMNS, Outcome, Shape, Stage, broadcast, stage
from tests.bench.installation import postgres
from tests.bench.report import Figure, MissingProgramError, Report, main, parser
from tests.bench.seeding import Seed

_OWN_TRANSPORT = {"hms": "httpx"}
_MANY = 40
"""How many times as many recipients a library of HMS is given: it takes hundreds with one request."""
_TARGETS: Mapping[str, Mapping[str, float]] = {
    "apns": {"h2load, apns": 0.5, "aioapns": 15},
    "webpush": {"pywebpush": 0, "encryption": 0},
    "hms": {"httpx-hms": 0},
}
"""How many times the rate of a baseline is wanted at least; 0 where nobody said."""
_LEAST_A_CORE = {"fcm": 10_000, "webpush": 3_000}
"""Pushes for each second of the sender's CPU."""


async def measure(args: argparse.Namespace) -> Report:
    """Send once, then let the others send."""
    shape = Shape(
        senders=args.senders,
        connections=args.connections,
        streams=args.streams,
        tls=not args.plain,
        faults=args.faults,
        transport=args.transport,
        sink=args.sink,
        log_level=args.log_level,
    )
    seed = Seed(args.devices, args.provider)
    async with postgres(args.directory) as database, stage(database, seed, shape) as at:
        if args.py_spy:
            async with _Profiled(at.sender_pids[0], args.py_spy):
                ours = await broadcast(at)
        else:
            ours = await broadcast(at)
        baselines = await _baselines(at, args, ours) if args.sink == "nginx" and not args.no_baselines else []
    return _report(args, ours, baselines)


async def _baselines(at: Stage, args: argparse.Namespace, ours: Outcome) -> list[Baseline]:
    providers = at.seed.counts()
    made = []
    for name in providers:
        count = min(args.devices, args.h2load_requests)
        if name != "hms":
            made.append(await h2load(at.sink, at.folder, name, count, args.connections, args.streams))
    if not args.plain and not args.faults:
        for name in providers:
            together = round(ours.count / ours.requests) if name == "hms" else 1
            count = min(args.devices, args.library_requests * (_MANY if name == "hms" else 1))
            made += [await library(at.sink, client, count, together) for client in LIBRARIES[name]]
    return made


def _report(args: argparse.Namespace, ours: Outcome, baselines: list[Baseline]) -> Report:
    wrong = "1 % overloaded" if args.provider == "hms" else "1 % dead and 1 % overloaded"
    kind = f"{args.provider}{f', {wrong}' if args.faults else ''}"
    way = f"{args.connections} connections x {args.streams} streams, {'plain' if args.plain else 'TLS'}"
    report = Report(
        f"Broadcast to {args.devices:,} stored devices ({kind}), {args.senders} sender(s), "
        f"{args.transport or _OWN_TRANSPORT.get(args.provider, 'http2')}, {way}",
        ["who", *COLUMNS, "our rate", "our CPU"],
    )
    report.rows.append(["tocsin", *ours.cells(), "", ""])
    for each in baselines:
        ratios = [f"{ours.rate / each.rate:.2f} x", f"{ours.sender_cpu / each.cpu:.2f} x"]
        report.rows.append([each.name, *each.cells(), *ratios])
        report.faults += each.faults()
    report.faults += ours.faults
    report.notes += [
        f"planned after {ours.planned_seconds:.1f} s, settled after {ours.seconds:.1f} s; "
        f"{ours.requests:,} requests reached the sink",
        "ms/1,000 is CPU time of the whole process tree; of the baselines' own process under `sender`",
    ]
    report.figures += _figures(args, ours, {each.name: each for each in baselines})
    return report


def _figures(args: argparse.Namespace, ours: Outcome, named: dict[str, Baseline]) -> list[Figure]:
    made = []
    faults = " with faults" if args.faults else ""
    what = f"broadcast to {args.devices:,} {args.provider} devices{faults}"
    for baseline, least in _TARGETS.get(args.provider, {}).items():
        if baseline in named:
            ratio = ours.rate / named[baseline].rate
            reached = ratio >= least if least else None
            made.append(
                Figure(
                    f"{what}, against {baseline}", f">= {least:g} x" if least else "(none)", f"{ratio:.2f} x", reached
                )
            )
    if args.provider in _LEAST_A_CORE:
        least = _LEAST_A_CORE[args.provider]
        core = 1000 / ours.sender_cpu * 1000
        made.append(
            Figure(
                f"{args.provider}{faults} on one core of the sender", f">= {least:,}/s", f"{core:,.0f}/s", core >= least
            )
        )
    if "encryption" in named:
        share = named["encryption"].cpu / ours.sender_cpu
        made.append(Figure("encryption alone, of the sender's CPU", "(none)", f"{share:.0%}"))
    if args.provider == "mixed":
        made.append(Figure(what, "settled completely", f"{ours.rate:,.0f}/s", not ours.faults))
    return made


class _Profiled:
    """Profiles a process with py-spy during the block, into a file of folded stacks."""

    def __init__(self, pid: int, file: str) -> None:
        if shutil.which("py-spy") is None:
            raise MissingProgramError("py-spy is not on PATH: pip install py-spy")
        self._command = ["py-spy", "record", "-p", str(pid), "-o", file, "-f", "raw", "-r", "200", "-d", "600"]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> None:
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.DEVNULL)

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # then it writes what it has
            await self._process.wait()


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 1_000_000)
    made.add_argument("--provider", choices=["apns", "fcm", "webpush", "hms", "mixed"], default="apns")
    made.add_argument("--senders", type=int, default=1, help="sender processes")
    made.add_argument("--connections", type=int, default=4, help="most connections of a credential in a process")
    made.add_argument("--streams", type=int, default=100, help="concurrent streams that the sink allows")
    made.add_argument("--transport", choices=["http2", "aioapns", "httpx"], default="", help="not its own")
    made.add_argument("--plain", action="store_true", help="HTTP/2 without TLS")
    made.add_argument("--faults", action="store_true", help="1 % dead tokens, 1 % answers 503")
    made.add_argument("--no-baselines", action="store_true", help="send ours only")
    made.add_argument("--h2load-requests", type=int, default=300_000)
    made.add_argument("--library-requests", type=int, default=5_000)
    made.add_argument("--py-spy", help="profile the first sender into this file (needs py-spy on PATH)")
    args = made.parse_args()
    if args.plain and args.provider == "hms":
        made.error("--plain is for HTTP/2 alone; access tokens of HMS are asked for with HTTP/1.1")
    return args


if __name__ == "__main__":
    main(measure, _arguments())
