"""All benchmarks, one after the other, and their figures beside the targets of design.md section 6.

    python -m tests.bench                     everything, some twenty-five minutes
    python -m tests.bench --quick             the same with small numbers, for a look at the machinery
    python -m tests.bench --only latency api  some of them

Each program runs in a process of its own; exit 1 when one of them lost, doubled or mistook a push.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.bench.report import Figure, Report, figures_table
from tests.bench.sinks import PACKAGES, program

_MILLION = 1_000_000
_WEBPUSH = 300_000
_LIMIT_SECONDS = 1800


class Step(msgspec.Struct, frozen=True):
    """A run of a program: its name for `--only`, the module, its arguments in full and for `--quick`.

    One without a `database` takes neither `--directory` nor `--limit-seconds`.
    """

    name: str
    module: str
    full: Sequence[str]
    quick: Sequence[str]
    database: bool = True


def _devices(full: int, *more: str, quick: int = 20_000) -> tuple[list[str], list[str]]:
    return ["--devices", str(full), *more], ["--devices", str(quick), *more]


STEPS = (
    Step("broadcast", "broadcast", *_devices(_MILLION, "--provider", "apns")),
    Step("broadcast", "broadcast", *_devices(_MILLION, "--provider", "fcm")),
    Step("broadcast", "broadcast", *_devices(_MILLION, "--provider", "mixed", "--faults")),
    Step("broadcast", "broadcast", *_devices(20_000, "--transport", "aioapns", "--no-baselines", quick=2_000)),
    Step("planning", "planning", *_devices(_MILLION)),
    Step("memory", "memory", ["--sizes", "10000", str(_MILLION)], ["--sizes", "1000", "20000"]),
    Step(
        "latency",
        "latency",
        ["--devices", str(_MILLION)],
        ["--devices", "20000", "--idle-pushes", "40", "--busy-seconds", "2", "--urgent-seconds", "3"],
    ),
    Step("api", "api", ["--devices", str(_MILLION)], ["--devices", "20000", "--calls", "500", "--half-seconds", "1"]),
    Step("scaling", "scaling", *_devices(_MILLION)),
    Step("webpush", "webpush", [], ["--pushes", "2000"], database=False),
    Step("webpush", "broadcast", *_devices(_WEBPUSH, "--provider", "webpush", quick=5_000)),
    Step("webpush", "broadcast", *_devices(_WEBPUSH, "--provider", "webpush", "--faults", quick=5_000)),
    Step("webpush", "scaling", *_devices(_WEBPUSH, "--provider", "webpush", "--senders", "1", "2", quick=5_000)),
    Step("hms", "broadcast", *_devices(_MILLION, "--provider", "hms")),
    Step("hms", "broadcast", *_devices(_MILLION, "--provider", "hms", "--transport", "http2", "--no-baselines")),
    Step("hms", "broadcast", *_devices(_MILLION, "--provider", "hms", "--faults", quick=100_000)),
    Step(
        "queues",
        "queues",
        [],
        ["--devices", "5000", "--singles", "500", "--rounds", "1", "--warm-up", "100", "--busy-seconds", "2"],
    ),
)
_MULTIPLEXER: tuple[list[str], list[str]] = ([], ["--requests", "20000", "--rounds", "1"])


def main() -> int:
    """Run what was asked for; the exit code."""
    args = _arguments()
    for name in PACKAGES:
        program(name)
    print(_machine(), flush=True)
    figures: list[Figure] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as temporary:
        directory = args.directory or temporary
        if "multiplexer" in args.only:
            figures += _multiplexer(quick=args.quick, failed=failed)
        for step in STEPS:
            if step.name in args.only:
                figures += _run(step, directory, quick=args.quick, failed=failed)
    print(f"\nSummary\n\n{figures_table(figures)}")
    for each in failed:
        print(f"FAILED RUN: {each}")
    return 1 if failed else 0


def _run(step: Step, directory: str, *, quick: bool, failed: list[str]) -> list[Figure]:
    """Run a program; its figures."""
    words = [*(step.quick if quick else step.full)]
    shown = " ".join([f"tests.bench.{step.module}", *words])
    if step.database:
        words += ["--directory", directory, "--limit-seconds", str(_LIMIT_SECONDS)]
    report = Path(directory) / f"report-{time.time_ns()}.json"
    command = [sys.executable, "-m", f"tests.bench.{step.module}", *words, "--json", str(report)]
    print(f"\n$ python -m {shown}", flush=True)
    Path(directory).mkdir(parents=True, exist_ok=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        failed.append(shown)
    if not report.exists():
        return []
    found = msgspec.json.decode(report.read_bytes(), type=Report).figures
    report.unlink()
    return found


def _multiplexer(*, quick: bool, failed: list[str]) -> list[Figure]:
    """The multiplexer alone against h2load: plain and over TLS, in both shapes."""
    found = []
    for options in (["--shape", "apns"], ["--shape", "apns", "--tls"], ["--shape", "fcm"], ["--shape", "fcm", "--tls"]):
        words = [*options, *_MULTIPLEXER[quick]]
        command = [sys.executable, str(Path(__file__).with_name("multiplexer.py")), *words]
        print(f"\n$ python tests/bench/multiplexer.py {' '.join(words)}", flush=True)
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="", flush=True)
        last = done.stdout.strip().rpartition("\n")[2]
        if done.returncode or "WRONG" in done.stdout or " x h2load" not in last:
            failed.append(f"multiplexer {' '.join(words)}")
            continue
        ratio = float(last.split("rate ")[1].split(" x")[0])
        what = f"multiplexer alone, {options[1]}{', TLS' if '--tls' in options else ''}, nginx"
        found.append(Figure(what, ">= 1.0 x h2load", f"{ratio:.2f} x", ratio >= 1.0))
    return found


def _machine() -> str:
    """Where the figures come from."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    words = [
        f"{cores} cores of {model}",
        f"{memory:.0f} GiB",
        platform.release(),
        f"Python {platform.python_version()}",
    ]
    for name, option in (("nginx", "-v"), ("h2load", "--version")):
        done = subprocess.run([program(name), option], check=False, capture_output=True, text=True)
        words.append((done.stdout or done.stderr).strip().replace("nginx version: ", ""))
    return ", ".join([*words, f"load before the start {load:.1f}"])


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["multiplexer", *dict.fromkeys(step.name for step in STEPS)]
    made.add_argument("--quick", action="store_true", help="small numbers: the figures mean little")
    made.add_argument("--only", nargs="+", choices=names, default=names, help="these programs")
    made.add_argument("--directory", help="keep PostgreSQL and its seeded databases here, for the next time")
    return made.parse_args()


if __name__ == "__main__":
    sys.exit(main())
