"""Devices: registering, changing, removing and finding them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from storage.database import Database
from storage.pipeline import Statement, last_rows
from storage.queries import load

_QUERIES = load("devices")


class NewDevice(msgspec.Struct, kw_only=True):
    """The whole state of a device; empty text where there is nothing.

    `accounts` are further users beside `user_id`, `topics` further ones beside those of its user. One with a VoIP token
    alone has it in `token` as well as in `voip_token`, and the token_kind `voip`.
    """

    id: str
    provider: str
    provider_id: str = ""
    token: str
    token_kind: str = "token"
    platform: str
    environment: str = ""
    user_id: str = ""
    accounts: list[str] = []
    timezone: str = ""
    locale: str = ""
    app_version: str = ""
    voip_token: str = ""
    meta: dict[str, str] = {}
    webpush_keys: dict[str, str] | None = None
    topics: list[str] = []

    def __repr__(self) -> str:
        return f"NewDevice(id={self.id!r})"  # tokens and keys are nobody's business


class DeviceFacts(msgspec.Struct, kw_only=True):
    """What a device is, without what an application keeps with it; times are Unix seconds."""

    id: str
    provider: str
    provider_id: str
    token: str
    token_kind: str
    platform: str
    environment: str
    user_id: str
    timezone: str
    locale: str
    app_version: str
    voip_token: str
    state: str
    failing_reason: str
    created_at: int
    updated_at: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"


class DeviceRow(DeviceFacts, kw_only=True):
    """A device as it is stored."""

    accounts: list[str]
    meta: dict[str, str]
    webpush_keys: dict[str, str] | None
    topics: list[str]
    voip_state: str
    voip_failing_reason: str


class DeviceChange(msgspec.Struct, kw_only=True):
    """What to change in devices: None leaves it as it is. `topics_op` is add, remove, set, or nothing."""

    user_id: str | None = None
    meta: dict[str, str] | None = None
    timezone: str | None = None
    locale: str | None = None
    topics_op: str = ""
    topics: list[str] = []


class _Count(msgspec.Struct):
    count: int


class _Id(msgspec.Struct):
    id: str


async def register(database: Database, device: NewDevice, *, by_id: bool) -> DeviceRow:
    """Write the whole state of a device and return it.

    Without `by_id` the device that has the token (of this provider and credential) is written and keeps its id; if
    there is none it is made under `device.id`. With `by_id` the device of that id is written or made, and another one
    that has the token is removed. Another one that has the VoIP token loses it, or is removed when it had nothing else.
    Its topics become `device.topics`, those of its user, and those of the user "".
    """
    writing = (_QUERIES.take_token, _QUERIES.register_by_id) if by_id else (_QUERIES.register_by_token,)
    queries = (*taking(device), *writing, _QUERIES.sync_topics)
    params = registering(device, by_id=by_id)
    return (await last_rows(database, [(query, params) for query in queries], DeviceRow))[0]


def taking(device: NewDevice) -> tuple[bytes, ...]:
    """Return what comes before the row itself: locks, and taking the VoIP token where there is one."""
    return (_QUERIES.lock_registration, *([_QUERIES.take_voip_token] if device.voip_token else []))


def registering(device: NewDevice, *, by_id: bool) -> dict[str, object]:
    """Return the parameters of the statements that write a device."""
    names = [f"tocsin.token.{device.token}"]
    if by_id:
        names.append(f"tocsin.device.{device.id}")
    if device.voip_token:
        names.append(f"tocsin.voip.{device.voip_token}")
    return msgspec.structs.asdict(device) | {
        "meta": _json(device.meta),
        "webpush_keys": _json(device.webpush_keys),
        "names": names,
        "by_id": by_id,
    }


async def update(
    database: Database, change: DeviceChange, *, ids: Sequence[str] | None, users: Sequence[str] | None
) -> None:
    """Change the devices that are in both lists (None = not restricted): `updated_at` moves, not `registered_at`."""
    chosen = {"ids": ids, "users": users}
    params = {
        **chosen,
        "user_id": change.user_id,
        "meta": _json(change.meta),
        "timezone": change.timezone,
        "locale": change.locale,
        "op": change.topics_op,
        "topics": change.topics,
    }
    statements: list[Statement] = [(_QUERIES.lock_chosen, chosen), (_QUERIES.update, params)]
    await last_rows(database, statements, _Id, fresh=True)


async def remove(
    database: Database,
    *,
    ids: Sequence[str] | None,
    users: Sequence[str] | None,
    tokens: Sequence[str] | None,
    providers: Sequence[str] | None = None,
) -> int:
    """Remove the devices that are in all lists (None = not restricted); return how many there were.

    A device on which others than `users` are logged in stays, theirs alone. One of which only the VoIP token is named
    by `tokens` and `providers` (names as the function provider_is takes them), and that has another, stays with that.
    """
    params = {"ids": ids, "users": users, "tokens": tokens, "providers": providers}
    return len(await last_rows(database, [(_QUERIES.remove, params)], _Id, fresh=True))


async def page(
    database: Database,
    chosen: Mapping[str, object],
    *,
    after: str | None,
    limit: int,
    include_topics: bool,
) -> list[DeviceRow]:
    """Return up to `limit` devices of a filter (methods/filters.py) in the order of ids, from behind `after` on."""
    query = _QUERIES.page_in_topics if chosen["topics"] else _QUERIES.page
    params = {**chosen, "after": after, "limit": limit, "include_topics": include_topics}
    params["with_accounts"] = await _any_accounts(database, chosen)
    return await database.rows(query, params, DeviceRow, fresh=True)


async def count(database: Database, chosen: Mapping[str, object]) -> int:
    """Count the devices of a filter (methods/filters.py)."""
    query = _QUERIES.count_in_topics if chosen["topics"] else _QUERIES.count
    params = {**chosen, "after": None, "with_accounts": await _any_accounts(database, chosen)}
    found = await database.row(query, params, _Count, fresh=True)
    return found.count if found else 0


async def _any_accounts(database: Database, chosen: Mapping[str, object]) -> bool:
    if not chosen["users"]:
        return False
    return bool((await database.values(_QUERIES.any_accounts, {"users": chosen["users"]}))[0][0])


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
