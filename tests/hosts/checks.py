"""What a scenario finds, and the counting that they share."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import msgspec

from tests.hosts.services import Arrival


class Check(msgspec.Struct, frozen=True):
    """One thing that must hold, what was measured, and whether it held."""

    name: str
    measured: str
    ok: bool


class Section(msgspec.Struct):
    """What came of a scenario."""

    title: str
    checks: list[Check] = []

    def add(self, name: str, ok: bool, measured: object) -> None:
        """Note a check."""
        self.checks.append(Check(name, str(measured), ok))


def accepted(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Those that the service took."""
    return [each for each in arrivals if each.accepted]


def doubled(arrivals: Iterable[Arrival]) -> dict[str, int]:
    """Tokens that were taken more than once, and how often."""
    return {token: count for token, count in Counter(each.token for each in accepted(arrivals)).items() if count > 1}


def missing(arrivals: Iterable[Arrival], tokens: Collection[str]) -> int:
    """How many of these tokens nothing was taken for."""
    return len(set(tokens) - {each.token for each in accepted(arrivals)})


def shares(arrivals: Sequence[Arrival]) -> dict[str, float]:
    """The share of each peer."""
    counts = Counter(each.peer for each in arrivals)
    return {peer: count / len(arrivals) for peer, count in sorted(counts.items())}


def most_within(times: Iterable[float], seconds: float) -> int:
    """The most of these in any interval so long."""
    ordered = sorted(times)
    most = first = 0
    for place, at in enumerate(ordered):
        while at - ordered[first] >= seconds:
            first += 1
        most = max(most, place - first + 1)
    return most


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def sums(ledger: dict[str, int]) -> bool:
    """Whether a ledger sums: planned is all the rest."""
    return ledger.get("planned", 0) == sum(count for name, count in ledger.items() if name != "planned")
