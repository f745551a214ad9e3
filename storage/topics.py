"""Topics of devices and of users: changing and listing them."""

from collections.abc import Mapping, Sequence

import msgspec

from storage.database import Database
from storage.devices import DeviceFacts
from storage.pipeline import Statement, last_rows
from storage.queries import load

_QUERIES = load("topics")


class DeviceTopicRow(DeviceFacts, kw_only=True):
    """A topic of a device, and the device."""

    topic: str


class UserTopicRow(msgspec.Struct):
    """A topic of a user."""

    id: int
    user_id: str
    topic: str


class _Changed(msgspec.Struct):
    owned: bool


class _Count(msgspec.Struct):
    count: int


async def change_device(
    database: Database, device_id: str, op: str, topics: Sequence[str], *, owner: str | None = None
) -> bool | None:
    """Add, remove or set the topics of a device. None: no such device. False: not the device of `owner`, unchanged."""
    params = {"device_id": device_id, "op": op, "topics": topics, "user_id": owner}
    statements: list[Statement] = [(_QUERIES.lock_device, params), (_QUERIES.change_device, params)]
    found = await last_rows(database, statements, _Changed)
    return found[0].owned if found else None


async def change_user(database: Database, user_id: str, op: str, topics: Sequence[str]) -> int:
    """Add, remove or set the topics of a user, and so those of the user's devices; return how many devices that are.

    The user "" is everyone: it is recorded only, and each device takes it up when it is registered next.
    """
    params = {"user_id": user_id, "op": op, "topics": topics}
    queries = (_QUERIES.lock_user, _QUERIES.lock_devices_of_user, _QUERIES.change_user)
    return (await last_rows(database, [(query, params) for query in queries], _Count))[0].count


async def page_of_devices(
    database: Database, chosen: Mapping[str, object], *, after: tuple[str, str] | None, limit: int
) -> list[DeviceTopicRow]:
    """Return up to `limit` topics of devices in the order of (device, topic), from behind `after` on."""
    params = {**chosen, **_behind(after), "limit": limit}
    return await database.rows(_QUERIES.page_of_devices, params, DeviceTopicRow, fresh=True)


async def count_of_devices(database: Database, chosen: Mapping[str, object]) -> int:
    """Count the topics of devices that a filter chooses."""
    found = await database.row(_QUERIES.count_of_devices, {**chosen, **_behind(None)}, _Count, fresh=True)
    return found.count if found else 0


async def page_of_users(
    database: Database, chosen: Mapping[str, object], *, after: int | None, limit: int
) -> list[UserTopicRow]:
    """Return up to `limit` topics of users in the order of their ids, from behind `after` on."""
    params = {**chosen, "after": after, "limit": limit}
    return await database.rows(_QUERIES.page_of_users, params, UserTopicRow, fresh=True)


async def count_of_users(database: Database, chosen: Mapping[str, object]) -> int:
    """Count the topics of users that a filter chooses."""
    found = await database.row(_QUERIES.count_of_users, {**chosen, "after": None}, _Count, fresh=True)
    return found.count if found else 0


def _behind(after: tuple[str, str] | None) -> dict[str, object]:
    device_id, topic = after or (None, None)
    return {"after_device": device_id, "after_topic": topic}
