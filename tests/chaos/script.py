"""What a run does and when, all drawn from its seed before it begins: the same seed is the same script.

Wall-clock times and process ids are the run's own, of course; the script holds offsets in seconds from its start.
"""

import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

SENDERS = 2
TOPICS = ("news", "sport", "weather", "offers")
_PUSH_KINDS = {"devices": 5, "users": 4, "topic": 2, "filter": 1, "raw": 3}
_KILLS = {"sender": 12, "api": 4, "postgres": 4, "cut": 2, "freeze": 1, "stall": 1}
SIGKILLS = ("sender", "api", "postgres")
_RAW_MOST = 40


class Device(msgspec.Struct):
    """A device at registration; `id` is chosen by the application, which the API allows."""

    id: str
    provider: str
    user: str
    topics: list[str]
    tokens: list[str]  # all that it ever has, in order


class Change(msgspec.Struct):
    """A device registers, changes its token, leaves its topics, or is removed."""

    at: float
    verb: str  # register, token, leave, remove
    device: str
    token: str


class Push(msgspec.Struct):
    """A push to send. Seconds are relative to when it is sent first; None = not wanted."""

    at: float
    uid: str
    kind: str
    recipients: list[str]  # ids, users, one topic, or raw tokens
    provider: str
    at_most_once: bool
    send_in: int | None
    expire_in: int | None
    cancel_after: float | None


class Kill(msgspec.Struct):
    """Something ends at once: a process by SIGKILL (sender, api, postgres), or all database connections (cut).

    Or it stands still for a while: a sender for longer than its lease (freeze), the database (stall).
    """

    at: float
    kind: str
    number: int


class Storm(msgspec.Struct):
    """An emulated push service misbehaves for a while: fault rules, or an order to its open connections."""

    at: float
    seconds: float
    provider: str
    name: str
    rules: list[dict[str, Any]]
    order: dict[str, Any]


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
    push_seconds: float = 0.4
    change_seconds: float = 0.4
    storm_seconds: float = 6.0
    slow_storms: bool = True  # those that a run recovers from only after a minute


def write_script(seed: int, kills: int, seconds: float, size: Size) -> Script:
    """Draw a run from its seed; each sort of event has a generator of its own."""
    population = _Population(random.Random(f"{seed} devices"), size)
    first = [population.register(0.0) for _ in range(size.devices)]
    changes = [population.change(at) for at in _times(random.Random(f"{seed} changes"), seconds, size.change_seconds)]
    ids = [each.device for each in first]
    draw = random.Random(f"{seed} pushes")
    return Script(
        seconds=seconds,
        devices=population.devices,
        first=first,
        changes=changes,
        pushes=[_push(draw, seed, n, at, ids, size) for n, at in enumerate(_times(draw, seconds, size.push_seconds))],
        kills=list(_kills(random.Random(f"{seed} kills"), kills, seconds)),
        storms=list(_storms(random.Random(f"{seed} storms"), seconds, size)),
    )


class _Population:
    """Devices as they come, change and go."""

    def __init__(self, draw: random.Random, size: Size) -> None:
        self._draw = draw
        self._users = size.users
        self.devices: dict[str, Device] = {}
        self._present: list[str] = []

    def register(self, at: float) -> Change:
        draw = self._draw
        provider = draw.choice(("apns", "fcm"))
        device = Device(
            id=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            provider=provider,
            user=f"user-{draw.randrange(self._users)}",
            topics=sorted(draw.sample(TOPICS, draw.randint(1, len(TOPICS)))),
            tokens=[_token(draw, provider)],
        )
        self.devices[device.id] = device
        self._present.append(device.id)
        return Change(at, "register", device.id, device.tokens[0])

    def change(self, at: float) -> Change:
        verb = self._draw.choice(("register", "register", "token", "token", "leave", "remove"))
        if verb == "register" or not self._present:
            return self.register(at)
        place = self._draw.randrange(len(self._present))
        device = self.devices[self._present[place]]
        if verb != "token":  # one that left its topics is not drawn again, so that it stays out
            self._present[place] = self._present[-1]
            self._present.pop()
            return Change(at, verb, device.id, "")
        device.tokens.append(_token(self._draw, device.provider))
        return Change(at, verb, device.id, device.tokens[-1])


def _token(draw: random.Random, provider: str) -> str:
    return f"{draw.getrandbits(256):064x}" if provider == "apns" else f"fcm-{draw.getrandbits(128):032x}"


def _times(draw: random.Random, seconds: float, mean: float) -> Iterator[float]:
    at = draw.expovariate(1 / mean)
    while at < seconds:
        yield at
        at += draw.expovariate(1 / mean)


def _push(draw: random.Random, seed: int, number: int, at: float, ids: list[str], size: Size) -> Push:
    kind = draw.choices(list(_PUSH_KINDS), list(_PUSH_KINDS.values()))[0]
    provider = draw.choice(("apns", "fcm")) if kind == "raw" else ""
    recipients: dict[str, Callable[[], list[str]]] = {
        "devices": lambda: draw.sample(ids, draw.randint(1, min(3, len(ids)))),
        "users": lambda: [f"user-{n}" for n in draw.sample(range(size.users), min(size.users, draw.randint(1, 3)))],
        "topic": lambda: [draw.choice(TOPICS)],
        "filter": lambda: [draw.choice(TOPICS)],
        "raw": lambda: [_token(draw, provider) for _ in range(draw.randint(1, _RAW_MOST))],
    }
    wide = kind in {"topic", "filter"}
    return Push(
        at=at,
        uid=f"chaos-{seed}-{number}",
        kind=kind,
        recipients=recipients[kind](),
        provider=provider,
        at_most_once=draw.random() < 0.25,
        send_in=draw.randint(1, 6) if draw.random() < 0.15 else None,
        expire_in=draw.randint(8, 20) if draw.random() < 0.15 else None,
        cancel_after=draw.uniform(0, 1.0) if draw.random() < (0.25 if wide else 0.06) else None,
    )


def _kills(draw: random.Random, count: int, seconds: float) -> Iterator[Kill]:
    """Spread over the run, one in each of `count` equal parts of it."""
    for n in range(count):
        at = (n + draw.random()) * seconds / count
        yield Kill(at, draw.choices(list(_KILLS), list(_KILLS.values()))[0], draw.randrange(SENDERS))


def _storms(draw: random.Random, seconds: float, size: Size) -> Iterator[Storm]:
    at = draw.uniform(0, size.storm_seconds)
    while at < seconds:
        length = draw.uniform(0.5, size.storm_seconds * 0.8)
        provider = draw.choice(("apns", "fcm"))
        chosen = _storm_kinds(draw, provider, size)
        name = draw.choice(sorted(chosen))
        rules, order = chosen[name]
        yield Storm(at, length, provider, name, rules, order)
        at += length + draw.uniform(0.2, size.storm_seconds * 0.4)


_Kinds = dict[str, tuple[list[dict[str, Any]], dict[str, Any]]]


def _storm_kinds(draw: random.Random, provider: str, size: Size) -> _Kinds:
    """Each storm that may come: fault rules in force while it lasts, and what is done to open connections first."""
    seed, skip = draw.getrandbits(31), draw.randrange(4)

    def rule(rate: float, count: int | None = None, **action: object) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return [{"match": {"rate": rate, "seed": seed, "count": count, "skip": skip}, "action": action}], {}

    back = draw.choice(("true", "minus:1", "minus:5", 0))
    kinds: _Kinds = {
        "delay": rule(1.0, delay_ms=draw.choice((100, 400, 1500))),
        "delay, some": rule(0.3, delay_ms=draw.choice((300, 3000))),
        "429 with Retry-After": rule(0.3, status=429, retry_after=1),
        "GOAWAY": rule(0.2, 3, goaway={"last_stream_id": back}),
        "GOAWAY on all": ([], {"goaway": {"last_stream_id": back}}),
        "one stream": ([], {"shrink_settings": {"max_concurrent_streams": 1}}),
        "dropped connections": ([], {"drop": True}),
        "dropped before the request": rule(0.3, 3, drop_connection=True),
        "dropped after the body": rule(0.3, 3, drop_after_body=True),
        "stream refused": rule(0.3, 20, rst_stream="REFUSED_STREAM"),
        "stream reset": rule(0.2, 5, rst_stream="INTERNAL_ERROR"),
    }
    if provider == "apns":
        kinds |= {"503": rule(0.3, status=503), "429": rule(0.3, status=429), "all 503": rule(1.0, status=503)}
    if size.slow_storms:
        kinds |= {
            "stalled connection": rule(0.3, 1, stall_connection=True),
            "answers withheld": rule(0.2, 5, stall=True),
        }
        if provider == "fcm":
            kinds |= {"503": rule(0.3, status=503), "429": rule(0.2, 3, status=429)}
    return kinds
