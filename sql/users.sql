-- What users want, where they are, and their badges; and how a user is removed.

-- name: _preferences
p.user_id, p.quiet_hours, extract(epoch from p.snooze_until)::float8 as snooze_until, p.muted_topics, p.level

-- name: of_devices
-- What the users of these devices want, and by which of these topics a push reaches each device.
select d.id::text as device_id, d.timezone,
       case when %(topics)s::text[] is null then '{}'
            else array(select s.topic from device_topics s where s.device_id = d.id and s.topic = any (%(topics)s::text[]))
       end as topics,
-- include: _preferences
from devices d
join user_preferences p on p.user_id = d.user_id
where d.id = any (%(device_ids)s::uuid[])

-- name: preferences
select
-- include: _preferences
from user_preferences p where p.user_id = any (%(users)s::text[])

-- name: _muted
-- The muted topics as they become, from the row as it is once it is locked.
case when %(topics)s::text[] is null then p.muted_topics
     when %(op)s = 'set' then excluded.muted_topics
     else array(
       select m.topic from unnest(p.muted_topics || case when %(op)s = 'add' then excluded.muted_topics end) m (topic)
       where %(op)s = 'add' or m.topic <> all (%(topics)s::text[])
       group by m.topic order by m.topic) end

-- name: update_preferences
-- What is null stays as it is. No row comes back when more topics would be muted than a user may mute.
insert into user_preferences as p (user_id, quiet_hours, snooze_until, muted_topics, level)
select %(user)s, coalesce(%(quiet_hours)s, '[]'),
       case when to_timestamp(%(snooze_until)s::float8) > now() then to_timestamp(%(snooze_until)s::float8) end,
       array(select distinct t from unnest(%(topics)s::text[]) t where %(op)s <> 'remove' order by t),
       coalesce(%(level)s, 'low')
on conflict (user_id) do update set
  quiet_hours = coalesce(%(quiet_hours)s, p.quiet_hours),
  snooze_until = case when %(snooze_until)s::float8 is null then p.snooze_until else excluded.snooze_until end,
  muted_topics =
-- include: _muted
, level = coalesce(%(level)s, p.level)
where %(op)s <> 'add' or cardinality(
-- include: _muted
) <= %(most)s
returning
-- include: _preferences

-- name: come_online
insert into user_presence (user_id, online_until, forget_at)
values (%(user)s, to_timestamp(%(until)s::float8), to_timestamp(ceil(%(until)s::float8 / 3600) * 3600))
on conflict (user_id) do update set online_until = excluded.online_until, forget_at = excluded.forget_at

-- name: go_offline
delete from user_presence where user_id = %(user)s

-- name: online_until
select user_id, extract(epoch from online_until)::float8 from user_presence
where user_id = any (%(users)s::text[]) and online_until > to_timestamp(%(now)s::float8)

-- name: remove_past_presence
delete from user_presence
where user_id in (
  select u.user_id from user_presence u
  where u.forget_at <= to_timestamp(%(now)s::float8)
  order by u.forget_at
  limit %(most)s
  for update skip locked
)

-- name: change_badge
-- Adding nothing makes no counter: a user without one is not a user at zero, whose icon is to be cleared.
with changed as (
  insert into user_badges as b (user_id, badge)
  select %(user)s, greatest(0, least(%(value)s::bigint, %(most)s::bigint))
  where %(op)s <> 'add' or %(value)s::bigint <> 0
  on conflict (user_id) do update
  set badge = case when %(op)s = 'add' then greatest(0, least(b.badge + %(value)s::bigint, %(most)s::bigint))
                   else excluded.badge end
  returning b.badge
)
select coalesce((select badge from changed), (select badge from user_badges where user_id = %(user)s), 0) as badge

-- name: badges
select user_id, badge from user_badges where user_id = any (%(users)s::text[])

-- name: lock_user
-- As in sql/topics.sql: no device of this user is registered meanwhile, and no topic of the user changes.
select pg_advisory_xact_lock(hashtextextended('tocsin.user.' || %(user)s::text, 0))

-- name: lock_devices
select count(*) from (
  select d.id from devices d
  where d.user_id = %(user)s::text
     or d.id = any (array(select a.device_id from device_accounts a where a.user_id = %(user)s::text))
  order by d.id for update
) owned

-- name: remove_user
-- What has the user's name on it, in one piece, with the devices noted that the queue and the record are to forget. A
-- device that others are logged in on becomes theirs, and keeps of the user's topics those that one of them has too.
with owned as materialized (
  select d.id, changed_users(d.user_id || d.accounts, 'remove', array[%(user)s::text]) as others
  from devices d
  where d.user_id = %(user)s::text
     or d.id = any (array(select a.device_id from device_accounts a where a.user_id = %(user)s::text))
),
noted as (
  insert into user_removals as r (user_id, device_id, is_whole)
  select %(user)s, o.id, o.others = '{}' from owned o
  on conflict (user_id, device_id) do update set is_whole = r.is_whole or excluded.is_whole
),
gone as (
  delete from devices d using owned o where d.id = o.id and o.others = '{}' returning d.id
),
left_behind as (
  update devices d set user_id = o.others[1], accounts = o.others[2:], updated_at = clock_timestamp()
  from owned o where d.id = o.id and o.others <> '{}'
  returning d.id
),
topics as (
  delete from user_topics u where u.user_id = %(user)s returning u.topic
),
taken as (
  delete from device_topics t using owned o, topics g
  where t.device_id = o.id and t.topic = g.topic and o.others <> '{}'
    and not exists (select from user_topics u where u.topic = t.topic and u.user_id = any (o.others || ''::text))
),
preferences as (delete from user_preferences where user_id = %(user)s returning 1),
presence as (delete from user_presence where user_id = %(user)s returning 1),
badge as (delete from user_badges where user_id = %(user)s returning 1),
ended as (
  -- else a token that was issued before would log the user in again; it has ended by itself when this row is removed
  insert into sync_token_limits (user_id, issued_before)
  select %(user)s, to_timestamp(%(now)s::float8)
  on conflict (user_id) do update set issued_before = excluded.issued_before
),
reported as (
  delete from receipts r
  where r.device_id <> ''
    and r.device_id = any (array(select unnest(array[id::text, upper(id::text)]) from owned where others = '{}'))
  returning 1
)
select (select count(*) from gone)::integer as devices, (select count(*) from left_behind)::integer as shared_devices,
       (select count(*) from topics)::integer as topics, (select count(*) from preferences)::integer as preferences,
       (select count(*) from presence)::integer as presence, (select count(*) from badge)::integer as badge,
       (select count(*) from reported)::integer as receipts, pg_current_xact_id()::xid::text as xact

-- name: to_forget
-- A device that was registered again since, under its old id, has a queue of its own.
select r.device_id::text as id, r.is_whole, not exists (select from devices d where d.id = r.device_id) as is_gone
from user_removals r where r.user_id = %(user)s order by r.device_id

-- name: forgotten
delete from user_removals where user_id = %(user)s and device_id = any (%(ids)s::uuid[])

-- name: unfinished
-- Of users whose removal was interrupted, and not called again.
select user_id from user_removals where removed_at < now() - make_interval(secs => %(seconds)s) group by user_id limit %(most)s

-- name: older_statements
-- Whether a statement still runs that may have seen the user's devices: it may be about to put them into a batch.
select exists (
  select from pg_stat_activity a
  where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
    and a.backend_xmin is not null and age(a.backend_xmin) >= age(%(xact)s::text::xid))

-- name: waiting_pushes
-- The next pushes with batches, found by leaping through the index from one to the next; and for each the pages of its
-- audience on which one of the devices is in a batch. A device's page is the last one that began below it (sql/record.sql).
with recursive named (push_id, place) as (
  (select b.push_id, 1 from batches b where b.push_id > %(after)s::uuid order by b.push_id, b.page limit 1)
  union all
  select (select b.push_id from batches b where b.push_id > n.push_id order by b.push_id, b.page limit 1), n.place + 1
  from named n where n.push_id is not null and n.place < %(most)s
)
select n.push_id::text, array(
         select distinct g.page::text
         from unnest(%(ids)s::uuid[]) d (id)
         cross join lateral (
           select b.page from batches b where b.push_id = n.push_id and b.page < d.id
           order by b.push_id desc, b.page desc limit 1) g
         where exists (
           select from (
             select y.device_ids from batches y
             where (y.push_id, y.page) >= (n.push_id, g.page) and (y.push_id, y.page) <= (n.push_id, g.page)
             order by y.push_id, y.page) b
           where b.device_ids && %(ids)s::uuid[])
       ) as pages
from named n where n.push_id is not null

-- name: lock_push
select id from pushes where id = %(push_id)s::uuid for update

-- name: lock_batches
-- After their push, like everybody who ends batches. Claims pass over what is locked, so that from here on a batch is
-- either claimed or is not.
select count(*) from (
  select b.id from batches b
  where b.push_id = %(push_id)s::uuid and b.page = any (%(pages)s::uuid[]) and b.device_ids && %(ids)s::uuid[]
  order by b.id for update
) locked

-- name: leave_batches
-- Run after both locks, in one transaction. Out of a batch that waits, the devices leave, counted as suppressed. In one
-- that is in flight places must stay, because its sender speaks of them by number: the devices are made nobody, for whom
-- nothing is tried again. Devices that stayed with other users leave only what is said to be for this one.
with touched as materialized (
  select b.id, b.provider, b.claimed_by is not null as claimed, b.tokens, b.device_ids, b.attributes
  from batches b
  where b.push_id = %(push_id)s::uuid and b.page = any (%(pages)s::uuid[]) and b.device_ids && %(ids)s::uuid[]
),
members as materialized (
  select t.id, t.provider, t.claimed, r.n, r.token, r.device_id, t.attributes -> (r.n - 1)::integer as attributes,
         r.device_id = any (%(whole)s::uuid[])
         or r.device_id = any (%(ids)s::uuid[])
            and coalesce(t.attributes -> (r.n - 1)::integer ->> 'account' = %(user)s, false) as leaves
  from touched t
  cross join lateral rows from (unnest(string_to_array(t.tokens, E'\n')), unnest(t.device_ids))
    with ordinality r (token, device_id, n)
),
marked as (
  update batches b set device_ids = m.device_ids
  from (
    select id, array_agg(case when leaves then '00000000-0000-0000-0000-000000000000' else device_id end order by n)
                 as device_ids
    from members where claimed group by id having bool_or(leaves)
  ) m
  where b.id = m.id and b.push_id = %(push_id)s::uuid and b.page = any (%(pages)s::uuid[])
),
kept as (
  update batches b
  set device_ids = m.device_ids, tokens = m.tokens, attributes = m.attributes, recipient_count = m.recipients
  from (
    select id, count(*) filter (where not leaves) as recipients,
           array_agg(device_id order by n) filter (where not leaves) as device_ids,
           string_agg(token, E'\n' order by n) filter (where not leaves) as tokens,
           case when count(attributes) > 0 then jsonb_agg(attributes order by n) filter (where not leaves) end
             as attributes
    from members where not claimed group by id having bool_or(leaves) and not bool_and(leaves)
  ) m
  where b.id = m.id and b.push_id = %(push_id)s::uuid and b.page = any (%(pages)s::uuid[])
),
emptied as (
  delete from batches b
  where b.id = any (array(select id from members where not claimed group by id having bool_and(leaves)))
),
counted as materialized (
  select provider, count(*) as devices from members where leaves and not claimed group by provider
),
ledger as (
  update push_ledger l set suppressed = l.suppressed + c.devices from counted c
  where l.push_id = %(push_id)s::uuid and l.provider = c.provider
),
reasoned as (
  insert into push_reasons as r (push_id, provider, outcome, reason, count)
  select p.id, c.provider, 'suppressed', 'DeviceRemoved', c.devices
  from counted c cross join pushes p where p.id = %(push_id)s::uuid
  on conflict (push_id, provider, outcome, reason) do update set count = r.count + excluded.count
),
moved as (
  update pushes p
  set settled = p.settled + n.devices,
      state = case when p.state = 'sending' and p.settled + n.devices = p.planned then 'done' else p.state end,
      finished_at = case when p.state in ('sending', 'cancelled') and p.settled + n.devices = p.planned then now()
                         else p.finished_at end
  from (select sum(devices) as devices from counted having count(*) > 0) n
  where p.id = %(push_id)s::uuid
)
select coalesce(sum(devices), 0)::integer as devices from counted

-- name: _as_nobody
set device_ids = array(
  select case when e.id = any (%(ids)s::uuid[]) then '00000000-0000-0000-0000-000000000000' else e.id end
  from unnest(o.device_ids) with ordinality e (id, n) order by e.n)

-- name: forget_single
-- The record keeps its numbers, and where a device was there is nobody.
update outcomes o
-- include: _as_nobody
where cardinality(o.device_ids) = 1 and o.device_ids[1] = any (%(ids)s::uuid[])

-- name: forget_few
update outcomes o
-- include: _as_nobody
where cardinality(o.device_ids) between 2 and 50 and o.device_ids && %(ids)s::uuid[]

-- name: broad_pushes
-- Larger rows than those are only in the record of broad pushes, by page: the next of these pushes, and for each the pages
-- with such a row that one of the devices is in.
select p.id::text as push_id, array(
         select distinct g.page::text
         from unnest(%(ids)s::uuid[]) d (id)
         cross join lateral (
           select o.page from outcomes o
           where o.push_id = p.id and o.page < d.id and o.settled_at > p.accepted_at - interval '1 day'
           order by o.page desc limit 1) g
         where exists (
           select from outcomes o
           where o.push_id = p.id and o.page = g.page and o.settled_at > p.accepted_at - interval '1 day'
             and cardinality(o.device_ids) > 50 and o.device_ids && %(ids)s::uuid[])
       ) as pages
from (
  select id, accepted_at from pushes where planned > 50 and id > %(after)s::uuid order by id limit %(most)s
) p
order by p.id

-- name: forget_broad
update outcomes o
-- include: _as_nobody
where o.push_id = %(push_id)s::uuid and o.page = any (%(pages)s::uuid[]) and o.device_ids && %(ids)s::uuid[]

-- name: forget_examples
update push_reasons r
set examples = array(select e.id from unnest(r.examples) with ordinality e (id, n)
                     where e.id <> all (%(ids)s::uuid[]) order by e.n)
where r.examples <> '{}' and r.examples && %(ids)s::uuid[]
