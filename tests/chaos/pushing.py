"""The pushes of a run: to whom, how, and what is done to them while they are sent; drawn from the seed."""

import random
from collections.abc import Callable, Iterator

import msgspec

from tests.chaos.population import PROVIDERS, TOPICS, new_token, times

_KINDS = {"devices": 5, "users": 4, "topic": 3, "filter": 2, "raw": 3, "all": 2, "condition": 2}
WIDE = ("topic", "filter", "all", "condition")
_RAW_MOST = 40
_LIMITS = {"drop": (1, 20_000), "hold": (2, 5_000)}


class Limit(msgspec.Struct):
    """A rate limit for each device: `rate` in `interval_ms`, shared by all pushes of a run that say the same."""

    drop: bool
    rate: int
    interval_ms: int


class Window(msgspec.Struct):
    """A window of local time that opens so many seconds after the push in UTC, for an hour."""

    opens_in: int
    no_zone_now: bool


class Push(msgspec.Struct):
    """A push to send. Seconds are relative to when it is answered first; None = not wanted.

    `pauses` are (seconds until it is paused, seconds until it is resumed), one after the other.
    """

    at: float
    uid: str
    kind: str
    recipients: list[str]  # ids, users, one topic, raw tokens; a topic and one to be without; none for all devices
    provider: str
    at_most_once: bool
    send_in: int | None
    expire_in: int | None
    cancel_after: float | None
    cancels: int = 1
    again: bool = False  # sent once more under its uid when all is said
    pauses: list[tuple[float, float]] = []
    max_rate: int | None = None
    templated: bool = False
    neutral: bool = False  # what it says is the same for every provider, which Tocsin puts in its words
    limit: Limit | None = None
    window: Window | None = None
    priority: str = ""


def pushes_of(seed: int, seconds: float, mean: float, ids: list[str], users: int) -> Iterator[Push]:
    """All pushes of a run, `mean` seconds apart."""
    draw, more = random.Random(f"{seed} pushes"), random.Random(f"{seed} features")
    for number, at in enumerate(times(draw, seconds, mean)):
        push = _push(draw, f"chaos-{seed}-{number}", at, ids, users)
        _add_features(more, push)
        yield push


def _push(draw: random.Random, uid: str, at: float, ids: list[str], users: int) -> Push:
    kind = draw.choices(list(_KINDS), list(_KINDS.values()))[0]
    provider = draw.choice(tuple(PROVIDERS)) if kind == "raw" else ""
    recipients: dict[str, Callable[[], list[str]]] = {
        "devices": lambda: draw.sample(ids, draw.randint(1, min(3, len(ids)))),
        "users": lambda: [f"user-{n}" for n in draw.sample(range(users), min(users, draw.randint(1, 3)))],
        "topic": lambda: [draw.choice(TOPICS)],
        "filter": lambda: [draw.choice(TOPICS)],
        "raw": lambda: [new_token(draw, provider) for _ in range(draw.randint(1, _RAW_MOST))],
        "all": list,
        "condition": lambda: draw.sample(TOPICS, 2),
    }
    wide = kind in WIDE
    return Push(
        at=at,
        uid=uid,
        kind=kind,
        recipients=recipients[kind](),
        provider=provider,
        at_most_once=draw.random() < 0.25,
        send_in=draw.randint(1, 6) if draw.random() < 0.15 else None,
        expire_in=draw.randint(8, 20) if draw.random() < 0.15 else None,
        cancel_after=_cancel_after(draw) if draw.random() < (0.25 if wide else 0.06) else None,
    )


def _cancel_after(draw: random.Random) -> float:
    return draw.uniform(0, 1.0) if draw.random() < 0.6 else draw.uniform(0, 5.0)


def _add_features(draw: random.Random, push: Push) -> None:
    """What is new to a push since the first runs: from a generator of its own, so that old seeds keep their pushes."""
    wide = push.kind in WIDE
    push.pauses = _pauses(draw) if draw.random() < (0.2 if wide else 0.07) else []
    push.cancels = 2 if draw.random() < 0.3 else 1
    push.again = draw.random() < 0.1
    push.priority = draw.choice(("urgent", "normal", "bulk")) if draw.random() < 0.3 else ""
    if draw.random() < (0.2 if wide or push.kind == "raw" else 0.02):
        push.max_rate = draw.choice((5, 20, 60, 150))
        if wide and push.max_rate < 60:  # not for minutes
            push.max_rate = 60
    push.neutral = draw.random() < 0.4
    if push.kind == "raw":
        return
    push.templated = draw.random() < 0.25
    limiting = draw.random()
    if limiting < 0.12:
        push.limit = _limit(draw.choice(("drop", "hold")))
    elif limiting < 0.2:
        push.window = Window(draw.randint(2, 6), draw.random() < 0.5)
        push.expire_in = draw.randint(10, 20)  # in the other zones it opens in hours


def _limit(kind: str) -> Limit:
    rate, interval_ms = _LIMITS[kind]
    return Limit(kind == "drop", rate, interval_ms)


def _pauses(draw: random.Random) -> list[tuple[float, float]]:
    return [(draw.uniform(0, 1.5), draw.uniform(0.5, 6.0)) for _ in range(draw.choice((1, 1, 2)))]
