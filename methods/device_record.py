"""Devices by the record: the pushes that a device was in, and how long devices have been silent."""

from typing import Annotated

import msgspec
from msgspec import Meta

from methods.context import Context
from methods.device_advice import advice
from methods.device_history import message_id_of
from methods.errors import BadRequestError
from methods.method import NoParams, Params, Result
from methods.verdicts import UNSENT, of_attempts
from storage import record, upkeep
from storage.ids import as_id
from storage.record import LatestRow

_LIMIT = 20
_MOST = 100


class DevicePushesParams(Params):
    """Which device.

    device_id: the device's id; it may have been removed since
    limit: items on a page, 20 unless told, 100 at most
    cursor: next_cursor of the page before
    """

    device_id: Annotated[str, Meta(min_length=1, max_length=255)]
    limit: int | None = None
    cursor: str | None = None


class DevicePush(Result):
    """What became of the device in a push. Times are Unix seconds.

    uid: the push's uid
    outcome: accepted, failed, expired, cancelled, suppressed, dropped, or pending: it is to be sent again
    reason: the provider's word, or ours
    status: the provider's HTTP status at the last attempt; absent when there was no answer
    provider: the provider
    provider_id: the credential of the last attempt
    accepted_at: when the push was committed
    started_at: when the last attempt began
    settled_at: when what came of it was written
    attempts: attempts that were made
    message_id: the provider's id of the message that it accepted
    """

    uid: str
    outcome: str
    reason: str = ""
    status: int = 0
    provider: str = ""
    provider_id: str = ""
    accepted_at: int = 0
    started_at: int = 0
    settled_at: int = 0
    attempts: int = 0
    message_id: str = ""


class DevicePushesResult(Result):
    """A page of pushes, newest first.

    items: the pushes; there may be fewer than the limit, or none, although there are more pages
    next_cursor: give it to get the next page; absent on the last
    has_more: whether there is a next page
    """

    items: list[DevicePush]
    next_cursor: str = ""
    has_more: bool = False


class DevicesSilent(Result):
    """Devices that are alike.

    provider: their provider
    provider_id: the credential that they name; empty for the provider's default one
    platform: their platform
    state: active, failing or dead
    silent_days: they did not register for so many days and more: 0, 30, 60 or 270; each is counted once, at the last
    devices: how many there are
    """

    provider: str
    provider_id: str = ""
    platform: str = ""
    state: str = ""
    silent_days: int = 0
    devices: int = 0


class DeviceStatsResult(Result):
    """The devices as they were counted last.

    items: the counts
    counted_at: when that was, Unix seconds; absent when it was not yet
    devices: all of them
    advice: what to do about those that are gone, in words
    """

    items: list[DevicesSilent]
    counted_at: int = 0
    devices: int = 0
    advice: list[str] = msgspec.field(default_factory=list)


async def device_pushes(ctx: Context, params: DevicePushesParams) -> DevicePushesResult:
    """List the latest pushes that a device was in, newest first.

    By the record of what was sent: a push that only waits to be sent to it, or to raw tokens, is not among them. The
    record goes back for TOCSIN_OUTCOME_DAYS. A device_id that is not a UUID, or a cursor that is none of ours: 107.
    """
    device_id, before = as_id(params.device_id), None
    if device_id is None:
        raise BadRequestError("the id of a device is a UUID", path="device_id")
    if params.cursor and (before := as_id(params.cursor)) is None:
        raise BadRequestError("the cursor is not one of ours", path="cursor")
    limit = min(params.limit, _MOST) if params.limit is not None and params.limit > 0 else _LIMIT
    rows, cursor = await record.latest(ctx.database, device_id, before, limit)
    return DevicePushesResult([_item(row) for row in rows], cursor or "", cursor is not None)


def _item(row: LatestRow) -> DevicePush:
    last = row.attempts[-1]
    is_cancelled = row.state == "cancelled"
    verdict = of_attempts(row.attempts, waits=not is_cancelled, is_cancelled=is_cancelled)
    return DevicePush(
        row.uid,
        verdict.word,
        verdict.reason,
        last.status,
        last.provider,
        last.credential,
        row.accepted_at,
        last.started_at,
        last.settled_at,
        last.attempt - (last.outcome in UNSENT),
        message_id_of(row.push_id, last),
    )


async def device_stats(ctx: Context, params: NoParams) -> DeviceStatsResult:
    """Count devices by how long they have been silent, with advice.

    Counted once an hour by a sender process, because it reads every device: `counted_at` says when.
    """
    counts = await upkeep.device_report(ctx.database)
    return DeviceStatsResult(
        [
            DevicesSilent(each.provider, each.provider_id, each.platform, each.state, each.age_days, each.devices)
            for each in counts
        ],
        counts[0].counted_at if counts else 0,
        sum(each.devices for each in counts),
        [f"{each.said}: {each.todo}" for each in advice(counts)],
    )


METHODS = (device_pushes, device_stats)
