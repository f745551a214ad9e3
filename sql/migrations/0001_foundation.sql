-- Devices, topics, credentials, pushes, the queue and its record.

create table devices (
  id             uuid primary key,
  provider       text not null,
  provider_id    text not null default '',       -- named credential; '' = the provider's default one
  token          text collate "C" not null,
  token_kind     text not null default 'token',  -- FCM: token or fid
  platform       text not null,
  environment    text not null default '',       -- APNs: production or sandbox; '' = the credential's
  user_id        text collate "C" not null default '',
  timezone       text not null default '',
  locale         text not null default '',
  app_version    text not null default '',
  voip_token     text not null default '',
  meta           jsonb not null default '{}',
  webpush_keys   jsonb,
  state          text not null default 'active' check (state in ('active', 'failing', 'dead')),
  failing_reason text not null default '',
  created_at     timestamptz not null default now(),
  updated_at     timestamptz not null default now(),
  registered_at  timestamptz not null default now(),
  -- the token leads, so that a raw token is found without knowing its credential
  constraint devices_token unique (token, provider, provider_id)
) with (fillfactor = 85);

create index devices_user on devices (user_id, id);
-- of the id alone: a column that registering changes, even in a partial index, would end in-page (HOT) updates
create index devices_troubled on devices (state, id) where state <> 'active';

-- The fan-out direction leads: a page of a topic is one index range.
create table device_topics (
  topic     text collate "C" not null,
  device_id uuid not null references devices on delete cascade,
  primary key (topic, device_id)
);

create index device_topics_device on device_topics (device_id, topic);

create table user_topics (
  id      bigint generated always as identity primary key,
  user_id text collate "C" not null,
  topic   text collate "C" not null,
  constraint user_topics_once unique (user_id, topic)
);

create index user_topics_topic on user_topics (topic, id);

-- Never the same twice, so that a credential that was removed and put again is not taken for its old self.
create sequence credential_versions;

create table credentials (
  provider_id text primary key,
  provider    text not null,
  is_default  boolean not null,
  environment text not null default '',
  source      text not null check (source in ('api', 'settings', 'emulator')),
  settings    jsonb not null,
  secrets     bytea not null,                    -- sealed with the key of the settings
  version     bigint not null default nextval('credential_versions'),
  created_at  timestamptz not null default now(),
  updated_at  timestamptz not null default now()
);

create unique index credentials_default on credentials (provider) where is_default;

-- Which credential serves a device: by name, or the provider's default one.
create view credential_routes as
  select provider, provider_id, provider_id as credential, environment from credentials
  union all
  select provider, '', provider_id, environment from credentials where is_default;

-- A credential (or a part of it) that must not send until a probe says otherwise.
create table pauses (
  credential    text not null references credentials on delete cascade,
  scope         text not null default '',        -- '' = all of it; else an APNs topic, or an FCM platform
  kind          text not null check (kind in ('trouble', 'throttle')),
  reason        text not null,
  since         timestamptz not null default now(),
  attempt       integer not null default 1,
  next_probe_at timestamptz not null,
  primary key (credential, scope)
);

create table api_keys (
  id         uuid primary key,
  name       text not null unique,
  digest     bytea not null unique,              -- SHA-256; the key itself has 256 random bits
  methods    text[] not null default '{}',       -- the methods it may call; none named = all
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);

create table pushes (
  id            uuid primary key,
  uid           text collate "C" not null constraint pushes_uid unique,
  digest        bytea not null,                  -- SHA-256 of the request as it came
  request       bytea not null,
  analytics_uid text not null default '',
  delivery      text not null check (delivery in ('at_least_once', 'at_most_once')),
  lane          smallint not null,               -- 0 urgent, 1 normal, 2 bulk
  state         text not null check (state in ('scheduled', 'planning', 'sending', 'done', 'cancelled')),
  providers     text[] not null,                 -- the providers it has a payload for
  apns_topic    text not null default '',        -- the topic its headers name, '' = the credential's
  audience      jsonb,                           -- null once there is nothing left to plan
  accepted_at   timestamptz not null,
  send_at       timestamptz not null,            -- accepted_at unless scheduled; devices made later are not hit
  plan_at       timestamptz not null,            -- whose turn it is to be planned: moves with each page
  expire_at     timestamptz,
  cursor        uuid,                            -- the last device that was planned
  planned       bigint not null default 0,
  settled       bigint not null default 0,
  planned_at    timestamptz,
  finished_at   timestamptz,
  check (settled <= planned)
) with (fillfactor = 70);

create index pushes_to_plan on pushes (lane, plan_at) where state in ('scheduled', 'planning');
create index pushes_state on pushes (state, id);
create index pushes_analytics on pushes (analytics_uid) where analytics_uid <> '';

-- The ledger: planned = accepted + failed + expired + cancelled + suppressed + dropped + pending.
create table push_ledger (
  push_id    uuid not null references pushes on delete cascade,
  provider   text not null,
  planned    bigint not null default 0,
  accepted   bigint not null default 0,
  failed     bigint not null default 0,
  expired    bigint not null default 0,
  cancelled  bigint not null default 0,
  suppressed bigint not null default 0,
  dropped    bigint not null default 0,
  primary key (push_id, provider),
  check (planned >= accepted + failed + expired + cancelled + suppressed + dropped)
) with (fillfactor = 70);

-- Everything that was not accepted, counted by reason; `skipped` and `retried` (attempts) are outside the ledger.
create table push_reasons (
  push_id  uuid not null references pushes on delete cascade,
  provider text not null,
  outcome  text not null,
  reason   text not null,
  count    bigint not null,
  primary key (push_id, provider, outcome, reason)
);

-- The hot table of the queue. A batch is due, or claimed (claimed_by is set and due_at is when the lease ends),
-- or waits for a retry (due_at ahead): one index serves all three.
create table batches (
  id               bigint generated always as identity primary key,
  push_id          uuid not null,
  provider         text not null,
  credential       text not null,
  environment      text not null default '',
  scope            text not null default '',
  target           text not null default 'token',  -- token, fid, topic, condition
  lane             smallint not null,
  due_at           timestamptz not null,
  attempt          integer not null default 0,
  first_attempt_at timestamptz,
  claimed_by       uuid,
  expire_at        timestamptz,
  recipient_count  integer not null,
  device_ids       uuid[],                          -- null for raw tokens, topics and conditions
  tokens           text collate "C" not null        -- one a line
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Token lists are written once and read once: out of line, so that a claim does not copy them; not compressed,
-- because that costs more than it saves on random hex.
alter table batches alter tokens set storage external, alter device_ids set storage external;
create index batches_due on batches (credential, lane, due_at);
create index batches_push on batches (push_id);

-- What came of each attempt of a batch: the recipients as one array, the exceptions beside it.
create table outcomes (
  push_id     uuid not null,
  batch_id    bigint not null,
  provider    text not null,
  credential  text not null,
  environment text not null,
  attempt     integer not null,
  started_at  timestamptz not null,
  settled_at  timestamptz not null default now(),
  device_ids  uuid[],
  tokens      text collate "C",                     -- raw recipients only
  message_ids bytea not null,                       -- the provider's ids of the accepted ones, one a line; empty
                                                    -- where they follow from push, batch, attempt and position
  positions   integer[] not null,                   -- of the recipients that were not accepted
  outcomes    text[] not null,
  reasons     text[] not null,
  statuses    integer[] not null                    -- the provider's HTTP status, 0 = no answer
) partition by range (settled_at);

create index outcomes_push on outcomes (push_id);
create table outcomes_default partition of outcomes default;

-- Makes the partitions of the days from today on; called by maintenance, safe to repeat and to run twice at once.
create function ensure_outcome_partitions(days integer) returns void language plpgsql as $$
declare
  day date;
begin
  perform pg_advisory_xact_lock(hashtext('tocsin.outcome_partitions'));
  for day in select generate_series(current_date, current_date + days, '1 day')::date loop
    if to_regclass('outcomes_' || to_char(day, 'YYYYMMDD')) is null
       and not exists (select from outcomes_default where settled_at >= day and settled_at < day + 1) then
      execute format('create table %I partition of outcomes for values from (%L) to (%L)',
                     'outcomes_' || to_char(day, 'YYYYMMDD'), day, day + 1);
    end if;
  end loop;
end
$$;

create table receipts (
  analytics_uid text collate "C" not null,
  status        text not null check (status in ('delivered', 'interacted')),
  device_id     text collate "C" not null,
  msg_id        text collate "C" not null default '',
  received_at   timestamptz not null default now(),
  primary key (analytics_uid, status, device_id, msg_id)
);

create index receipts_received on receipts using brin (received_at);
