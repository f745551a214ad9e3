"""Puts rows into the record as settling does, and consumers that remember what they were given."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from delivery.events import Event, told
from delivery.feed import FeedOptions, Moving, Reader
from storage import feed
from storage.database import Connection, Database
from storage.feed import Span, Stream

OPTIONS = FeedOptions(poll_seconds=0.01, standby_seconds=0.01, persist_seconds=0.0)

_PUSH = b"""
insert into pushes (id, uid, digest, request, delivery, lane, state, providers, accepted_at, send_at, plan_at,
                    analytics_uid, webhook)
values (%(id)s, %(uid)s, '', '', 'at_least_once', 1, 'done', '{}', now(), now(), now(), %(analytics_uid)s,
        %(webhook)s::jsonb)
"""
_OUTCOME = b"""
insert into outcomes (push_id, batch_id, provider, credential, environment, platform, attempt, started_at, settled_at,
                      device_ids, tokens, message_ids, positions, outcomes, reasons, statuses)
values (%(push_id)s, %(batch_id)s, %(provider)s, %(credential)s, '', %(platform)s, %(attempt)s, now(),
        coalesce(to_timestamp(%(at)s::float8), now()), %(devices)s::uuid[], %(tokens)s, %(message_ids)s,
        %(positions)s::integer[], %(outcomes)s::text[], %(reasons)s::text[], %(statuses)s::integer[])
"""
_RECEIPT = b"insert into receipts (analytics_uid, status, device_id) values (%(analytics_uid)s, %(status)s, %(device)s)"
_DEVICE = (
    b"insert into devices (id, provider, platform, token, state)"
    b" values (%(id)s, 'fcm', 'android', %(token)s, %(state)s)"
)

Exceptions = dict[int, tuple[str, str, int]]


def device(number: int) -> str:
    """The id of a device of the tests."""
    return str(uuid.UUID(int=number))


async def add_push(
    target: Database | Connection, uid: str, *, analytics_uid: str = "", webhook: str | None = None
) -> str:
    """Write a push; its id."""
    push_id = str(uuid.uuid4())
    given = {"id": push_id, "uid": uid, "analytics_uid": analytics_uid, "webhook": webhook}
    await target.execute(_PUSH, given)
    return push_id


async def add_outcome(
    target: Database | Connection,
    batch_id: int,
    *,
    push_id: str = device(0),
    provider: str = "fcm",
    credential: str = "fcm",
    platform: str = "android",
    attempt: int = 1,
    at: float | None = None,
    devices: Sequence[str] | None = None,
    tokens: str | None = None,
    message_ids: bytes = b"",
    exceptions: Exceptions | None = None,
) -> None:
    """Write what came of an attempt of a batch: to one device unless told otherwise, all accepted but `exceptions`."""
    rest = exceptions or {}
    parameters = {
        "push_id": push_id,
        "batch_id": batch_id,
        "provider": provider,
        "credential": credential,
        "platform": platform,
        "attempt": attempt,
        "at": at,
        "devices": None if tokens is not None else list(devices or [device(batch_id)]),
        "tokens": tokens,
        "message_ids": message_ids,
        "positions": list(rest),
        "outcomes": [outcome for outcome, _, _ in rest.values()],
        "reasons": [reason for _, reason, _ in rest.values()],
        "statuses": [status for _, _, status in rest.values()],
    }
    await target.execute(_OUTCOME, parameters)


async def add_receipt(target: Database, analytics_uid: str, status: str = "delivered", device_id: str = "d") -> None:
    """Write what a device reported."""
    await target.execute(_RECEIPT, {"analytics_uid": analytics_uid, "status": status, "device": device_id})


async def add_device(target: Database, device_id: str, token: str, state: str = "active") -> None:
    """Write a device."""
    await target.execute(_DEVICE, {"id": device_id, "token": token, "state": state})


class Collector:
    """A consumer that keeps the events; `failing` is called with each page before it is kept, and may raise."""

    streams: tuple[Stream, ...] = ("outcomes",)

    def __init__(
        self, database: Database, *, from_start: bool = True, repeats: bool = False, name: str = "collector"
    ) -> None:
        self.name = name
        self.from_start = from_start
        self.repeats = repeats
        self.failing: Callable[[Span], None] | None = None
        self.events: list[Event] = []
        self.spans: list[Span] = []
        self._database = database

    async def take(self, span: Span, moving: Moving) -> None:
        self.spans.append(span)
        if self.failing is not None:
            self.failing(span)
        found = [event async for each in told(self._database, span) for event in each.events]
        async with moving():
            pass
        self.events += found

    @property
    def batches(self) -> list[int]:
        """The batches of the events, in the order they came."""
        return [int(event.id.split("-")[0]) for event in self.events]


async def read_all(reader: Reader) -> None:
    """Read until nothing more is there."""
    while await reader.step():
        pass


async def caught_up(database: Database, name: str) -> None:
    """Wait until this consumer has read what is in the database now."""
    now: Any = (await database.values(b"select extract(epoch from clock_timestamp())::float8", {}))[0][0]
    async with asyncio.timeout(20):
        while True:
            cursor = await feed.cursor(database, name)
            if cursor is not None and cursor.read_to > now:
                return
