-- Devices: registering, changing, removing, finding them.

-- name: _filter
-- The predicate of methods/filters.py over `devices d`, without topics. Run it planned afresh (Database.rows(...,
-- fresh=True)): then the branches of absent lists fold away, and a list of one becomes an equality, which is what
-- lets the index of (user, device) deliver in the order of ids. `with_accounts` says that any of the users is a further
-- user of some device: without it that order would be lost for everybody.
(%(after)s::uuid is null or d.id > %(after)s::uuid)
and (%(ids)s::uuid[] is null or d.id = any(%(ids)s::uuid[]))
and (%(users)s::text[] is null
     or case cardinality(%(users)s::text[])
          when 1 then d.user_id = (%(users)s::text[])[1] else d.user_id = any(%(users)s::text[]) end
     or (%(with_accounts)s::boolean
         and d.id = any(array(select device_id from device_accounts where user_id = any(%(users)s::text[])))))
and provider_is(%(providers)s::text[], d.provider, d.environment, d.voip_token)
and (%(platforms)s::text[] is null or d.platform = any(%(platforms)s::text[]))
and (%(tokens)s::text[] is null or d.token = any(%(tokens)s::text[])
     or (d.voip_token <> '' and d.voip_token = any(%(tokens)s::text[])))
and (%(provider_ids)s::text[] is null or d.provider_id = any(%(provider_ids)s::text[]))
and (%(locales)s::text[] is null or d.locale = any(%(locales)s::text[]))
and (%(c_program)s::integer[] is null or condition_holds(%(c_program)s::integer[], (
  select coalesce(bit_or(1::bigint << array_position(%(c_topics)s::text[], t.topic) - 1), 0) from device_topics t
  where t.device_id = d.id and t.topic = any(%(c_topics)s::text[]))))

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
d.app_version, d.voip_token, d.accounts, d.meta, d.webpush_keys, d.state, d.failing_reason, d.voip_state,
d.voip_failing_reason,
extract(epoch from d.created_at)::bigint as created_at, extract(epoch from d.updated_at)::bigint as updated_at

-- name: _state
-- The whole state that a registration writes, but for what names the device.
token_kind = excluded.token_kind, platform = excluded.platform, environment = excluded.environment,
user_id = excluded.user_id, accounts = excluded.accounts, timezone = excluded.timezone, locale = excluded.locale,
app_version = excluded.app_version, voip_token = excluded.voip_token, meta = excluded.meta,
webpush_keys = excluded.webpush_keys, state = 'active', failing_reason = '', voip_state = 'active',
voip_failing_reason = '',
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
  (id, provider, provider_id, token, token_kind, platform, environment, user_id, accounts, timezone, locale,
   app_version, voip_token, meta, webpush_keys, created_at, updated_at, registered_at)
select %(id)s::uuid, %(provider)s, %(provider_id)s, %(token)s, %(token_kind)s, %(platform)s, %(environment)s,
       %(user_id)s, %(accounts)s::text[], %(timezone)s, %(locale)s, %(app_version)s, %(voip_token)s, %(meta)s::jsonb,
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

-- name: take_voip_token
-- Run before a registration with a VoIP token: whoever held that one loses it, and is gone where it had no other.
with holders as materialized (
  select id, token_kind from devices
  where voip_token = %(voip_token)s and voip_token <> '' and provider = %(provider)s and provider_id = %(provider_id)s
    and case when %(by_id)s::boolean then id <> %(id)s::uuid else token <> %(token)s end
  order by id
  for update
), gone as (
  delete from devices d using holders h where d.id = h.id and h.token_kind = 'voip'
)
update devices d set voip_token = '', voip_state = 'active', voip_failing_reason = '', updated_at = clock_timestamp()
from holders h
where d.id = h.id and h.token_kind <> 'voip'

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

-- name: sync_by_token
-- These users are logged in on the device that has the token, beside those who are already; it is made when there is
-- none. What the call does not say stays as it is. Nothing changes when they would be more than a device may have.
-- include: _new_device
on conflict on constraint devices_token do update set
  (user_id, accounts) = (
    select users[1], users[2:]
    from changed_users(d.user_id || d.accounts, 'add', excluded.user_id || excluded.accounts) users),
  environment = coalesce(nullif(excluded.environment, ''), d.environment),
  timezone = coalesce(nullif(excluded.timezone, ''), d.timezone),
  locale = coalesce(nullif(excluded.locale, ''), d.locale),
  app_version = coalesce(nullif(excluded.app_version, ''), d.app_version),
  voip_token = coalesce(nullif(excluded.voip_token, ''), d.voip_token),
  webpush_keys = coalesce(excluded.webpush_keys, d.webpush_keys),
  state = 'active', failing_reason = '', voip_state = 'active', voip_failing_reason = '',
  updated_at = excluded.updated_at, registered_at = excluded.registered_at
where cardinality(changed_users(d.user_id || d.accounts, 'add', excluded.user_id || excluded.accounts)) <= %(most)s

-- name: add_users_topics
with d as (
  select * from devices where token = %(token)s and provider = %(provider)s and provider_id = %(provider_id)s
), added as (
  insert into device_topics (topic, device_id)
  select distinct u.topic, d.id from d join user_topics u on u.user_id in (d.user_id, '')
  on conflict do nothing
)
select d.id::text, d.user_id, d.accounts from d

-- name: by_token
select d.id::text from devices d
where d.provider_id = %(provider_id)s and provider_is(%(providers)s::text[], d.provider, d.environment, d.voip_token)
  and (d.token = any(%(tokens)s::text[]) or (d.voip_token <> '' and d.voip_token = any(%(tokens)s::text[])))
order by d.registered_at desc
limit 1

-- name: lock_accounts
select d.id from devices d where d.id = %(id)s::uuid for no key update

-- name: change_accounts
-- Run after lock_accounts in one transaction. The main user is the first; who was the second follows one that leaves.
with d as (
  select d.id, changed_users(d.user_id || d.accounts, %(op)s::text, %(users)s::text[]) as users
  from devices d where d.id = %(id)s::uuid
), changed as (
  update devices v set user_id = coalesce(d.users[1], ''), accounts = d.users[2:], updated_at = clock_timestamp()
  from d where v.id = d.id and cardinality(d.users) <= %(most)s
)
select d.id::text, coalesce(d.users[1], '') as user_id, d.users[2:] as accounts from d

-- name: any_accounts
select exists (select from device_accounts where user_id = any(%(users)s::text[]))

-- name: end_sync_tokens
-- Those of long ago have ended by themselves.
with past as (
  delete from sync_token_limits where issued_before < now() - interval '60 days'
)
insert into sync_token_limits (user_id, issued_before) values (%(user_id)s, to_timestamp(%(now)s::float8))
on conflict (user_id) do update set issued_before = excluded.issued_before

-- name: sync_token_limits
select user_id, extract(epoch from issued_before)::float8 from sync_token_limits where user_id = any(%(users)s::text[])

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
  user_id = coalesce(nullif(%(user_id)s::text, ''),
                     case when %(user_id)s::text is null then d.user_id else coalesce(d.accounts[1], '') end),
  accounts = case when %(user_id)s::text = '' then d.accounts[2:]
                  else array_remove(d.accounts, %(user_id)s::text) end,
  meta = coalesce(%(meta)s::jsonb, d.meta),
  timezone = coalesce(%(timezone)s::text, d.timezone),
  locale = coalesce(%(locale)s::text, d.locale),
  updated_at = clock_timestamp()
from chosen c
where d.id = c.id
returning d.id::text

-- name: remove
-- Who is named leaves. A device on which others are logged in stays theirs; one of which the VoIP token alone is named,
-- and that has another, keeps that one. A token is looked for in the kinds that the providers stand for.
with chosen as materialized (
  select d.id, n.is_plain and (%(tokens)s::text[] is null or d.token = any(%(tokens)s::text[])) as is_whole,
         case when %(users)s::text[] is not null
              then changed_users(d.user_id || d.accounts, 'remove', %(users)s::text[]) else '{}' end as others
  from devices d
  cross join lateral (
    select d.token_kind = 'voip' or %(providers)s::text[] is null or d.provider = any(%(providers)s::text[])
             or (d.provider = 'apns' and d.environment = 'sandbox' and 'apns_internal' = any(%(providers)s::text[]))
             as is_plain
  ) n
  where (%(ids)s::uuid[] is null or d.id = any(%(ids)s::uuid[]))
    and (%(users)s::text[] is null or d.user_id = any(%(users)s::text[])
         or d.id = any(array(select device_id from device_accounts where user_id = any(%(users)s::text[]))))
    and provider_is(%(providers)s::text[], d.provider, d.environment, d.voip_token)
    and (%(tokens)s::text[] is null or (n.is_plain and d.token = any(%(tokens)s::text[]))
         or (d.voip_token <> '' and d.voip_token = any(%(tokens)s::text[])
             and provider_is(array_remove(%(providers)s::text[], 'apns_internal'),
                             d.provider, d.environment, d.voip_token)))
  order by d.id
  for update of d
), gone as (
  delete from devices d using chosen c where d.id = c.id and c.is_whole and c.others = '{}'
), left_behind as (
  update devices d set
    user_id = coalesce(c.others[1], d.user_id),
    accounts = case when c.others = '{}' then d.accounts else c.others[2:] end,
    voip_token = case when c.others = '{}' then '' else d.voip_token end,
    updated_at = clock_timestamp()
  from chosen c
  where d.id = c.id and not (c.is_whole and c.others = '{}')
)
select id::text from chosen

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
