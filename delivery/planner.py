"""Turns the audience of a push into batches, page by page; a crash resumes at the page it was on.

Reading a page, writing its batches and moving the checkpoint happen in one statement, in one transaction with the
lock on the push: nobody twice, nobody missed. Rows never travel to Python. A push whose time is over is planned all
the same, and its batches expire unsent: so the ledger accounts for everybody it was for.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

import msgspec

from storage import pushes
from storage.database import Connection, Database, DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_OUTAGE_SECONDS = 0.5


class Audience(msgspec.Struct, omit_defaults=True):
    """Who a planned push is for, as it is stored: one of topics, raw addresses, or a filter over the devices."""

    kind: str
    topics: list[str] | None = None
    ids: list[str] | None = None
    users: list[str] | None = None
    providers: list[str] | None = None
    platforms: list[str] | None = None
    tokens: list[str] | None = None
    provider_ids: list[str] | None = None
    locales: list[str] | None = None
    provider: str = ""
    provider_id: str = ""
    target: str = ""


class PlannerOptions(msgspec.Struct, frozen=True):
    """`ahead_batches`: how many batches of one push may wait in the queue before its planning pauses."""

    page_size: int = 10_000
    batch_size: int = 500
    ahead_batches: int = 2000
    poll_seconds: float = 1.0


class Planner:
    """Plans whatever push has its turn; any number of planners share the work without talking."""

    def __init__(self, database: Database, options: PlannerOptions, planned: Callable[[], None]) -> None:
        self._database = database
        self._options = options
        self._planned = planned
        self._decoder = msgspec.json.Decoder(Audience)
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Plan until cancelled; wakes by `wake`, by the next `send_at`, or by its poll."""
        while True:
            try:
                while await self.plan_page():
                    self._planned()
                wait = await self._wait_seconds()
            except DatabaseUnavailableError as error:
                _LOG.warning("planning waits for the database", extra={"error": str(error)})
                wait = _OUTAGE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.wake.wait()
            self.wake.clear()

    async def plan_page(self) -> bool:
        """Plan one page of the push whose turn it is; False when there is nothing to plan now."""
        async with self._database.transaction() as connection:
            push = await pushes.next_to_plan(connection, self._options.ahead_batches)
            if push is None:
                return False
            state = await self._plan(connection, push)
        if state != "planning":
            _LOG.info("push planned", extra={"push_id": push.id, "state": state})
        return True

    async def _plan(self, connection: Connection, push: pushes.PushToPlan) -> str | None:
        audience = self._decoder.decode(push.audience)
        parameters = {
            "push_id": push.id,
            "providers": push.providers,
            "apns_topic": push.apns_topic,
            "lane": push.lane,
            "expire_at": push.expire_at,
            "send_at": push.send_at,
            "cursor": push.cursor or pushes.NO_CURSOR,
            "page": self._options.page_size,
            "batch_size": self._options.batch_size,
        }
        values = msgspec.structs.asdict(audience) | {"providers_in": audience.providers} | parameters
        return await pushes.plan_page(connection, audience.kind, values)

    async def _wait_seconds(self) -> float:
        due = await pushes.seconds_to_next_plan(self._database)
        poll = self._options.poll_seconds
        # one that is due and was not planned is locked or far ahead: look again at the next poll
        return poll if due is None or due <= 0 else min(due, poll)
