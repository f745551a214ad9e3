"""The databases that tests share one after the other: each is as new, or is used no more."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.clones import Clones
from tests.conftest import Server

_UNNUMBERED = "insert into receipts (analytics_uid, status, device_id) values ('a', 'delivered', 'd')"
_NUMBERED = "insert into user_topics (user_id, topic) values ('u', 't') returning id"


@pytest.fixture
def own(postgres: Server, template: str) -> Iterator[Clones]:
    with Clones(lambda: postgres.new_database(template)) as lender:
        yield lender


def _do(url: str, *statements: str) -> list[object]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [_first(connection.execute(statement.encode())) for statement in statements]


def _first(cursor: "psycopg.Cursor[tuple[object, ...]]") -> object:
    row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def test_a_database_comes_back_without_rows_and_with_its_sequences_at_the_start(own: Clones) -> None:
    with own.one() as first:
        written = _do(first, _UNNUMBERED, _NUMBERED)
    with own.one() as second:
        assert second == first
        left = _do(second, "select count(*) from receipts", "select count(*) from user_topics", _NUMBERED)
    assert left == [0, 0, written[1]]


@pytest.mark.parametrize(
    "change",
    [
        "create table further (x int)",
        "drop table receipts",
        "alter table devices add x int",
        "alter table devices alter platform drop not null",
        "drop index user_topics_topic",
        "create or replace function ensure_outcome_partitions(days integer) returns void language sql as ''",
        "update schema_migrations set checksum = 'x'",
        "analyze user_topics",
        "insert into user_topics (user_id, topic) select n::text, 't' from generate_series(1, 50000) n",
    ],
)
def test_a_database_that_was_changed_otherwise_is_used_no_more(own: Clones, change: str) -> None:
    with own.one() as first:
        _do(first, _NUMBERED, change)
    with own.one() as second:
        assert second != first


def test_who_is_still_connected_is_put_out(own: Clones) -> None:
    with own.one() as url:
        left = psycopg.connect(url)
        left.execute("insert into user_topics (user_id, topic) values ('u', 't')")
    with left, pytest.raises(psycopg.OperationalError):
        left.execute("select 1")


def test_two_at_once_are_two(own: Clones) -> None:
    with own.one() as first, own.one() as second:
        assert first != second
