"""Statements in one trip and one transaction: what happens when another transaction was first."""

import msgspec
import psycopg
import pytest

from storage.database import Database, DatabaseUnavailableError
from storage.pipeline import last_rows

_FAILING = b"""
create function fail_below(tries int) returns int language plpgsql as $$
begin
  if nextval('tries') < tries then raise unique_violation; end if;
  return 1;
end $$
"""


class Row(msgspec.Struct):
    value: int


@pytest.fixture(autouse=True)
async def failing(database: Database) -> None:
    """A function that breaks a unique constraint until it has been called so many times."""
    await database.execute(b"create sequence tries", {})
    await database.execute(_FAILING, {})
    await database.execute(b"create table written (value int)", {})


async def attempt(database: Database, tries: int) -> list[Row]:
    write = b"insert into written values (%(tries)s)"
    select = b"select fail_below(%(tries)s) as value"
    params = {"tries": tries}
    return await last_rows(database, [(write, params), (select, params)], Row)


async def written(database: Database) -> int:
    return len(await database.values(b"select value from written", {}))


async def test_a_lost_race_is_run_again_as_a_whole(database: Database) -> None:
    assert await attempt(database, 4) == [Row(1)]
    assert await written(database) == 1


async def test_ten_lost_races_are_enough(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await attempt(database, 1000)
    assert await database.values(b"select nextval('tries')", {}) == [(11,)]
    assert await written(database) == 0


async def test_another_error_is_raised_and_undoes_the_statements_before_it(database: Database) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await last_rows(database, [(b"insert into written values (1)", {}), (b"select 1 / 0 as value", {})], Row)
    assert await written(database) == 0


async def test_errors_do_not_spoil_the_connections_that_come_after(database: Database) -> None:
    for _ in range(30):
        await database.execute(b"select setval('tries', 1, false)", {})
        assert await attempt(database, 2) == [Row(1)]
    assert await written(database) == 30
