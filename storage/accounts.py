"""Accounts of devices: the users that are logged in on one, and the sync tokens with which they come there."""

from collections.abc import Sequence

import msgspec

from storage.database import Database
from storage.devices import NewDevice, registering, taking
from storage.pipeline import Statement, last_rows
from storage.queries import load

_QUERIES = load("devices")

MOST_USERS = 101
"""Users of one device: the main one and 100 others."""


class DeviceUsers(msgspec.Struct):
    """The users of a device: the main one, "" where there is none, and the others."""

    id: str
    user_id: str
    accounts: list[str]


class TooManyUsersError(Exception):
    """They would be more than a device may have; nothing was changed."""


async def find(database: Database, providers: Sequence[str], provider_id: str, tokens: Sequence[str]) -> str | None:
    """Return the id of the device that has one of these forms of a token, as its own or for VoIP; None: there is none.

    `providers` are names as the function provider_is of the database takes them.
    """
    params = {"providers": providers, "provider_id": provider_id, "tokens": tokens}
    found = await database.values(_QUERIES.by_token, params)
    return str(found[0][0]) if found else None


async def change(database: Database, device_id: str, op: str, users: Sequence[str]) -> DeviceUsers | None:
    """Add, remove or set the users of a device, and return them; None: there is no such device.

    The main user stays while it is among them; then the one who was there longest follows. TooManyUsersError.
    """
    params = {"id": device_id, "op": op, "users": users, "most": MOST_USERS}
    statements: list[Statement] = [(_QUERIES.lock_accounts, params), (_QUERIES.change_accounts, params)]
    found = await last_rows(database, statements, DeviceUsers)
    if found and len(found[0].accounts) >= MOST_USERS:
        raise TooManyUsersError
    return found[0] if found else None


async def log_in(database: Database, device: NewDevice) -> DeviceUsers:
    """Add the users of `device` to those of the device that has its token, or make it, and return who is there.

    What is empty in `device` stays as it was. A device that is made gets the topics of its user and of everyone, one
    that was there gets them beside its own. TooManyUsersError.
    """
    params = registering(device, by_id=False) | {"most": MOST_USERS}
    queries = (*taking(device), _QUERIES.sync_by_token, _QUERIES.add_users_topics)
    found = (await last_rows(database, [(query, params) for query in queries], DeviceUsers))[0]
    if not {device.user_id, *device.accounts} <= {found.user_id, *found.accounts}:
        raise TooManyUsersError
    return found


async def end_sync_tokens(database: Database, user_id: str, now: float) -> None:
    """Take no sync token any more that this user was given before `now` (Unix seconds): the user was removed."""
    await database.execute(_QUERIES.end_sync_tokens, {"user_id": user_id, "now": now})


async def sync_token_limits(database: Database, users: Sequence[str]) -> dict[str, float]:
    """Return, for those of the users whose sync tokens were ended, when that was."""
    return dict(await database.values(_QUERIES.sync_token_limits, {"users": users}))
