"""What the server keeps of a user beside devices and topics: preferences, presence, the number on the icon."""

import time
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from delivery.windows import QuietInterval, WindowError, parse_weekly
from methods.context import Context
from methods.errors import BadRequestError
from methods.filters import Name, Topics
from methods.method import Empty, Params, Result
from methods.notifications import UnixTime
from methods.registration import TopicsOp
from storage import users
from storage.users import MOST_BADGE, MOST_MUTED_TOPICS, Preferences, TooManyTopicsError

Level = Literal["low", "normal", "high", "none"]
TimeOfDay = Annotated[str, Meta(max_length=8)]


class QuietHours(Params):
    """Hours of some days of the week in which a user wants no push, by the clock of each device.

    days: the days on which they begin, 1 (Monday) to 7 (Sunday)
    from_: when they begin, as 22:00
    to: when they end, as 07:00: on the next day unless it is later than `from`; 24:00 is the end of the day
    """

    days: Annotated[list[Annotated[int, Meta(ge=1, le=7)]], Meta(min_length=1, max_length=7)]
    from_: TimeOfDay = msgspec.field(name="from")
    to: TimeOfDay


_QUIET_HOURS = msgspec.json.Decoder(list[QuietHours])


class UserPreferencesUpdateParams(Params):
    """What to change; what is absent stays as it is.

    user: the user
    quiet_hours: up to 50 intervals, instead of those that were; an empty list clears them
    snooze_until: no push before this time, Unix seconds; 0, or a time that is past, ends the snooze
    muted_topics: topics of which the user wants nothing; with `set` an empty list clears them
    op: what to do with muted_topics: add, remove, or set (the default)
    level: the least importance of pushes that the user wants: low (all of them), normal, high, or none
    """

    user: Name
    quiet_hours: list[QuietHours] | None = None
    snooze_until: UnixTime | None = None
    muted_topics: Topics | None = None
    op: TopicsOp | None = None
    level: Level | None = None


class UserPreferencesResult(Result):
    """What the user wants.

    user: the user
    level: the least importance of pushes that the user wants: low (all of them), normal, high, or none
    quiet_hours: when the user wants no push
    snooze_until: no push before this time, Unix seconds; absent when there is no snooze
    muted_topics: topics of which the user wants nothing, in their order
    """

    user: str
    level: Level
    quiet_hours: list[QuietHours] = msgspec.field(default_factory=list)
    snooze_until: int = 0
    muted_topics: list[str] = msgspec.field(default_factory=list)


async def user_preferences_update(ctx: Context, params: UserPreferencesUpdateParams) -> UserPreferencesResult:
    """Say when, and of what, a user wants no push; answers all preferences as they are then.

    They hold for every device of the user, and for every push but those of priority `urgent`.
    """
    try:
        found = await users.update_preferences(
            ctx.database,
            params.user,
            quiet_hours=_stored(params.quiet_hours),
            snooze_until=params.snooze_until,
            muted_topics=params.muted_topics,
            op=params.op or "set",
            level=params.level,
        )
    except TooManyTopicsError:
        raise BadRequestError(f"a user mutes at most {MOST_MUTED_TOPICS} topics", path="muted_topics") from None
    return _answer(params.user, found)


class UserParams(Params):
    """Which user.

    user: the user
    """

    user: Name


async def user_preferences_get(ctx: Context, params: UserParams) -> UserPreferencesResult:
    """Tell when, and of what, a user wants no push.

    A user of whom nothing is kept wants everything: level low, and nothing else.
    """
    found = await users.preferences(ctx.database, [params.user])
    return _answer(params.user, found.get(params.user, Preferences()))


def _stored(quiet_hours: list[QuietHours] | None) -> str | None:
    """The intervals as they are kept: equal texts for equal intervals; BadRequestError for what means nothing."""
    if quiet_hours is None:
        return None
    intervals = [QuietInterval(tuple(sorted(set(each.days))), each.from_, each.to) for each in quiet_hours]
    try:
        parse_weekly(intervals)
    except WindowError as error:
        raise BadRequestError(error.detail, path=f"quiet_hours{error.path}") from None
    return msgspec.json.encode(intervals).decode()


def _answer(user: str, found: Preferences) -> UserPreferencesResult:
    snooze = int(found.snooze_until or 0)
    return UserPreferencesResult(
        user,
        msgspec.convert(found.level, Level),
        _QUIET_HOURS.decode(found.quiet_hours),
        snooze if snooze > time.time() else 0,
        found.muted_topics,
    )


class UserPresenceUpdateParams(Params):
    """Who is in the app, and until when.

    user: the user
    online_until: until when, unless told again before, Unix seconds; 0, or a time that is past: not any more
    """

    user: Name
    online_until: UnixTime


async def user_presence_update(ctx: Context, params: UserPresenceUpdateParams) -> Empty:
    """Say that a user is in the app, so that a push that asks for it is not sent meanwhile, or has left.

    The last word counts, from whichever device it came. An app says it again before the time is over: a minute or two
    ahead is a good choice, because a crash cannot say that the user left.
    """
    await users.set_presence(ctx.database, params.user, params.online_until, time.time())
    return Empty()


class BadgeUpdateParams(Params):
    """What to do with a user's counter.

    user: the user
    op: set it to `value`, add `value` to it, or reset it to 0
    value: a number; with `add` it may be negative, and is 1 unless given
    """

    user: Name
    op: Literal["set", "add", "reset"]
    value: Annotated[int, Meta(ge=-MOST_BADGE, le=MOST_BADGE)] | None = None


class BadgeUpdateResult(Result):
    """The counter as it is then.

    user: the user
    badge: the number, always there
    """

    user: str
    badge: int


async def badge_update(ctx: Context, params: BadgeUpdateParams) -> BadgeUpdateResult:
    """Change the number that pushes with the badge `auto` put on the app's icon.

    One counter for each user, never below 0: what would be less is 0. To read it, add 0: of a user who has none that
    answers 0, and makes none.
    """
    value = _badge_value(params)
    return BadgeUpdateResult(params.user, await users.change_badge(ctx.database, params.user, params.op, value))


def _badge_value(params: BadgeUpdateParams) -> int:
    if params.op == "reset":
        return 0
    if params.op == "add":
        return 1 if params.value is None else params.value
    if params.value is None:
        raise BadRequestError("set what it is to be", path="value")
    if params.value < 0:
        raise BadRequestError("the number on an icon is not negative", path="value")
    return params.value


METHODS = (user_preferences_update, user_preferences_get, user_presence_update, badge_update)
