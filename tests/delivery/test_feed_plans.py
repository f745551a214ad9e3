"""How PostgreSQL reads a page of the record: by partition and index, however much there is."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from storage.database import Database
from storage.feed import Place, Span
from storage.queries import load


@pytest.fixture(scope="module")
def filled_url(postgres: Any, template: str) -> Iterator[str]:
    """A database whose record has five days, each with 4,000 rows of as many transactions (as their numbers say)."""
    with postgres.new_database(template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("set timezone = 'UTC'")
            for day in range(20, 25):
                connection.execute(
                    f"create table outcomes_202611{day} partition of outcomes"
                    f" for values from ('2026-11-{day}') to ('2026-11-{day + 1}')".encode()
                )
            connection.execute(
                b"""
                insert into outcomes (push_id, batch_id, provider, credential, environment, attempt, started_at,
                                      settled_at, device_ids, message_ids, positions, outcomes, reasons, statuses, xact)
                select gen_random_uuid(), n, 'fcm', 'fcm', '', 1, now(),
                       timestamptz '2026-11-20' + n * interval '21.6 second',
                       array(select gen_random_uuid() from generate_series(1, 20)), '', '{}', '{}', '{}', '{}', n
                from generate_series(0, 19999) n
                """
            )
            connection.execute(b"vacuum analyze outcomes")  # which summarises the BRIN indexes as well
        yield url


async def test_a_page_is_read_by_the_partitions_and_the_index_on_transactions(filled_url: str) -> None:
    span = Span("outcomes", Place(15_000), Place(15_100), 1_763_942_400.0 + 365 * 86_400)
    query = b"explain (analyze, timing off, costs off, buffers off) "
    page = span.parameters() | {"until": 15_100, "batches": 256, "bytes": 256_000}
    async with Database(filled_url) as database:
        for statement, parameters in (
            (load("feed").outcomes_end, page),
            (load("feed").outcomes, span.parameters() | {"credentials": None}),
            (load("stats").add_outcomes, span.parameters()),
        ):
            plan = "\n".join(row[0] for row in await database.values(query + statement, parameters))
            assert "outcomes_20261120" not in plan.replace("never executed", ""), plan
            assert "Seq Scan on outcomes" not in plan, plan
            scanned = [line for line in plan.splitlines() if "outcomes_20261123_xact_idx" in line]
            assert scanned, plan
            removed = [int(line.rpartition(" ")[2]) for line in plan.splitlines() if "Rows Removed" in line]
            assert sum(removed) < 2000, f"of 20,000\n{plan}"
