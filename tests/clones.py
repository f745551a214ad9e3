"""Databases for tests: copies of a migrated one, emptied and used again while that is all a test did to them.

Making and dropping a database costs PostgreSQL some 250 ms, because both wait for a checkpoint; deleting the few rows
that a test wrote costs a twentieth of that. Whatever else a test changed (a table dropped, a partition made, statistics
gathered, many rows written) is seen, and that database is used no more.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Self

import psycopg

_MOST_BYTES = 4_000_000

# Who was connected is gone before the rows go, so that nothing comes after.
_DISCONNECT = b"""
select pg_terminate_backend(pid, 10000) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""

# The newest tables first: they refer to the older ones. `schema_migrations` is a part of the schema.
_EMPTY = b"""
do $$
declare found record;
begin
  for found in select c.oid::regclass as name from pg_class c
               where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
                 and c.relname <> 'schema_migrations' and pg_relation_size(c.oid) > 0
               order by c.oid desc
  loop
    execute format('delete from %s', found.name);
  end loop;
  perform setval(c.oid::regclass, s.seqstart, false)
  from pg_class c join pg_sequence s on s.seqrelid = c.oid where c.relnamespace = 'public'::regnamespace;
end $$
"""

# Rows of a catalog keep their xmin for as long as nobody changes them.
_FINGERPRINT = b"""
select md5(string_agg(part, ' ' order by part)) from (
  select 'class ' || oid || ' ' || xmin || ' ' || reltuples as part from pg_class where oid >= 16384 and relkind <> 'S'
  union all select 'attribute ' || attrelid || ' ' || attnum || ' ' || xmin from pg_attribute where attrelid >= 16384
  union all select 'constraint ' || oid || ' ' || xmin from pg_constraint where oid >= 16384
  union all select 'index ' || indexrelid || ' ' || xmin from pg_index where indexrelid >= 16384
  union all select 'function ' || oid || ' ' || xmin from pg_proc where oid >= 16384
  union all select 'trigger ' || oid || ' ' || xmin from pg_trigger
  union all select 'schema ' || nspname from pg_namespace where nspname not like 'pg_%'
  union all select 'setting ' || s.setconfig::text from pg_db_role_setting s
            join pg_database d on d.oid = s.setdatabase where d.datname = current_database()
  union all select 'statistic ' || count(*) from pg_statistic where starelid >= 16384
  union all select 'migration ' || m::text from schema_migrations m
) parts
"""

_BYTES = b"""
select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'r'
"""


class Clones:
    """Lends databases that `new` makes, and drops, as a context. Use it as a context itself."""

    def __init__(self, new: Callable[[], AbstractContextManager[str]]) -> None:
        self._new = new
        self._free: list[tuple[str, ExitStack]] = []
        self._fingerprint: object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for _, own in self._free:
            own.close()

    @contextmanager
    def one(self) -> Iterator[str]:
        """Lend the URL of a database with all migrations and without a row."""
        url, own = self._free.pop() if self._free else self._made()
        with ExitStack() as dropped:
            dropped.push(own)
            yield url
            if self._emptied(url):
                self._free.append((url, own))
                dropped.pop_all()

    def _made(self) -> tuple[str, ExitStack]:
        own = ExitStack()
        url = own.enter_context(self._new())
        if self._fingerprint is None:
            with psycopg.connect(url, autocommit=True) as connection:
                self._fingerprint = _value(connection, _FINGERPRINT)
        return url, own

    def _emptied(self, url: str) -> bool:
        """Whether the database is as new again."""
        try:
            with psycopg.connect(url, autocommit=True, options="-c lock_timeout=10000") as connection:
                connection.execute(_DISCONNECT)
                if _value(connection, _FINGERPRINT) != self._fingerprint or _value(connection, _BYTES) > _MOST_BYTES:
                    return False
                connection.execute(_EMPTY)
        except psycopg.Error:
            return False
        return True


def _value(connection: psycopg.Connection[tuple[Any, ...]], statement: bytes) -> Any:
    row = connection.execute(statement).fetchone()
    return row[0] if row else None
