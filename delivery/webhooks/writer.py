"""Turns the record into deliveries: batches of events for each webhook, written with the cursor, each once."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from delivery.events import Event, Told, told
from delivery.feed import Moving
from delivery.webhooks.hooks import Hook, credential_hooks, push_hook
from storage import credentials, webhooks
from storage.database import Database
from storage.feed import Span, Stream
from storage.ids import new_id
from storage.vault import Vault
from storage.webhooks import NewDelivery

MOST_EVENTS = 500
"""Events of a delivery."""
_AT_ONCE = 8  # a megabyte or so: more in one statement would keep the worker from sending meanwhile
_REFRESH_SECONDS = 10.0
_LOG = logging.getLogger(__name__)


class _Body(msgspec.Struct):
    events: Sequence[Event]


class WebhookWriter:
    """A consumer of the record (delivery/feed.py); `wake` is called when there is something to deliver."""

    name = "webhooks"
    streams: tuple[Stream, ...] = ("outcomes", "receipts")
    from_start = True  # so that nothing is missed; what is older than webhooks names none
    repeats = False

    def __init__(self, database: Database, vault: Vault, wake: Callable[[], None]) -> None:
        self._database = database
        self._vault = vault
        self._wake = wake
        self._hooks: Mapping[str, Hook] = {}
        self._read_at = float("-inf")

    async def take(self, span: Span, moving: Moving) -> None:
        """Write the deliveries that this page asks for, and move the cursor with them."""
        await self._refresh()
        events: dict[Hook, list[Event]] = {}
        async for each in told(self._database, span, list(self._hooks)):
            for hook in self._wanted(each):
                chosen = [event for event in each.events if event.outcome in hook.kinds]
                if chosen:
                    events.setdefault(hook, []).extend(chosen)
            await asyncio.sleep(0)  # others of this worker have their turn
        deliveries = []
        for hook, found in events.items():
            for delivery in _deliveries(hook, found):
                deliveries.append(delivery)
                await asyncio.sleep(0)
        async with moving() as connection:
            for first in range(0, len(deliveries), _AT_ONCE):
                await webhooks.add(connection, deliveries[first : first + _AT_ONCE])
        if deliveries:
            self._wake()

    def _wanted(self, each: Told) -> Iterator[Hook]:
        if each.webhook is not None:
            try:
                yield push_hook(each.webhook)
            except (msgspec.DecodeError, ValueError):
                _LOG.exception("the webhook of a push cannot be read", extra={"credential": each.credential})
        if (hook := self._hooks.get(each.credential)) is not None:
            yield hook

    async def _refresh(self) -> None:
        """Read again which credentials have a webhook, once in a while."""
        if time.monotonic() > self._read_at + _REFRESH_SECONDS:
            self._hooks = credential_hooks(await credentials.load(self._database, self._vault))
            self._read_at = time.monotonic()


def _deliveries(hook: Hook, events: list[Event]) -> Iterator[NewDelivery]:
    left = iter(events)
    while part := list(islice(left, MOST_EVENTS)):
        body = msgspec.json.encode(_Body(part))
        yield NewDelivery(new_id(), hook.url, hook.credential, hook.sealed, body, len(part))
