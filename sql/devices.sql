-- Devices: registering, changing, removing, finding them.

-- name: _filter
-- The predicate of methods/filters.py over `devices d`, without topics. Run it planned afresh (Database.rows(...,
-- fresh=True)): then the branches of absent lists fold away, and a list of one becomes an equality, which is what
-- lets the index of (user, device) deliver in the order of ids.
(%(after)s::uuid is null or d.id > %(after)s::uuid)
and (%(ids)s::uuid[] is null or d.id = any(%(ids)s::uuid[]))
and (%(users)s::text[] is null
     or case cardinality(%(users)s::text[])
          when 1 then d.user_id = (%(users)s::text[])[1] else d.user_id = any(%(users)s::text[]) end)
and (%(providers)s::text[] is null or d.provider = any(%(providers)s::text[]))
and (%(platforms)s::text[] is null or d.platform = any(%(platforms)s::text[]))
and (%(tokens)s::text[] is null or d.token = any(%(tokens)s::text[]))
and (%(provider_ids)s::text[] is null or d.provider_id = any(%(provider_ids)s::text[]))
and (%(locales)s::text[] is null or d.locale = any(%(locales)s::text[]))

-- name: _in_topics
-- The rest of the predicate, for statements that are run only when topics are given: an EXISTS becomes a join only
-- where it stands alone between ANDs, never inside an OR (the planner looks before it folds constants). Bounded by
-- `after` on the topic's side too: bounded on one side only, a late page walks the other from its beginning.
and exists (
  select from device_topics t
  where t.device_id = d.id
    and (%(after)s::uuid is null or t.device_id > %(after)s::uuid)
    and case cardinality(%(topics)s::text[])
          when 1 then t.topic = (%(topics)s::text[])[1] else t.topic = any(%(topics)s::text[]) end
)

-- name: _columns
d.id::text, d.provider, d.provider_id, d.token, d.token_kind, d.platform, d.environment, d.user_id, d.timezone, d.locale,
d.app_version, d.voip_token, d.meta, d.webpush_keys, d.state, d.failing_reason,
extract(epoch from d.created_at)::bigint as created_at, extract(epoch from d.updated_at)::bigint as updated_at

-- name: _state
-- The whole state that a registration writes, but for what names the device.
token_kind = excluded.token_kind, platform = excluded.platform, environment = excluded.environment,
user_id = excluded.user_id, timezone = excluded.timezone, locale = excluded.locale,
app_version = excluded.app_version, voip_token = excluded.voip_token, meta = excluded.meta,
webpush_keys = excluded.webpush_keys, state = 'active', failing_reason = '',
updated_at = excluded.updated_at, registered_at = excluded.registered_at

-- name: lock_registration
-- Registrations of one token, or of one id, come one after the other: without that a first registration with an id and
-- one without it lock each other out at the two unique indexes. The shared lock is the other half of lock_user in
-- sql/topics.sql: the topics of a user do not change while a device of that user is being registered, else a new
-- device could miss them. All of them in one order and before any row, so that nobody waits in a circle.
select pg_advisory_xact_lock_shared(hashtextextended('tocsin.user.' || nullif(%(user_id)s::text, ''), 0)),
       (select count(pg_advisory_xact_lock(n.key))
        from (select hashtextextended(name, 0) as key from unnest(%(names)s::text[]) name order by 1) n)

-- name: _new_device
insert into devices as d
  (id, provider, provider_id, token, token_kind, platform, environment, user_id, timezone, locale, app_version,
   voip_token, meta, webpush_keys, created_at, updated_at, registered_at)
select %(id)s::uuid, %(provider)s, %(provider_id)s, %(token)s, %(token_kind)s, %(platform)s, %(environment)s,
       %(user_id)s, %(timezone)s, %(locale)s, %(app_version)s, %(voip_token)s, %(meta)s::jsonb,
       %(webpush_keys)s::jsonb, s.now, s.now, s.now
from (select clock_timestamp() as now) s

-- name: register_by_token
-- The device that has the token keeps its id.
-- include: _new_device
on conflict on constraint devices_token do update set
-- include: _state

-- name: take_token
-- The device that held the token is gone: a device is its token. Both rows are locked in the order of their ids, so
-- that two devices that swap tokens do not lock each other out.
with locked as materialized (
  select id from devices
  where id = %(id)s::uuid or (token = %(token)s and provider = %(provider)s and provider_id = %(provider_id)s)
  order by id
  for update
)
delete from devices d using locked
where d.id = locked.id and d.id <> %(id)s::uuid
  and d.token = %(token)s and d.provider = %(provider)s and d.provider_id = %(provider_id)s

-- name: register_by_id
-- Run after take_token in one transaction.
-- include: _new_device
on conflict (id) do update set
  provider = excluded.provider, provider_id = excluded.provider_id, token = excluded.token,
-- include: _state

-- name: sync_topics
-- Run after a registration in one transaction, as a statement of its own: its snapshot then is newer than the lock on
-- the row, so it sees the topics that a concurrent registration of this device has left.
with d as (
  select * from devices where token = %(token)s and provider = %(provider)s and provider_id = %(provider_id)s
), wanted as (
  select unnest(%(topics)s::text[]) as topic
  union
  select topic from user_topics where user_id in (%(user_id)s, '')
), gone as (
  delete from device_topics t using d
  where t.device_id = d.id and not exists (select from wanted w where w.topic = t.topic)
), added as (
  insert into device_topics (topic, device_id)
  select w.topic, d.id from d, wanted w
  on conflict do nothing
)
select
-- include: _columns
, array(select w.topic from wanted w order by w.topic collate "C") as topics
from d

-- name: lock_chosen
-- Whoever changes topics of devices locks the devices first, in the order of their ids.
select count(*) from (
  select d.id from devices d
  where (%(ids)s::uuid[] is null or d.id = any(%(ids)s::uuid[]))
    and (%(users)s::text[] is null or d.user_id = any(%(users)s::text[]))
  order by d.id
  for no key update
) chosen

-- name: update
with chosen as materialized (
  select d.id from devices d
  where (%(ids)s::uuid[] is null or d.id = any(%(ids)s::uuid[]))
    and (%(users)s::text[] is null or d.user_id = any(%(users)s::text[]))
), gone as (
  delete from device_topics t using chosen c
  where t.device_id = c.id
    and case %(op)s::text
          when 'set' then t.topic <> all(%(topics)s::text[])
          when 'remove' then t.topic = any(%(topics)s::text[])
          else false end
), added as (
  insert into device_topics (topic, device_id)
  select w.topic, c.id from chosen c, (select distinct unnest(%(topics)s::text[]) as topic) w
  where %(op)s::text in ('add', 'set')
  order by c.id, w.topic
  on conflict do nothing
)
update devices d set
  user_id = coalesce(%(user_id)s::text, d.user_id),
  meta = coalesce(%(meta)s::jsonb, d.meta),
  timezone = coalesce(%(timezone)s::text, d.timezone),
  locale = coalesce(%(locale)s::text, d.locale),
  updated_at = clock_timestamp()
from chosen c
where d.id = c.id
returning d.id::text

-- name: remove
with chosen as materialized (
  select d.id from devices d
  where (%(ids)s::uuid[] is null or d.id = any(%(ids)s::uuid[]))
    and (%(users)s::text[] is null or d.user_id = any(%(users)s::text[]))
    and (%(tokens)s::text[] is null or d.token = any(%(tokens)s::text[]))
  order by d.id
  for update
)
delete from devices d using chosen c where d.id = c.id
returning d.id::text

-- name: _page_of_devices
, case when %(include_topics)s
    then array(select t.topic from device_topics t where t.device_id = d.id order by t.topic)
    else '{}' end as topics
from devices d
where

-- name: page
select
-- include: _columns
-- include: _page_of_devices
-- include: _filter
order by d.id
limit %(limit)s

-- name: count
select count(*) as count from devices d
where
-- include: _filter

-- name: page_in_topics
select
-- include: _columns
-- include: _page_of_devices
-- include: _filter
-- include: _in_topics
order by d.id
limit %(limit)s

-- name: count_in_topics
select count(*) as count from devices d
where
-- include: _filter
-- include: _in_topics
