"""How a benchmark says what it found: a table, figures against their targets, and what went wrong."""

import argparse
import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from server.children import StartError
from server.data_directory import DataDirectoryError
from server.embedded import EmbeddedError


class Figure(msgspec.Struct):
    """One figure of design.md section 6, or one that has no target there (`reached` None)."""

    what: str
    target: str
    measured: str
    reached: bool | None = None


class Report(msgspec.Struct):
    """What a program found. `faults`: lost, doubled or wrong answers; one makes the run a failed run."""

    title: str
    columns: list[str]
    rows: list[list[str]] = []
    figures: list[Figure] = []
    notes: list[str] = []
    faults: list[str] = []


class MissingProgramError(Exception):
    """A program that the benchmark needs is not installed; the text says which package brings it."""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows as an aligned Markdown table: the first column to the left, the others to the right."""
    widths = [max(len(row[n]) for row in [columns, *rows]) for n in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        aligned = [cells[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells[1:], widths[1:], strict=True))]
        return "| " + " | ".join(aligned) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(columns), rule, *map(line, rows)])


def figures_table(figures: Sequence[Figure]) -> str:
    """Figures beside their targets."""
    words = {True: "yes", False: "NO", None: ""}
    return table(
        ["what", "target", "measured", "reached"],
        [[each.what, each.target, each.measured, words[each.reached]] for each in figures],
    )


def show(report: Report) -> None:
    """Print it."""
    print(f"\n{report.title}\n\n{table(report.columns, report.rows)}\n")
    for note in report.notes:
        print(f"- {note}")
    if report.figures:
        print(f"\n{figures_table(report.figures)}")
    for fault in report.faults:
        print(f"FAULT: {fault}")
    print("every answer counted and right" if not report.faults else "FAILED RUN", flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the sorted `values` do not exceed; NaN of none."""
    if not values:
        return math.nan
    return values[min(len(values) - 1, max(0, math.ceil(share * len(values)) - 1))]


def milliseconds(seconds: float) -> str:
    """A time for a table."""
    return f"{seconds * 1000:.1f}"


def parser(document: str | None, devices: int) -> argparse.ArgumentParser:
    """The command line that every program has; `devices` is the default number."""
    made = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--devices", type=int, default=devices, help="stored devices (default: %(default)s)")
    made.add_argument("--directory", help="keep PostgreSQL and its seeded databases here, for the next program")
    made.add_argument("--sink", choices=["nginx", "emulator"], default="nginx", help="what stands for the provider")
    made.add_argument("--limit-seconds", type=float, default=1800.0, help="give up after this long")
    made.add_argument("--json", help="also write the report to this file")
    made.add_argument("--log-level", default="error", help="of the server's processes")
    return made


def main(measure: Callable[[argparse.Namespace], Awaitable[Report]], args: argparse.Namespace) -> None:
    """Run a benchmark; exit 1 when it failed, 2 when something that it needs is missing."""

    async def bounded() -> Report:
        async with asyncio.timeout(args.limit_seconds):
            return await measure(args)

    try:
        report = asyncio.run(bounded())
    except (MissingProgramError, DataDirectoryError, EmbeddedError, StartError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except TimeoutError:
        sys.stderr.write(f"FAILED RUN: not done within {args.limit_seconds:g} seconds\n")
        sys.exit(1)
    show(report)
    if args.json:
        Path(args.json).write_bytes(msgspec.json.encode(report))
    sys.exit(1 if report.faults else 0)
