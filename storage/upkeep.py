"""Upkeep: the record's partitions, what is past retention, and the report of how long devices have been silent."""

import logging
import time
from collections import Counter
from collections.abc import Mapping

import msgspec
from psycopg import sql

from storage import limits, user_removal, users
from storage.database import Connection, Database, rows, values
from storage.queries import load

_LOG = logging.getLogger(__name__)
_QUERIES = load("upkeep")
_DAY_SECONDS = 86_400
_MOST_REMOVED = 5000
_MOST_FORGOTTEN = 2000
_INTERRUPTED_SECONDS = 300.0
_PAGE = 5000
_FIRST = "00000000-0000-0000-0000-000000000000"


class Retention(msgspec.Struct, frozen=True):
    """For how many days what is kept.

    `stale_device_days`: devices that did not register for so long are removed; 0 keeps them.
    """

    outcome_days: int = 30
    dead_device_days: int = 7
    stale_device_days: int = 0


class DeviceKind(msgspec.Struct, frozen=True):
    """What the report counts apart. `age_days` is the last of 0, 30, 60 and 270 days without a registration."""

    provider: str
    provider_id: str
    platform: str
    state: str
    age_days: int


class DeviceCount(msgspec.Struct):
    """A line of the report; `counted_at` in Unix seconds."""

    provider: str
    provider_id: str
    platform: str
    state: str
    age_days: int
    devices: int
    counted_at: int = 0

    @property
    def kind(self) -> DeviceKind:
        """What was counted."""
        return DeviceKind(self.provider, self.provider_id, self.platform, self.state, self.age_days)


class _Page(msgspec.Struct):
    last: str | None
    more: bool
    removed: int
    counts: str


_COUNTS = msgspec.json.Decoder(list[DeviceCount])


async def upkeep(database: Database, retention: Retention) -> None:
    """Make the record's coming partitions, remove what is past retention, count the devices once an hour.

    Outcomes leave by whole partitions; finished pushes, receipts and devices in small deletes that hold no lock for
    long. Does nothing while another process is at it.
    """
    async with database.connection() as connection:
        if not (await values(connection, _QUERIES.lock, {}))[0][0]:
            return
        try:
            await _keep_record(connection, retention.outcome_days)
            await _remove(connection, _QUERIES.bury_failing_devices, {"days": retention.dead_device_days})
            await _remove(connection, _QUERIES.remove_dead_devices, {"days": retention.dead_device_days})
            if (await values(connection, _QUERIES.report_is_due, {}))[0][0]:
                await _sweep_devices(connection, retention.stale_device_days)
        finally:
            await connection.execute(_QUERIES.unlock)
    await _forget(database)


async def _forget(database: Database) -> None:
    """Remove presence and rate limits that are past, and go on with users whose removal was interrupted."""
    now = time.time()
    while await users.remove_past_presence(database, now, _MOST_REMOVED) >= _MOST_REMOVED:
        pass
    while await limits.remove_forgotten(database, now, _MOST_FORGOTTEN) >= _MOST_FORGOTTEN:
        pass
    for user in await user_removal.unfinished(database, _INTERRUPTED_SECONDS, 100):
        await user_removal.remove(database, user, now)


async def device_report(database: Database) -> list[DeviceCount]:
    """The devices as upkeep counted them last; empty before the first time, and without devices."""
    return await database.rows(_QUERIES.report, {}, DeviceCount)


async def _keep_record(connection: Connection, days: int) -> None:
    """Partitions for the week ahead; outcomes, pushes, paces and receipts that are over leave."""
    await connection.execute(_QUERIES.ensure_partitions, {"days": 7})
    for (name,) in await values(connection, _QUERIES.old_partitions, {"days": days}):
        await connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(name)))
    await _remove(connection, _QUERIES.remove_unpartitioned_outcomes, {"days": days})
    before = f"{int((time.time() - days * _DAY_SECONDS) * 1000):012x}".ljust(32, "0")
    await _remove(connection, _QUERIES.remove_old_pushes, {"days": days, "before": before})
    await _remove(connection, _QUERIES.remove_finished_paces, {})
    await _remove(connection, _QUERIES.remove_old_receipts, {"days": days})


async def _remove(connection: Connection, query: bytes, parameters: Mapping[str, object]) -> None:
    """Run a bounded delete until it finds little more."""
    while (await connection.execute(query, {**parameters, "most": _MOST_REMOVED})).rowcount >= _MOST_REMOVED:
        pass


async def _sweep_devices(connection: Connection, stale_days: int, page: int = _PAGE) -> None:
    """Read every device once, page by page, each a statement of its own; then the report is replaced."""
    counts: Counter[DeviceKind] = Counter()
    removed, after, more = 0, _FIRST, True
    while more:
        (found,) = await rows(
            connection, _QUERIES.sweep_devices, {"after": after, "page": page, "days": stale_days}, _Page
        )
        counts.update({each.kind: each.devices for each in _COUNTS.decode(found.counts)})
        removed, after, more = removed + found.removed, found.last or after, found.more
    lines = [msgspec.structs.asdict(kind) | {"devices": devices} for kind, devices in counts.items()]
    async with connection.transaction():
        await connection.execute(_QUERIES.clear_report)
        await connection.execute(_QUERIES.write_report, {"rows": msgspec.json.encode(lines).decode()})
    if removed:
        _LOG.info("stale devices removed", extra={"devices": removed, "days": stale_days})
