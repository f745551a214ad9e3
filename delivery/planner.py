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

from delivery.conditions import Condition
from storage import pushes
from storage.database import Connection, Database, DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_OUTAGE_SECONDS = 0.5
_PUT_OFF_SECONDS = 60.0


class Chosen(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Devices by what they have: any-of inside a list, and across lists."""

    topics: list[str] | None = None
    ids: list[str] | None = None
    users: list[str] | None = None
    providers: list[str] | None = None
    platforms: list[str] | None = None
    tokens: list[str] | None = None
    provider_ids: list[str] | None = None
    locales: list[str] | None = None


class Audience(Chosen, omit_defaults=True):
    """Who a planned push is for, as it is stored: one of topics, raw addresses, or a filter over the devices.

    `drive` are topics of which every device of the audience has at least one: pages are then read from these topics.
    """

    kind: str = "filter"
    drive: list[str] | None = None
    exclude: Chosen | None = None
    condition: Condition | None = None
    active_within_seconds: int | None = None
    provider: str = ""
    provider_id: str = ""
    target: str = ""

    def parameters(self, send_at: float) -> dict[str, object]:
        """What the queries of sql/pushes.sql take of it."""
        if self.kind == "raw":
            raw = ("provider", "provider_id", "target", "tokens")
            return {name: getattr(self, name) for name in raw}
        by_topics = self.kind == "topics"
        chosen = msgspec.structs.asdict(self)
        excluded = msgspec.structs.asdict(self.exclude or Chosen())
        condition = self.condition
        return {name: chosen[name] for name in Chosen.__struct_fields__ if name != "providers"} | {
            "topics": None if by_topics and self.drive is None else self.topics,
            "providers_in": self.providers,
            "drive": self.topics if self.drive is None else self.drive,
            "exclude": self.exclude is not None,
            **{f"x_{name}": value for name, value in excluded.items()},
            "c_topics": condition.topics if condition else None,
            "c_program": condition.program if condition else None,
            "active_since": None if self.active_within_seconds is None else send_at - self.active_within_seconds,
        }


class PlannerOptions(msgspec.Struct, frozen=True):
    """`ahead_batches`: how many batches of one push and provider may be ahead of the senders before planning pauses.

    `most_batches` of a push wait in the queue at the most, those of paused providers and those for later included.
    """

    page_size: int = 10_000
    batch_size: int = 500
    ahead_batches: int = 2000
    most_batches: int = 20_000
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
        """Plan one page of the push whose turn it is; False when there is nothing to plan now.

        A push that cannot be planned, by a defect of ours, is put off, so that it does not stop the others.
        """
        push = None
        try:
            async with self._database.transaction() as connection:
                options = self._options
                push = await pushes.next_to_plan(connection, options.ahead_batches, options.most_batches)
                if push is None:
                    return False
                state = await self._plan(connection, push)
        except DatabaseUnavailableError:
            raise
        except Exception:
            if push is None:
                raise
            _LOG.exception("a push cannot be planned, and is put off", extra={"push_id": push.id})
            await pushes.put_off(self._database, push.id, _PUT_OFF_SECONDS)
            return True
        if state != "planning":
            _LOG.info("push planned", extra={"push_id": push.id, "state": state})
        return True

    async def _plan(self, connection: Connection, push: pushes.PushToPlan) -> str | None:
        audience = self._decoder.decode(push.audience)
        own = {
            name: getattr(push, name) for name in ("providers", "apns_topic", "lane", "expire_at", "send_at", "needs")
        }
        parameters = {
            **pushes.enqueueing(push.max_rate, self._options.batch_size),
            **own,
            "push_id": push.id,
            "cursor": push.cursor or pushes.NO_CURSOR,
            "page": self._options.page_size,
            "turn": push.turn,
        }
        return await pushes.plan_page(connection, audience.kind, audience.parameters(push.send_at) | parameters)

    async def _wait_seconds(self) -> float:
        due = await pushes.seconds_to_next_plan(self._database)
        poll = self._options.poll_seconds
        # one that is due and was not planned is locked or far ahead: look again at the next poll
        return poll if due is None or due <= 0 else min(due, poll)
