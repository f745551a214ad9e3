"""What a run came to, as text and as a line of docs/chaos.md."""

from pathlib import Path

from tests.chaos.run import Outcome
from tests.chaos.script import SIGKILLS, SWITCH

_HEAD = (
    "| date | queue | seed | minutes | kills | sender | api | postgres | cut | freeze | stall | redis | emptied | away "
    "| switched | storms | deaths | pushes | paused | cancelled | paced | limited | recipients | arrivals | unknown "
    "| doubled, explained | doubled, unexplained | lost | late | unsettled |"
)
_COLUMNS = ("sender", "api", "postgres", "cut", "freeze", "stall", "redis", "redis flush")
_AWAY = ("redis stall", "redis cut", "redis silence", "redis full")
_FINDINGS_SHOWN = 12


def text_of(outcome: Outcome) -> str:
    """Return the report for a terminal."""
    verdict, order = outcome.verdict, outcome.order
    facts: dict[str, object] = {
        "seed": order.seed,
        "queue": order.queue,
        "minutes": round(order.seconds / 60, 2),
        "kills": f"{_killed(outcome)} ({_words(outcome.kills)})",
        "storms": f"{sum(outcome.storms.values())} ({_words(outcome.storms)})",
        "device changes": _words(outcome.changes),
        "calls repeated": outcome.repeated_calls,
        "processes that ended by themselves": f"{len(outcome.ended_alone)} {outcome.ended_alone or ''}".strip(),
        "pushes": f"{verdict.pushes} (refused: {verdict.refused})",
        "of these": _words(outcome.done),
        "recipients": f"{verdict.recipients} ({_words(verdict.ends)})",
        "not accepted at once": _words(verdict.reasons),
        "arrivals": f"{verdict.arrivals} ({_words(verdict.arrived_at)})",
        "devices found dead": verdict.dead,
        "attempts with unknown outcome": verdict.unknown,
        "claims abandoned by a kill": verdict.abandoned,
        "doubled, explained": verdict.explained,
        "doubled or wrong, unexplained": verdict.count("unexplained"),
        "lost": verdict.count("lost"),
        "late": verdict.count("late"),
        "unsettled": verdict.count("unsettled"),
        "drained": f"{'yes' if outcome.drained else 'NO'}, {outcome.drain_seconds:.1f} s after the last fault",
    }
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {value}" for name, value in facts.items()]
    for kind in ("lost", "unexplained", "late", "unsettled"):
        found = [each for each in verdict.findings if each.kind == kind]
        lines += [f"{kind}: {each.push}: {each.text}" for each in found[:_FINDINGS_SHOWN]]
    lines += [f"last words: {each}" for each in outcome.last_words[:_FINDINGS_SHOWN]]
    if outcome.directory:
        lines.append(f"kept for a look: {outcome.directory}")
    return "\n".join(lines) + "\n"


def append(path: Path, outcome: Outcome, date: str) -> None:
    """Add a line to the report file, whose last table has these columns."""
    text = path.read_text() if path.exists() else "# Chaos runs\n"
    if _HEAD not in text:
        text = f"{text.rstrip()}\n\n{_HEAD}\n|{'---|' * (_HEAD.count('|') - 1)}\n"
    path.write_text(f"{text.rstrip()}\n{_line(outcome, date)}\n")


def _line(outcome: Outcome, date: str) -> str:
    verdict, kills = outcome.verdict, outcome.kills
    cells = [
        date,
        outcome.order.queue,
        outcome.order.seed,
        round(outcome.order.seconds / 60, 2),
        _killed(outcome),
        *(kills.get(kind, 0) for kind in _COLUMNS),
        sum(kills.get(kind, 0) for kind in _AWAY),
        kills.get(SWITCH, 0),
        sum(outcome.storms.values()),
        outcome.changes.get("die", 0),
        verdict.pushes,
        *(outcome.done[name] for name in ("paused", "cancelled", "paced", "limited")),
        verdict.recipients,
        verdict.arrivals,
        verdict.unknown,
        verdict.explained,
        *(verdict.count(kind) for kind in ("unexplained", "lost", "late", "unsettled")),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _killed(outcome: Outcome) -> int:
    """SIGKILLs: the rest is no kill."""
    return sum(count for kind, count in outcome.kills.items() if kind in SIGKILLS)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
