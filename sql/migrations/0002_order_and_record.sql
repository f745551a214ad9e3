-- Order of service, pauses and rates of pushes, and a record that can be asked about one device.

-- A device that its provider asked to leave alone for a while (429 for this device), whatever the push.
alter table devices add hold_until timestamptz;

alter table pushes
  add paused_at timestamptz,
  add max_rate  integer,                        -- at most so many sends a second
  add turn      bigint not null default 0,      -- where its next page stands in the order of service
  add needs     text[] not null default '{}';   -- what its batches must say of their recipients

-- Where a push stands that has more pages to come: a new one begins beside it, not before or behind.
create index pushes_turn on pushes (lane, turn) where state = 'planning';

-- Pushes with a rate of their own: their batches are parked, and set free at this pace, whoever sends them.
create table push_paces (
  push_id    uuid primary key references pushes on delete cascade,
  per_second double precision not null check (per_second > 0),
  paid_until timestamptz not null               -- what was set free so far is paid for at this time
);

-- Credentials with a quota (FCM: 600,000 a minute for a project), paid when batches are claimed.
create table credential_paces (
  credential   text primary key references credentials on delete cascade,
  per_second   double precision not null check (per_second > 0),
  ramp_seconds double precision not null,       -- from nothing to all of it after a minute without sends
  ramped_from  timestamptz not null default now(),
  paid_until   timestamptz not null default '-infinity'
);

-- `turn` orders the batches of a credential and lane: where this one begins if every push got the same share from
-- when it came. Null once it was claimed, and while it waits for its time: then due_at alone counts.
alter table batches
  add turn        bigint,
  add parked      boolean not null default false,   -- its push is paused, or sets its own pace
  add paced       boolean not null default false,   -- its push sets its own pace
  add page        uuid not null default '00000000-0000-0000-0000-000000000000',  -- the cursor it was planned after
  add platform    text not null default '',
  add timezone    text not null default '',         -- only where the push asks for it, as with the next two
  add locale      text not null default '',
  add attributes  jsonb,                            -- one object a recipient
  add admitted    boolean[],                        -- whom the push's rate limits have let pass
  add personal    boolean not null default false,   -- its recipients' users have preferences, and are asked
  add second_try  boolean not null default false;   -- in the other environment than the device was registered for

create index batches_ready on batches (credential, lane, turn, id) where turn is not null and not parked;
create index batches_waiting on batches (credential, lane, due_at) where turn is null and not parked;
create index batches_expiring on batches (expire_at) where expire_at is not null;
create index batches_push_page on batches (push_id, page);
drop index batches_due;
drop index batches_push;

-- The record of one device: by push, the page of its audience that the device was on; by device, where it was among
-- few. A broadcast has one row for 500 devices, and an entry for each of them would cost more than the rest of the record.
alter table outcomes
  add page     uuid not null default '00000000-0000-0000-0000-000000000000',
  add platform text not null default '',
  add xact     bigint;                              -- who reads the record as it grows follows the transactions
alter table outcomes alter xact set default pg_current_xact_id()::text::bigint;

create index outcomes_push_page on outcomes (push_id, page);
create index outcomes_device on outcomes ((device_ids[1]), settled_at) where cardinality(device_ids) = 1;
create index outcomes_devices on outcomes using gin (device_ids) where cardinality(device_ids) between 2 and 50;
create index outcomes_xact on outcomes using brin (xact) with (pages_per_range = 16, autosummarize = on);
drop index outcomes_push;

-- Pushes that were more than a few devices: where a device is looked for that the indexes above do not know.
create index pushes_broad on pushes (id) where planned > 50;

-- Up to three devices that stand for the others.
alter table push_reasons add examples uuid[] not null default '{}';

-- What upkeep counts once in a while, because it reads every device.
create table device_report (
  provider    text not null,
  provider_id text not null,
  platform    text not null,
  state       text not null,
  age_days    integer not null,                     -- not registered for at least so many days: 0, 30, 60, 270
  devices     bigint not null,
  counted_at  timestamptz not null,
  primary key (provider, provider_id, platform, state, age_days)
);


-- Whether a device matches a condition over topics; see delivery/conditions.py, which writes the program.
-- The program is in postfix order: n >= 0 pushes bit n of the mask, -1 is not, -2 and, -3 or.
create function condition_holds(program integer[], mask bigint) returns boolean
language plpgsql immutable strict parallel safe as $$
declare
  stack boolean[] := '{}';
  top integer := 0;
  step integer;
begin
  foreach step in array program loop
    case
      when step >= 0 then
        top := top + 1;
        stack[top] := mask >> step & 1 = 1;
      when step = -1 then
        stack[top] := not stack[top];
      when step = -2 then
        top := top - 1;
        stack[top] := stack[top] and stack[top + 1];
      when step = -3 then
        top := top - 1;
        stack[top] := stack[top] or stack[top + 1];
    end case;
  end loop;
  return stack[1];
end
$$;
