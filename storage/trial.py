"""What a dry run asks the database: the audience counted page by page, and one device of it."""

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from storage.database import Database
from storage.pushes import NO_CURSOR
from storage.queries import load

_QUERIES = load("pushes")


class Group(msgspec.Struct):
    """Devices of one provider and platform; `skipped` says why they would get nothing. `credential` would send."""

    provider: str
    platform: str
    skipped: str
    devices: int
    device_id: str
    credential: str


class Device(msgspec.Struct):
    """What rendering may ask of a device."""

    id: str
    user: str
    locale: str
    timezone: str
    meta: dict[str, str]


class _Page(msgspec.Struct):
    provider: str | None
    platform: str | None
    skipped: str | None
    devices: int | None
    device_id: str | None
    credential: str | None
    last: str | None
    more: bool


async def count(database: Database, kind: str, parameters: Mapping[str, object]) -> list[Group]:
    """Count an audience as planning would resolve it; `parameters` as for a page of planning."""
    query = {"topics": _QUERIES.count_topics, "filter": _QUERIES.count_filter}[kind]
    cursor: str | None = NO_CURSOR
    groups: dict[tuple[str, str, str], Group] = {}
    totals: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    while cursor is not None:
        rows = await database.rows(query, {"lane": 0, **parameters, "cursor": cursor}, _Page, fresh=True)
        for row in rows:
            if row.provider is not None:
                key = (row.provider, row.platform or "", row.skipped or "")
                totals[key] += row.devices or 0
                groups.setdefault(key, Group(*key, 0, row.device_id or "", row.credential or ""))
        cursor = rows[0].last if rows and rows[0].more else None
    for key, group in groups.items():
        group.devices = totals[key]
    return [groups[key] for key in sorted(groups)]


async def device(database: Database, device_id: str) -> Device | None:
    """One device; None when it has gone."""
    return await database.row(_QUERIES.trial_device, {"device_id": device_id}, Device)


async def default_credential(database: Database, provider: str) -> str:
    """The provider's default credential, '' when there is none."""
    rows = await database.values(_QUERIES.default_credential, {"provider": provider})
    return rows[0][0] if rows else ""
