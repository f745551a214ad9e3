-- name: unhurried
-- First in each migration's transaction: building an index, or waiting for another starter that builds one, may take
-- longer than a request may. A statement of its own, because the limits of a statement are read when it begins.
select set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)

-- name: take_turn
-- Starters on any number of hosts come one by one; the end of the transaction, or of the process, gives it back.
select pg_advisory_xact_lock(hashtext('tocsin.migrations'))

-- name: create_table
create table if not exists schema_migrations (
  version    integer primary key,
  name       text not null,
  checksum   text not null,                      -- SHA-256 of the file as it was applied
  applied_at timestamptz not null default now()
)

-- name: table_exists
select to_regclass('schema_migrations') is not null

-- name: applied
select version, name, checksum, extract(epoch from applied_at)::float8 as applied_at
from schema_migrations
order by version

-- name: record
insert into schema_migrations (version, name, checksum) values (%(version)s, %(name)s, %(checksum)s)
