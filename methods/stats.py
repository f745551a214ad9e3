"""push_stats: outcomes by time."""

import time
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from delivery.stats import CONSUMER
from delivery.webhooks.hooks import OutcomeKind
from methods.aliases import Platform, platform_names
from methods.context import Context
from methods.errors import BadRequestError
from methods.method import Params, Result
from storage import feed, stats
from storage.stats import CountFilter, CountRow

UnixTime = Annotated[int, Meta(ge=0, le=253_402_300_799)]
Word = Annotated[str, Meta(max_length=255)]
Words = Annotated[list[Word], Meta(max_length=100)]
Interval = Literal["minute", "hour", "day"]
Group = Literal["provider", "provider_id", "platform", "outcome", "reason"]

MOST_ROWS = 10_000
_DAY_SECONDS = 86_400
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}


class StatsFilter(Params):
    """What is counted: any of each list; a list that is absent or empty does not restrict.

    providers: providers
    provider_ids: named credentials
    platforms: platforms of the devices; `apns` is another word for ios
    outcomes: accepted, failed, dead, retry, expired, cancelled, suppressed, dropped, delivered, interacted
    reasons: the provider's words, or ours
    """

    providers: Words | None = None
    provider_ids: Words | None = None
    platforms: Annotated[list[Platform], Meta(max_length=100)] | None = None
    outcomes: Annotated[list[OutcomeKind], Meta(max_length=100)] | None = None
    reasons: Words | None = None


class PushStatsParams(Params):
    """Which counts.

    from_: the beginning, Unix seconds; the bucket that holds it is counted whole; a day before the end when absent
    to: the end, Unix seconds, itself not counted; a bucket that begins before it is counted whole; now when absent
    interval: the width of a bucket: minute, hour (default) or day (of UTC)
    filter: what is counted; everything when absent
    group_by: what is told apart: provider, provider_id, platform, outcome, reason; outcome when absent
    """

    from_: UnixTime | None = msgspec.field(name="from", default=None)
    to: UnixTime | None = None
    interval: Interval | None = None
    filter: StatsFilter | None = None
    group_by: Annotated[list[Group], Meta(max_length=5)] | None = None


class StatsRow(Result):
    """How many recipients came to one end in one bucket.

    at: where the bucket begins, Unix seconds
    count: attempts; or, of delivered and interacted, reports of devices
    provider: when grouped by it; absent for reports of devices
    provider_id: the credential, when grouped by it
    platform: when grouped by it
    outcome: when grouped by it
    reason: when grouped by it; absent for what was accepted
    """

    at: int
    count: int
    provider: str = ""
    provider_id: str = ""
    platform: str = ""
    outcome: str = ""
    reason: str = ""


class PushStatsResult(Result):
    """Counts by time; buckets without any are left out.

    rows: the counts, by time and then by what they are told apart by
    up_to: outcomes until this time are counted, Unix seconds; later ones may be missing
    """

    rows: list[StatsRow]
    up_to: int = 0


async def push_stats(ctx: Context, params: PushStatsParams) -> PushStatsResult:
    """Count what came of pushes, by time.

    Counts attempts at recipients when they were settled, whatever the push, a few seconds late (see `up_to`), and what
    devices reported. Counts by minute are kept for TOCSIN_STATS_MINUTE_DAYS, by hour and day for TOCSIN_STATS_DAYS.
    Answers at most 10,000 rows: a wider question is refused with 107.
    """
    interval = params.interval or "hour"
    width = _SECONDS[interval]
    end = int(time.time()) + 1 if params.to is None else params.to
    start = max(0, end - _DAY_SECONDS) if params.from_ is None else params.from_
    begin = start - start % width
    if end <= start:
        raise BadRequestError("the end must be after the beginning", path="to")
    buckets = -((begin - end) // width)
    if buckets > MOST_ROWS:
        detail = f"that is {buckets} buckets, the most are {MOST_ROWS}: ask for a wider interval or a shorter time"
        raise BadRequestError(detail, path="interval")
    groups = ["outcome"] if params.group_by is None else [str(group) for group in params.group_by]
    up_to = await feed.read_to(ctx.database, CONSUMER)
    found = await stats.counts(ctx.database, begin, end, interval, groups, _chosen(params.filter), MOST_ROWS + 1)
    if len(found) > MOST_ROWS:
        detail = f"that is more than {MOST_ROWS} rows: ask for a wider interval, a shorter time or fewer groups"
        raise BadRequestError(detail, path="group_by")
    return PushStatsResult([_row(row) for row in found], up_to)


def _chosen(chosen: StatsFilter | None) -> CountFilter:
    if chosen is None:
        return CountFilter()
    return CountFilter(
        providers=chosen.providers or None,
        provider_ids=chosen.provider_ids or None,
        platforms=platform_names(chosen.platforms),
        outcomes=chosen.outcomes or None,
        reasons=chosen.reasons or None,
    )


def _row(row: CountRow) -> StatsRow:
    return StatsRow(row.at, row.count, row.provider, row.provider_id, row.platform, row.outcome, row.reason)


METHODS = (push_stats,)
