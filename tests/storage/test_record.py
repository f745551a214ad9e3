"""How PostgreSQL finds one device in the record of many: by index, whatever the size of the pushes."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from storage import record
from storage.database import Database
from storage.queries import load

_RECORD = load("record")
_BROAD = 300  # pages of the broad push: 30,000 devices of 100 a page, two batches each
_SEED = (
    b"select ensure_outcome_partitions(7)",
    b"""
    insert into credentials (provider_id, provider, is_default, source, settings, secrets)
    values ('apns', 'apns', true, 'api', '{}', '')
    """,
    b"""
    insert into devices (id, provider, token, platform)
    select ('0197' || lpad(to_hex(n), 28, '0'))::uuid, 'apns', 'token ' || n, 'ios' from generate_series(1, 30000) n
    """,
    # push 1 went to all, the pushes 2 to 61 to 100 devices each, the others to one or three
    b"""
    insert into pushes (id, uid, digest, request, delivery, lane, state, providers, accepted_at, send_at, plan_at,
                        planned_at, finished_at, planned, settled)
    select ('019b' || lpad(to_hex(n), 28, '0'))::uuid, 'p' || n, '', '{}', 'at_least_once', 1, 'done', '{apns}', now(),
           now(), now(), now(), now(), p.planned, p.planned
    from generate_series(1, 3000) n
    cross join lateral (
      select case when n = 1 then 30000 when n < 62 then 100 when n % 2 = 0 then 1 else 3 end) p (planned)
    """,
    b"""
    insert into outcomes (push_id, batch_id, provider, credential, environment, attempt, started_at, device_ids, page,
                          message_ids, positions, outcomes, reasons, statuses)
    select '019b0000-0000-0000-0000-000000000001', 2 * p + h, 'apns', 'apns', 'production', 1, now(),
           array(select ('0197' || lpad(to_hex(n), 28, '0'))::uuid
                 from generate_series(p * 100 + h * 50 + 1, p * 100 + h * 50 + 50) n),
           case when p = 0 then '00000000-0000-0000-0000-000000000000'
                else ('0197' || lpad(to_hex(p * 100), 28, '0'))::uuid end,
           '', '{7}', '{failed}', '{BadTopic}', '{400}'
    from generate_series(0, 299) p, generate_series(0, 1) h
    """,
    b"""
    insert into outcomes (push_id, batch_id, provider, credential, environment, attempt, started_at, device_ids,
                          message_ids, positions, outcomes, reasons, statuses)
    select p.id, 10000 + p.n, 'apns', 'apns', 'production', 1, now(),
           array(select ('0197' || lpad(to_hex(14901 + (m + p.n * 97) % 200), 28, '0'))::uuid
                 from generate_series(1, p.planned) m), '', '{}', '{}', '{}', '{}'
    from (select id, planned, row_number() over (order by id) as n from pushes) p where p.n > 1
    """,
    b"analyze",
)
_DEVICE = "01970000-0000-0000-0000-000000003aa0"  # the 15,008th, the eighth of its page


@pytest.fixture(scope="module")
def seeded_url(postgres: Any, template: str) -> Iterator[str]:
    """A database with a push of 300 pages, 60 of a hundred devices, and 2,939 to one or three."""
    with postgres.new_database(template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in _SEED:
                connection.execute(statement)
        yield url


@pytest.fixture
async def seeded(seeded_url: str) -> AsyncIterator[Database]:
    """A pool on that database."""
    async with Database(seeded_url) as opened:
        yield opened


async def plan(database: Database, query: bytes, params: dict[str, Any]) -> str:
    async with database.connection() as connection:
        cursor = await connection.execute(b"explain (analyze, timing off, costs off) " + query, params, prepare=False)
        return "\n".join(line for (line,) in await cursor.fetchall())


def rows_read(text: str) -> int:
    """The rows that scans of tables gave or threw away."""
    found = 0
    for line in text.splitlines():
        if "actual rows=" in line and "Scan" in line:
            rows, _, loops = line.partition("actual rows=")[2].partition(" loops=")
            found += int(float(rows) * int(loops.rstrip(")")))
        if "Rows Removed by" in line:
            found += int(line.rpartition(" ")[2])
    return found


async def test_a_device_is_found_in_a_push_of_many_pages_by_index(seeded: Database) -> None:
    text = await plan(seeded, _RECORD.of_device, {"uid": "p1", "device_id": _DEVICE})
    assert "Seq Scan on outcomes" not in text
    assert "Seq Scan on batches" not in text
    assert "batches_pkey" not in text, "which an empty queue suggests, and which walks a full one"
    assert rows_read(text) < 40, text


async def test_the_latest_pushes_of_a_device_are_found_by_index(seeded: Database) -> None:
    params = {"device_id": _DEVICE, "before": "ffffffff-ffff-ffff-ffff-ffffffffffff", "limit": 21, "most_broad": 200}
    text = await plan(seeded, _RECORD.latest, params)
    for table in ("outcomes", "batches", "pushes"):
        assert f"Seq Scan on {table}" not in text, text
    assert rows_read(text) < 1000, text


async def test_a_device_is_found_on_its_page(seeded: Database) -> None:
    found = await record.of_device(seeded, "p1", _DEVICE)
    assert found is not None
    [attempt] = found.attempts
    assert (attempt.batch_id, attempt.position) == (300, 7)
    assert (attempt.outcome, attempt.reason, attempt.status) == ("failed", "BadTopic", 400)


async def test_the_last_device_of_a_page_is_not_looked_for_on_the_next(seeded: Database) -> None:
    found = await record.of_device(seeded, "p1", f"01970000-0000-0000-0000-{15000:012x}")
    assert found is not None
    assert [(attempt.batch_id, attempt.position) for attempt in found.attempts] == [(299, 49)]


async def test_pages_of_the_latest_pushes_hold_each_push_once_and_newest_first(seeded: Database) -> None:
    whole, _ = await record.latest(seeded, _DEVICE, None, 10_000)
    assert len(whole) > 3
    assert [row.push_id for row in whole] == sorted((row.push_id for row in whole), reverse=True)
    paged: list[str] = []
    cursor: str | None = None
    for _ in range(100):
        rows, cursor = await record.latest(seeded, _DEVICE, cursor, 2, most_broad=5)
        paged.extend(row.push_id for row in rows)
        if cursor is None:
            break
    assert paged == [row.push_id for row in whole]


async def test_the_latest_pushes_of_a_device_include_the_broad_ones(seeded: Database) -> None:
    expected = await seeded.values(
        b"select distinct push_id::text from outcomes where %(device)s = any (device_ids::text[]) order by 1 desc",
        {"device": _DEVICE},
    )
    whole, cursor = await record.latest(seeded, _DEVICE, None, 10_000)
    assert [row.push_id for row in whole] == [row[0] for row in expected]
    assert cursor is None


async def test_a_stored_message_id_is_that_of_the_devices_place_among_the_accepted(database: Database) -> None:
    await database.execute(
        b"insert into pushes (id, uid, digest, request, delivery, lane, state, providers, accepted_at, send_at,"
        b" plan_at) select gen_random_uuid(), 'p', '', '{}', 'at_least_once', 1, 'done', '{fcm}', t, t, t from now() t",
        {},
    )
    await database.execute(
        b"insert into outcomes (push_id, batch_id, provider, credential, environment, attempt, started_at, device_ids,"
        b" message_ids, positions, outcomes, reasons, statuses)"
        b" select id, 1, 'fcm', 'fcm', '', 1, now(), %(ids)s::uuid[], %(names)s, '{0,2}', '{failed,retry}', '{A,B}',"
        b" '{400,503}' from pushes",
        {"ids": [f"01970000-0000-0000-0000-{n:012x}" for n in range(1, 6)], "names": b"one\nthree\nfour"},
    )
    found: list[tuple[str, str | None]] = []
    for n in range(1, 6):
        row = await record.of_device(database, "p", f"01970000-0000-0000-0000-{n:012x}")
        assert row is not None
        found.extend((attempt.outcome, attempt.message_id) for attempt in row.attempts)
    assert found == [
        ("failed", None),
        ("accepted", "one"),
        ("retry", None),
        ("accepted", "three"),
        ("accepted", "four"),
    ]
