-- What users want, where they are, and their badges; and the removal of users, which takes more than one transaction.

create table user_preferences (
  user_id      text collate "C" primary key,
  quiet_hours  text not null default '[]',       -- JSON, as it is kept apart from others that say the same
  snooze_until timestamptz,
  muted_topics text[] collate "C" not null default '{}',
  level        text not null default 'low' check (level in ('low', 'normal', 'high', 'none'))
) with (fillfactor = 85);

-- Who is in the app. `forget_at` is the end of the hour: a heartbeat seldom moves it, and so leaves both indexes alone.
create table user_presence (
  user_id      text collate "C" primary key,
  online_until timestamptz not null,
  forget_at    timestamptz not null
) with (fillfactor = 70);

create index user_presence_forget on user_presence (forget_at);

create table user_badges (
  user_id text collate "C" primary key,
  badge   integer not null check (badge >= 0)
) with (fillfactor = 70);

-- Devices that left with their user, or lost that user (`is_whole` is false), until queue and record have forgotten them:
-- when that is interrupted, the next user_remove knows what there is left to do.
create table user_removals (
  user_id    text collate "C" not null,
  device_id  uuid not null,
  is_whole   boolean not null,
  removed_at timestamptz not null default now(),
  primary key (user_id, device_id)
);

-- By which a removed device is found in what was reported, and among the devices that stand for others.
create index receipts_device on receipts (device_id) where device_id <> '';
create index push_reasons_examples on push_reasons using gin (examples) where examples <> '{}';
