-- What follows the record as it grows: cursors, the counts behind push_stats, and outcome webhooks.

-- How far a consumer has read. `begun_*` is the end of a page that it is handing to somebody outside: after a crash the
-- same page is handed over again, letter for letter, so that its receiver can tell.
create table feed_cursors (
  name           text primary key,
  xact           bigint not null,
  batch_id       bigint not null,
  attempt        integer not null,
  begun_xact     bigint,
  begun_batch_id bigint,
  begun_attempt  integer,
  read_to        timestamptz not null,             -- what was settled before is read
  updated_at     timestamptz not null default now()
);

-- Receipts are read like outcomes: by transaction, and in a transaction by id. A B-tree, because unlike the record this
-- table fills the room of rows that were removed, so that its pages are in no order.
alter table receipts
  add id   bigint generated always as identity,
  add xact bigint;
alter table receipts alter xact set default pg_current_xact_id()::text::bigint;
create index receipts_feed on receipts (xact, id);

-- Where a push wants its outcomes told: url, outcomes, and its secret sealed (delivery/webhooks/hooks.py).
alter table pushes add webhook jsonb;

-- Outcomes counted by minute and by hour; the reason is empty where the recipient was accepted.
create table outcome_stats (
  width       smallint not null,                   -- seconds: 60 or 3600
  bucket      timestamptz not null,
  provider    text not null,
  provider_id text not null,
  platform    text not null,
  outcome     text not null,
  reason      text not null,
  count       bigint not null,
  primary key (width, bucket, provider, provider_id, platform, outcome, reason)
) with (fillfactor = 80);

-- Batches of events on their way to an application: due, or claimed (claimed_by is set and due_at is when the lease
-- ends), or dead letters (failed_at is set).
create table webhook_deliveries (
  id          uuid primary key,
  url         text collate "C" not null,
  credential  text not null default '',            -- whose secret signs it; '' = its own
  secret      bytea,                               -- a push's own, sealed
  body        bytea not null,
  events      integer not null,
  created_at  timestamptz not null default now(),
  due_at      timestamptz not null default now(),
  retry_until timestamptz not null,
  attempts    integer not null default 0,
  claimed_by  uuid,
  last_status integer not null default 0,          -- 0 = no answer
  last_error  text not null default '',
  failed_at   timestamptz
) with (autovacuum_vacuum_scale_factor = 0.02);

alter table webhook_deliveries alter body set storage external;
create index webhook_deliveries_due on webhook_deliveries (url, due_at) where failed_at is null;
create index webhook_deliveries_failed on webhook_deliveries (id) where failed_at is not null;
create index webhook_deliveries_failed_url on webhook_deliveries (url, id) where failed_at is not null;
