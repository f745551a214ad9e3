"""The order of service in Redis: what the scripts of this folder keep, as calls.

For each credential and lane there are, in one hash slot: `work`, a stream through which every claimed batch goes, with
the consumer group `tocsin`; `known`, the numbers of all batches here; `fresh:<scope>`, batches by their turn;
`waited:<scope>`, those that wait for a time; `scopes`; and `whole`, a mark that nothing was lost since it was set.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from delivery.queues.redis_link import RedisLink
from delivery.queues.redis_node import Word
from delivery.queues.redis_script import Call, load
from storage.queue_order import Standing

GROUP = "tocsin"
LEASE_SECONDS = 60.0
"""After this idle time an entry may be claimed by others; entries of a worker with a shorter lease begin older."""
MOST_BATCHES = 256
_CONSUMER_KEPT_MS = 3_600_000
_LEASES_SECONDS = 1.0  # how often a worker looks for leases that ended
_PART = 500
"""Batches in one call: a script keeps a server to itself while it runs (500: about a millisecond)."""

_ADD = load("queue_add")
_CLAIM = load("queue_claim")
_DONE = load("queue_done")
_BACK = load("queue_back")
_KEEP = load("queue_keep")
_LEAVE = load("queue_leave")
_WHOLE = load("queue_whole")

_EMPTIED_ROW, _WHOLE_ROW = 0, 1  # what a claim says of a row; else it waits for its mark

Item = TypeVar("Item")
Row = tuple[str, int]
"""A credential and a lane."""


class Offer(NamedTuple):
    """A batch that was taken in Redis, and where it stood; whether it can be had is for the database to say."""

    row: Row
    entry: bytes
    batch: int
    recipients: int
    scope: bytes
    turn: bytes
    due: bytes


class Held(NamedTuple):
    """The entry by which the consumer group remembers a batch."""

    row: Row
    entry: bytes


class RedisOrder:
    """The queue of one installation as one worker sees it; `prefix` begins all its keys."""

    def __init__(self, link: RedisLink, prefix: str, worker: str, lease_seconds: float) -> None:
        self._link = link
        self._prefix = prefix
        self._worker = worker
        self._idle_ms = max(0, int((LEASE_SECONDS - lease_seconds) * 1000))
        self._looked_at: dict[Row, float] = {}

    @property
    def generation(self) -> int:
        """Rises when something may have been lost."""
        return self._link.generation

    async def add(self, standings: Sequence[Standing]) -> tuple[int, dict[Row, bool]]:
        """Put batches where they stand, except those that are known.

        Returns how many were new, and the rows of which nothing was there, which are torn as `take` has it.
        """
        rows: list[Row] = []
        calls = []
        for row, found in _by_row(standings).items():
            for part in _parts(found):
                words: list[Word] = [GROUP, *(word for each in part for word in _words(each))]
                calls.append(Call(_ADD, self._keys(row, "work", "known", "scopes", "whole"), words))
                rows.append(row)
        answers = await self._link.run(calls) if calls else []
        lost = {row: True for row, answer in zip(rows, answers, strict=True) if answer[1]}
        return sum(answer[0] for answer in answers), lost

    async def take(
        self, room: Mapping[Row, int], paused: Mapping[str, Iterable[str]], now: float
    ) -> tuple[list[Offer], dict[Row, bool]]:
        """Take batches with about so many recipients from each row.

        `paused` are scopes to leave alone by credential; `now` is the database's time. Returns the offers in their
        order, and the rows of which something may be missing, with whether that was lost just now.
        """
        rows = [row for row, recipients in room.items() if recipients > 0]
        calls = [self._take(row, room[row], paused.get(row[0], ()), now) for row in rows]
        offers: list[Offer] = []
        torn: dict[Row, bool] = {}
        for row, answer in zip(rows, await self._link.run(calls) if calls else [], strict=True):
            if answer[0] != _WHOLE_ROW:
                torn[row] = answer[0] == _EMPTIED_ROW
            for n in range(1, len(answer), 5):
                entry, member, scope, turn, due = answer[n : n + 5]
                offers.append(Offer(row, entry, int(member[:16]), int(member[17:]), scope, turn, due))
        return offers, torn

    async def done(self, batches: Mapping[int, Held]) -> None:
        """Forget batches that have left the queue."""
        parts: dict[Row, list[bytes | str]] = defaultdict(list)
        for batch, held in batches.items():
            parts[held.row] += [held.entry, _number(batch)]
        calls = [
            Call(_DONE, self._keys(row, "work", "known"), [GROUP, *part])
            for row, words in parts.items()
            for part in _parts(words, 2 * _PART)
        ]
        if calls:
            await self._link.run(calls)

    async def give_back(self, offers: Sequence[Offer], standings: Mapping[int, Standing]) -> None:
        """Put batches that could not be had to where they stand by now, or else stood."""
        parts: dict[Row, list[Word]] = defaultdict(list)
        for offer in offers:
            now = standings.get(offer.batch)
            parts[offer.row].append(offer.entry)
            if now is not None:
                parts[offer.row] += _words(now)
            else:
                parts[offer.row] += [f"{_number(offer.batch)}:{offer.recipients}", offer.scope, offer.turn, offer.due]
        group: list[Word] = [GROUP]
        calls = [Call(_BACK, self._keys(row, "work", "known", "scopes"), group + words) for row, words in parts.items()]
        if calls:
            await self._link.run(calls)

    async def keep(self, held: Iterable[Held]) -> None:
        """Keep the leases of these entries."""
        parts: dict[Row, list[bytes]] = defaultdict(list)
        for each in held:
            parts[each.row].append(each.entry)
        calls = [
            Call(_KEEP, self._keys(row, "work"), [GROUP, self._worker, self._idle_ms, *part])
            for row, entries in parts.items()
            for part in _parts(entries)
        ]
        if calls:
            await self._link.run(calls)

    async def let_go(self) -> None:
        """Let others have whatever this worker has taken and not finished, as if its leases had ended."""
        words: list[Word] = [GROUP, self._worker, int(LEASE_SECONDS * 1000)]
        calls = [Call(_LEAVE, self._keys(row, "work"), words) for row in self._looked_at]
        if calls:
            await self._link.run(calls)

    async def mark_whole(self, rows: Iterable[Row]) -> list[Row]:
        """Write down that these rows lack nothing; those where it turned out that they do."""
        words: list[Word] = [GROUP, _CONSUMER_KEPT_MS]
        rows = list(rows)
        calls = [Call(_WHOLE, self._keys(row, "work", "known", "scopes", "whole"), words) for row in rows]
        answers = await self._link.run(calls) if calls else []
        return [row for row, answer in zip(rows, answers, strict=True) if not answer]

    async def rows(self) -> set[Row]:
        """The credentials and lanes that have keys here."""
        found: set[Row] = set()
        async for key in self._link.scan(f"{self._prefix}:{{*}}:known"):
            credential, _, lane = key[len(self._prefix) + 2 : key.rindex("}")].rpartition("|")
            found.add((credential, int(lane)))
        return found

    async def drop(self, credentials: Iterable[str]) -> None:
        """Delete all keys of these credentials."""
        for credential in credentials:
            async for key in self._link.scan(f"{self._prefix}:{{{credential}|*"):
                await self._link.command("DEL", key)

    async def take_turn(self, what: str, seconds: float) -> bool:
        """Whether this worker is the one who does this for the next seconds."""
        key = f"{self._prefix}:{what}"
        return bool(await self._link.command("SET", key, self._worker, "NX", "PX", max(1, int(seconds * 1000))))

    def _take(self, row: Row, recipients: int, paused: Iterable[str], now: float) -> Call:
        keys = self._keys(row, "work", "known", "scopes", "whole")
        looked_at = time.monotonic()
        late: str | int = ""
        if looked_at - self._looked_at.get(row, float("-inf")) >= _LEASES_SECONDS:
            self._looked_at[row] = looked_at
            late = int(LEASE_SECONDS * 1000)
        words = [GROUP, self._worker, now * 1000, recipients, MOST_BATCHES, late, self._idle_ms, *paused]
        return Call(_CLAIM, keys, words)

    def _keys(self, row: Row, *names: str) -> list[str]:
        credential, lane = row
        return [f"{self._prefix}:{{{credential}|{lane}}}:{name}" for name in names]


def _number(batch: int) -> str:
    return f"{batch:016d}"


def _words(standing: Standing) -> tuple[str, str, str | int, float]:
    member = f"{_number(standing.id)}:{standing.recipient_count}"
    return member, standing.scope, "" if standing.turn is None else standing.turn, standing.due_ms


def _by_row(standings: Iterable[Standing]) -> dict[Row, list[Standing]]:
    rows: dict[Row, list[Standing]] = defaultdict(list)
    for each in standings:
        rows[each.credential, each.lane].append(each)
    return rows


def _parts(words: Sequence[Item], size: int = _PART) -> list[Sequence[Item]]:
    return [words[n : n + size] for n in range(0, len(words), size)]
