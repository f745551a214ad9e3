"""What a run does and when, all drawn from its seed before it begins: the same seed is the same script.

Wall-clock times and process ids are the run's own, of course; the script holds offsets in seconds from its start.
"""

import random
from collections.abc import Iterator

import msgspec

from tests.chaos.population import Change, Device, Population, changes_of
from tests.chaos.pushing import Push, pushes_of
from tests.chaos.storms import Storm, storms_of

SENDERS = 2
_KILLS = {"sender": 28, "api": 9, "postgres": 5, "cut": 4, "freeze": 2, "stall": 1}
SIGKILLS = ("sender", "api", "postgres")


class Kill(msgspec.Struct):
    """Something ends at once: a process by SIGKILL (sender, api, postgres), or all database connections (cut).

    Or it stands still for a while: a sender for longer than its lease (freeze), the database (stall).
    """

    at: float
    kind: str
    number: int


class Script(msgspec.Struct):
    """A whole run."""

    seconds: float
    devices: dict[str, Device]
    first: list[Change]
    changes: list[Change]
    pushes: list[Push]
    kills: list[Kill]
    storms: list[Storm]


class Size(msgspec.Struct, frozen=True):
    """How much happens: devices at the start, and seconds between events of each sort."""

    devices: int = 500
    users: int = 100
    push_seconds: float = 0.3
    change_seconds: float = 0.4
    death_seconds: float = 3.0
    storm_seconds: float = 6.0
    slow_storms: bool = True  # those that a run recovers from only after a minute


def write_script(seed: int, kills: int, seconds: float, size: Size) -> Script:
    """Draw a run from its seed; each sort of event has a generator of its own."""
    dying = random.Random(f"{seed} deaths")
    population = Population(random.Random(f"{seed} devices"), dying, size.users)
    first = [population.register(0.0) for _ in range(size.devices)]
    means = (size.change_seconds, size.death_seconds)
    changes = list(changes_of(population, random.Random(f"{seed} changes"), dying, seconds, means))
    ids = [each.device for each in first]
    return Script(
        seconds=seconds,
        devices=population.devices,
        first=first,
        changes=changes,
        pushes=list(pushes_of(seed, seconds, size.push_seconds, ids, size.users)),
        kills=list(_kills(random.Random(f"{seed} kills"), kills, seconds)),
        storms=list(storms_of(seed, seconds, size.storm_seconds, slow=size.slow_storms)),
    )


def _kills(draw: random.Random, count: int, seconds: float) -> Iterator[Kill]:
    """Spread over the run, one in each of `count` equal parts of it."""
    for n in range(count):
        at = (n + draw.random()) * seconds / count
        yield Kill(at, draw.choices(list(_KILLS), list(_KILLS.values()))[0], draw.randrange(SENDERS))
