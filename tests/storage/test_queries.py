"""The query loader, and the promise that every query of sql/ prepares."""

import re
from importlib.resources import files

import psycopg
import pytest
from psycopg.pq import ExecStatus

from storage.database import Database
from storage.queries import Queries, load

_PARAMETER = re.compile(rb"%\((\w+)\)s|%%")
_SUBJECTS = sorted(file.name.removesuffix(".sql") for file in files("sql").iterdir() if file.name.endswith(".sql"))
_ALL = [(subject, name) for subject in _SUBJECTS if subject != "schema" for name in load(subject).statements()]


def _numbered(statement: bytes) -> bytes:
    """The statement with $1, $2 for the named parameters, as psycopg sends it."""
    names: dict[bytes, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        if match[0] == b"%%":
            return b"%"
        return b"$%d" % names.setdefault(match[1], len(names) + 1)

    return _PARAMETER.sub(number, statement)


@pytest.mark.parametrize(("subject", "name"), _ALL)
def test_every_query_prepares(subject: str, name: str, shared_connection: "psycopg.Connection[object]") -> None:
    result = shared_connection.pgconn.prepare(b"", _numbered(load(subject).statements()[name]))
    assert result.status == ExecStatus.COMMAND_OK, result.error_message.decode()


def test_a_query_is_found_by_its_name() -> None:
    queries = Queries("fruits", "-- about the file\n-- name: one\n-- why\nselect 1\n\n-- name: two\nselect 2\n")
    assert queries.one == b"-- why\nselect 1"
    assert queries.two == b"select 2"


def test_a_name_that_is_not_there_is_told_with_its_file() -> None:
    with pytest.raises(AttributeError, match=r"sql/fruits.sql has no query named three"):
        _ = Queries("fruits", "-- name: one\nselect 1").three


def test_a_fragment_is_put_where_it_is_included_and_is_no_query_itself() -> None:
    text = "-- name: _tail\norder by id\n-- name: one\nselect id from a\n-- include: _tail\n"
    assert dict(Queries("fruits", text).statements()) == {"one": b"select id from a\norder by id"}


async def test_parameters_are_given_by_name(database: Database) -> None:
    assert await database.values(b"select %(one)s::int + %(one)s::int + %(two)s::int", {"one": 1, "two": 5}) == [(7,)]
