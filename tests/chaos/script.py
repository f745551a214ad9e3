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
_HARMS = {"redis": 8, "redis flush": 3, "redis stall": 3, "redis cut": 3, "redis silence": 2, "redis full": 2}
REDIS = tuple(_HARMS)
SWITCH = "switch"
SIGKILLS = ("sender", "api", "postgres", "redis")
QUEUES = ("postgres", "redis", "both")
"""What keeps the order of the queue for the senders: PostgreSQL, Redis, or for one this and for the other that."""


class Kill(msgspec.Struct):
    """Something ends at once: a process by SIGKILL (sender, api, postgres, redis), or all database connections (cut).

    Or it stands still for a while: a sender for longer than its lease (freeze), the database (stall). Redis is also
    emptied, stopped, cut off, not heard of, full; a sender is started anew with the other queue (switch). `seconds` is
    how long, `how` with what Redis comes back, or whether a sender is told to stop or killed.
    """

    at: float
    kind: str
    number: int
    seconds: float = 0.0
    how: str = ""


class Script(msgspec.Struct):
    """A whole run."""

    seconds: float
    queue: str
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


def write_script(seed: int, kills: int, seconds: float, size: Size, queue: str = QUEUES[0]) -> Script:
    """Draw a run from its seed; each sort of event has a generator of its own."""
    dying = random.Random(f"{seed} deaths")
    population = Population(random.Random(f"{seed} devices"), dying, size.users)
    first = [population.register(0.0) for _ in range(size.devices)]
    means = (size.change_seconds, size.death_seconds)
    changes = list(changes_of(population, random.Random(f"{seed} changes"), dying, seconds, means))
    ids = [each.device for each in first]
    return Script(
        seconds=seconds,
        queue=queue,
        devices=population.devices,
        first=first,
        changes=changes,
        pushes=list(pushes_of(seed, seconds, size.push_seconds, ids, size.users)),
        kills=_all_kills(seed, kills, seconds, queue),
        storms=list(storms_of(seed, seconds, size.storm_seconds, slow=size.slow_storms)),
    )


def _all_kills(seed: int, count: int, seconds: float, queue: str) -> list[Kill]:
    kills = list(_kills(random.Random(f"{seed} kills"), count, seconds))
    if queue != QUEUES[0]:
        kills += _harms(random.Random(f"{seed} redis"), max(2, count // 3), seconds)
        kills += _switches(random.Random(f"{seed} switches"), count // 8, seconds)
    return sorted(kills, key=lambda each: each.at)


def _harms(draw: random.Random, count: int, seconds: float) -> Iterator[Kill]:
    """What happens to Redis; a kill is the first of it."""
    for n in range(count):
        at = (n + draw.random()) * seconds / count
        kind = draw.choices(list(_HARMS), list(_HARMS.values()))[0] if n else REDIS[0]
        yield Kill(at, kind, 0, draw.uniform(0.2, 4.0), draw.choice(("empty", "kept", "old")))


def _switches(draw: random.Random, count: int, seconds: float) -> Iterator[Kill]:
    for n in range(count):
        at = (n + draw.random()) * seconds / count
        yield Kill(at, SWITCH, draw.randrange(SENDERS), how=draw.choice(("stop", "kill")))


def _kills(draw: random.Random, count: int, seconds: float) -> Iterator[Kill]:
    """Spread over the run, one in each of `count` equal parts of it."""
    for n in range(count):
        at = (n + draw.random()) * seconds / count
        yield Kill(at, draw.choices(list(_KILLS), list(_KILLS.values()))[0], draw.randrange(SENDERS))
