"""What users want, where they are, and their badges. How a user is removed: storage/user_removal.py."""

from collections.abc import Sequence

import msgspec

from storage.database import Database
from storage.queries import load

_QUERIES = load("users")

LEVELS = ("low", "normal", "high", "none")
MOST_MUTED_TOPICS = 1000
MOST_BADGE = 2**31 - 1


class TooManyTopicsError(Exception):
    """A user would mute more topics than MOST_MUTED_TOPICS; nothing was changed."""


class Preferences(msgspec.Struct, frozen=True):
    """What a user wants; the defaults are what users want of whom nothing is kept.

    quiet_hours: JSON: a list of objects as methods/users.py takes them, equal for equal hours
    snooze_until: Unix seconds, None when there is no snooze; it may be past
    muted_topics: topics, in their order
    level: one of LEVELS: the least importance of a push that the user wants
    """

    quiet_hours: str = "[]"
    snooze_until: float | None = None
    muted_topics: list[str] = []
    level: str = "low"


class _Row(msgspec.Struct):
    user_id: str
    quiet_hours: str
    snooze_until: float | None
    muted_topics: list[str]
    level: str

    def preferences(self) -> Preferences:
        return Preferences(self.quiet_hours, self.snooze_until, self.muted_topics, self.level)


async def preferences(database: Database, users: Sequence[str]) -> dict[str, Preferences]:
    """What these users want; those of whom nothing is kept are absent."""
    found = await database.rows(_QUERIES.preferences, {"users": list(users)}, _Row)
    return {row.user_id: row.preferences() for row in found}


class DevicePreferences(msgspec.Struct):
    """A device, what its user wants, and by which topics of a push the push reaches it."""

    device_id: str
    timezone: str
    topics: list[str]
    user_id: str
    quiet_hours: str
    snooze_until: float | None
    muted_topics: list[str]
    level: str

    def preferences(self) -> Preferences:
        """What the user wants."""
        return Preferences(self.quiet_hours, self.snooze_until, self.muted_topics, self.level)


async def of_devices(
    database: Database, device_ids: Sequence[str], topics: Sequence[str] | None
) -> dict[str, DevicePreferences]:
    """What the users of these devices want, by device; those of whom nothing is kept are absent."""
    parameters = {"device_ids": list(device_ids), "topics": None if topics is None else list(topics)}
    return {row.device_id: row for row in await database.rows(_QUERIES.of_devices, parameters, DevicePreferences)}


async def update_preferences(
    database: Database,
    user: str,
    *,
    quiet_hours: str | None = None,
    snooze_until: float | None = None,
    muted_topics: Sequence[str] | None = None,
    op: str = "set",
    level: str | None = None,
) -> Preferences:
    """Change what a user wants, and return it as it is then; None leaves a part as it is.

    A `snooze_until` that is past ends the snooze. `op` (add, remove, set) is what to do with `muted_topics`. Raises
    TooManyTopicsError when more would be muted than may be.
    """
    parameters = {
        "user": user,
        "quiet_hours": quiet_hours,
        "snooze_until": snooze_until,
        "topics": None if muted_topics is None else list(muted_topics),
        "op": op,
        "level": level,
        "most": MOST_MUTED_TOPICS,
    }
    found = await database.row(_QUERIES.update_preferences, parameters, _Row)
    if found is None:
        raise TooManyTopicsError
    return found.preferences()


async def set_presence(database: Database, user: str, online_until: float, now: float) -> None:
    """Note until when a user is in the app (Unix seconds); what is not after `now` means that the user is not."""
    if online_until > now:
        await database.execute(_QUERIES.come_online, {"user": user, "until": online_until})
    else:
        await database.execute(_QUERIES.go_offline, {"user": user})


async def online_until(database: Database, users: Sequence[str], now: float) -> dict[str, float]:
    """Until when those of these users are in the app who are at `now`; Unix seconds."""
    found = await database.values(_QUERIES.online_until, {"users": list(users), "now": now})
    return {row[0]: row[1] for row in found}


async def remove_past_presence(database: Database, now: float, most: int) -> int:
    """Remove up to `most` rows of users who left before the hour of `now` (Unix seconds); return how many."""
    return await database.execute(_QUERIES.remove_past_presence, {"now": now, "most": most})


async def change_badge(database: Database, user: str, op: str, value: int) -> int:
    """Set a user's counter to `value`, or add `value` to it; return it. It stays between 0 and MOST_BADGE.

    Adding 0 reads it: a user without a counter gets none, and is answered as 0.
    """
    parameters = {"user": user, "op": op, "value": value, "most": MOST_BADGE}
    badge: int = (await database.values(_QUERIES.change_badge, parameters))[0][0]
    return badge


async def badges(database: Database, users: Sequence[str]) -> dict[str, int]:
    """The counters of these users; those who have none are absent."""
    found = await database.values(_QUERIES.badges, {"users": list(users)})
    return {row[0]: row[1] for row in found}
