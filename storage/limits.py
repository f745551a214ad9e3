"""Rate limits of recipients: exact sliding windows, kept in the database and shared by every sender."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import groupby
from operator import attrgetter

import msgspec

from storage.database import Database
from storage.pipeline import last_rows
from storage.queries import load

_QUERIES = load("limits")

_MICROSECONDS = 1_000_000
_DIGEST_BYTES = 16  # as in sql/limits.sql


class Policy(msgspec.Struct, frozen=True):
    """At most `rate` admissions of one key in any `interval_ms`, its beginning included and its end not."""

    rate: int
    interval_ms: int


class Admission(msgspec.Struct, frozen=True):
    """A recipient that asks to be admitted; several may share a key."""

    key: str

    def __repr__(self) -> str:
        return "Admission()"  # a key may be a user's name


class Verdict(msgspec.Struct, frozen=True):
    """Whether a recipient was admitted, and the time that counts, or from which to ask again, in Unix seconds."""

    admitted: bool
    at: float


class _Standing(msgspec.Struct):
    """What came of a key, and how one of its policies stands after that; times in microseconds."""

    key: int
    at: int
    admitted: int
    free: int
    times: list[int] | None


async def admit(
    database: Database,
    requests: Sequence[Admission],
    policies: Sequence[Policy],
    now: float,
    *,
    drop: bool,
    scope: str = "",
) -> list[Verdict]:
    """Admit what the policies allow at `now` (Unix seconds), in the order asked; a verdict for each request.

    In no interval of a policy are there more admissions of a key than its rate, whoever else asks at the same time. An
    admission counts for all policies or for none; a policy remembers those made under the same scope, key, rate and
    interval. The k-th request of a key that is not admitted gets the time at which the k-th slot becomes free if nobody
    else comes; with `drop` there is no next time, and it gets the time of the refusal. Nothing is reserved.

    The time that counts is `at`: a sender whose clock is behind the newest admission of a key goes by that one. The
    clocks of senders may differ by ten minutes, because what is past is remembered for so long.

    One transaction in one trip. The caller bounds how many it asks for: some hundred; a key holds back other callers
    with the same key until the end of it. Raises DatabaseUnavailableError; the admissions may count even so.
    """
    rules = tuple(dict.fromkeys(policies))
    if not requests or not rules:
        return [Verdict(admitted=True, at=now) for _ in requests]
    places: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        places.setdefault(request.key, []).append(place)
    standings = await _decide(database, places, rules, round(now * _MICROSECONDS), slots=not drop, scope=scope)
    verdicts: dict[int, Verdict] = {}
    for asking, (_, of_key) in zip(places.values(), groupby(standings, attrgetter("key")), strict=True):
        verdicts.update(zip(asking, _verdicts(list(of_key), rules, len(asking)), strict=True))
    return [verdicts[place] for place in range(len(requests))]


async def remove_forgotten(database: Database, now: float, most: int) -> int:
    """Remove up to `most` rows that no policy needs any more at `now` (Unix seconds); return how many."""
    return await database.execute(_QUERIES.remove_forgotten, {"now": now, "most": most})


async def _decide(
    database: Database,
    places: dict[str, list[int]],
    rules: tuple[Policy, ...],
    now: int,
    *,
    slots: bool,
    scope: str,
) -> list[_Standing]:
    prefixes = [_prefix(scope, rule) for rule in rules]
    params = {
        "digests": b"".join(_digest(prefix, key) for key in places for prefix in prefixes),
        "wanted": [len(asking) for asking in places.values()],
        "rates": [rule.rate for rule in rules],
        "widths": [_width(rule) for rule in rules],
        "now": now,
        "slots": slots,
    }
    return await last_rows(database, [(_QUERIES.lock, params), (_QUERIES.admit, params)], _Standing)


def _prefix(scope: str, rule: Policy) -> bytes:
    return f"{rule.rate}/{rule.interval_ms}/{len(scope)}/{scope}".encode()


def _digest(prefix: bytes, key: str) -> bytes:
    return sha256(prefix + key.encode()).digest()[:_DIGEST_BYTES]


def _width(rule: Policy) -> int:
    return rule.interval_ms * (_MICROSECONDS // 1000)


def _verdicts(standings: list[_Standing], rules: tuple[Policy, ...], asked: int) -> list[Verdict]:
    """The verdicts of one key: first those who were admitted, then the others with their slots."""
    first = standings[0]
    now = Verdict(admitted=True, at=first.at / _MICROSECONDS)
    waiting = asked - first.admitted
    if not waiting:
        return [now] * asked
    slots = [first.at] * waiting if first.times is None else _slots(standings, rules, waiting)
    return [now] * first.admitted + [Verdict(admitted=False, at=slot / _MICROSECONDS) for slot in slots]


def _slots(standings: list[_Standing], rules: tuple[Policy, ...], waiting: int) -> list[int]:
    """When each of those who wait could be admitted if nobody else came, in microseconds, ascending.

    For each policy the k-th of them comes `rate` places behind an admission that was made, or that of one before it.
    """
    slots: list[int] = []
    logs = [(each.free, each.times or [], rule.rate, _width(rule)) for each, rule in zip(standings, rules, strict=True)]
    for place in range(waiting):
        slot = standings[0].at
        for free, times, rate, width in logs:
            if place >= rate:
                slot = max(slot, slots[place - rate] + width)
            elif place >= free:
                slot = max(slot, times[place - free] + width)
        slots.append(slot)
    return slots
