"""What a recipient costs in the sender, by step: reads the folded stacks that `broadcast --py-spy FILE` wrote.

    python -m tests.bench.steps FILE --cpu 5.5

`--cpu` is the sender's CPU in that run, in ms for 1,000 recipients; without it shares alone are printed.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.bench.report import table

_OTHERS = ("(delivery/providers/webpush", "(delivery/providers/hms")
STEPS: Sequence[tuple[str, Sequence[str]]] = (
    ("encryption", ("(delivery/providers/webpush_encryption.py",)),
    ("httpx: requests and answers", ("(httpx/", "(httpcore/", "(h11/", "(anyio/")),
    ("claim: statement, rows to batches", ("Sender._claim (", "PostgresQueue.claim (", "Queue.claim (")),
    ("settle: outcomes to columns, statement", ("Settler.", "PostgresQueue.settle (", "Queue.settle (")),
    ("plan: statements only", ("Planner.",)),
    ("leases, pauses", ("Sender.keep (", "Sender._keep_leases (")),
    ("TLS: encrypt and decrypt", ("SSLObject.", "SSLProtocol.")),
    ("TLS and socket, out", ("Connection._flush (",)),
    ("answers: frames to results", ("Receiver.", "Connection._after_feed (")),
    (
        "render: paths, bodies, ids",
        ("message_ids (", "FcmMessage.", "Spliced.", "ApnsAttempt.", "ApnsProvider.submit (", *_OTHERS),
    ),
    ("requests: frames", ("Sender._write", "Sender.send (", "Streams.", "Connection.fill (", "Fleet._pump (")),
    ("start of a batch", ("Sender._start (", "Sender._submit (")),
)
"""The first step with a name that occurs in a stack has it; frames of `delivery/http2` name their class."""

_LOOP = "event loop and sockets"
_OTHER = "other Python"


def step_of(stack: str) -> str:
    """The step a folded stack belongs to: what is named innermost decides."""
    for frame in reversed(stack.split(";")):
        for name, marks in STEPS:
            if any(mark in frame for mark in marks):
                return name
    return _OTHER if "(delivery/" in stack or "(psycopg" in stack else _LOOP


def shares(lines: Sequence[str]) -> Counter[str]:
    """Samples by step."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        if samples.isdigit():
            found[step_of(stack)] += int(samples)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--cpu", type=float, default=0.0, help="ms of the sender for 1,000 recipients")
    args = parser.parse_args()
    found = shares(args.file.read_text().splitlines())
    total = sum(found.values())
    rows = [
        [name, f"{count / total:.0%}", f"{count / total * args.cpu:.2f}" if args.cpu else ""]
        for name, count in found.most_common()
    ]
    print(table(["step", "share", "ms/1,000"], rows))


if __name__ == "__main__":
    main()
