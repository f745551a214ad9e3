-- name: _member
-- What planning takes from a device. What only some pushes ask for stays behind for the others: it would be copied
-- through every step.
d.id, null::uuid as known_id, d.provider, d.provider_id, d.environment, d.platform, d.hold_until,
  -- null: the device has no token for this kind of push
  case when d.provider = 'apns' and 'voip' = any (%(needs)s::text[])
       then case when d.voip_state = 'active' then nullif(d.voip_token, '') end
       else case when d.token_kind <> 'voip' then push_address(d.provider, d.token, d.webpush_keys) end end as token,
  case when d.provider = 'apns' and 'voip' = any (%(needs)s::text[]) then 'voip' else d.token_kind end as token_kind,
  -- the main user, unless only further users of the device are named: then the one who was there first
  case when 'account' = any (%(needs)s::text[])
       then case when d.accounts = '{}' or %(users)s::text[] is null or d.user_id = any (%(users)s::text[])
                 then d.user_id
                 else (select a.name from unnest(d.accounts) with ordinality a (name, n)
                       where a.name = any (%(users)s::text[]) order by a.n limit 1) end
  end as account,
  -- whose user has preferences is in a batch with the likes; the table is mostly empty, and then costs a look a page
  case when %(lane)s::smallint > 0 and (select exists (select from user_preferences limit 1))
       then exists (select from user_preferences u where u.user_id = d.user_id) else false end as personal,
  case when 'timezone' = any (%(needs)s::text[]) then d.timezone else '' end as timezone,
  case when 'locale' = any (%(needs)s::text[]) then d.locale else '' end as locale,
  case when 'user' = any (%(needs)s::text[]) then d.user_id end as user_id,
  case when 'meta' = any (%(needs)s::text[]) then d.meta end as meta

-- name: _routed
-- Which credential serves each device of the audience. Batches are cut by what one request needs to have in common;
-- the scope is what a credential may have to pause alone. Grouped into arrays and cut by slices: numbering the
-- devices in a window sorted each page twice (260,000 recipients/s against 430,000).
grouped as materialized (
  select a.provider, r.credential,
         case when a.provider = 'apns' then coalesce(nullif(a.environment, ''), r.environment) else '' end
           as environment,
         case a.provider when 'apns' then %(apns_topic)s when 'fcm' then a.platform
                         when 'webpush' then coalesce(address_origin(a.token), '') else '' end as scope,
         a.platform, a.token_kind as target, a.timezone, a.locale, a.personal,
         -- to the second, so that devices held alike share a batch
         case when a.hold_until > now() then date_trunc('second', a.hold_until) + interval '1 second' end as held_until,
         count(*) as recipients, array_agg(a.id) as ids, array_agg(a.token) as tokens,
         array_agg(jsonb_strip_nulls(jsonb_build_object(
             'id', a.known_id, 'user', a.user_id, 'account', a.account, 'meta', a.meta)))
           filter (where %(needs)s::text[] && '{user,account,meta}' or a.id is null and 'device' = any (%(needs)s::text[]))
           as attributes
  from audience a
  join credential_routes r on r.provider = a.provider and r.provider_id = a.provider_id
  where a.provider = any (%(providers)s::text[]) and a.token is not null and r.enabled
  group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
),
-- Where the batches stand in their credential's and lane's order of service: after what the push had before, but not
-- before what waits longest, or what other pushes have come to. So pushes get the same share from when they come.
placed as materialized (
  select g.*, greatest(
           %(turn)s::bigint,
           coalesce(
             (select b.turn from batches b
              where b.credential = g.credential and b.lane = %(lane)s::smallint and b.turn is not null and not b.parked
              order by b.turn limit 1),
             (select q.turn from pushes q where q.state = 'planning' and q.lane = %(lane)s::smallint
              order by q.turn desc limit 1),
             0)) as turn
  from grouped g
),
-- name: _enqueued
-- What every way of planning ends with: batches, the ledger's `planned`, and what was skipped for which reason.
-- `push` has a row only when this statement is the one that may write.
queued as (
  insert into batches (push_id, provider, credential, environment, scope, platform, target, timezone, locale, lane,
                       personal, turn, parked, paced, page, due_at, expire_at, recipient_count, device_ids, tokens,
                       attributes)
  select p.id, g.provider, g.credential, g.environment, g.scope, g.platform, g.target, g.timezone, g.locale,
         %(lane)s::smallint, g.personal, case when g.held_until is null then g.turn + s.first - 1 end,
         %(paced)s::boolean, %(paced)s::boolean, %(cursor)s::uuid, coalesce(g.held_until, now()),
         to_timestamp(%(expire_at)s::float8), least(g.recipients - s.first + 1, %(batch_size)s::bigint),
         case when g.ids[1] is not null then g.ids[s.first : s.first + %(batch_size)s::bigint - 1] end,
         array_to_string(g.tokens[s.first : s.first + %(batch_size)s::bigint - 1], E'\n'),
         to_jsonb(g.attributes[s.first : s.first + %(batch_size)s::bigint - 1])
  from push p
  cross join placed g
  cross join generate_series(1, g.recipients, %(batch_size)s::bigint) s (first)
),
ledger as (
  insert into push_ledger as l (push_id, provider, planned)
  select p.id, g.provider, sum(g.recipients) from push p cross join placed g group by p.id, g.provider
  on conflict (push_id, provider) do update set planned = l.planned + excluded.planned
),
skipped as (
  insert into push_reasons as c (push_id, provider, outcome, reason, count, examples)
  select p.id, a.provider, 'skipped', a.reason,
         a.devices - coalesce(g.recipients, 0), case when g.recipients is null then a.examples else '{}' end
  from push p
  cross join (select provider, case when not provider = any (%(providers)s::text[]) then 'NoPayload'
                                    when token is null then 'NoToken' else 'NoCredential' end as reason,
                     count(*) as devices, (array_agg(id))[1:3] as examples
              from audience where id is not null group by 1, 2) a
  left join (select provider, sum(recipients) as recipients from placed group by provider) g
    on g.provider = a.provider and a.reason = 'NoCredential'
  where a.devices > coalesce(g.recipients, 0)
  on conflict (push_id, provider, outcome, reason) do update set count = c.count + excluded.count
)
-- name: _accepted
push as (
  insert into pushes (id, uid, digest, request, analytics_uid, delivery, lane, state, providers, apns_topic, max_rate,
                      needs, webhook, content, accepted_at, send_at, plan_at, expire_at, planned, planned_at, finished_at)
  select %(id)s::uuid, %(uid)s, %(digest)s, %(request)s, %(analytics_uid)s, %(delivery)s, %(lane)s::smallint,
         case when n.planned > 0 then 'sending' else 'done' end, %(providers)s::text[], %(apns_topic)s,
         %(max_rate)s::integer, %(needs)s::text[], %(webhook)s::jsonb, %(content)s::bytea,
         now(), now(), now(),
         to_timestamp(%(expire_at)s::float8), n.planned, now(), case when n.planned = 0 then now() end
  from (select coalesce(sum(recipients), 0) as planned from placed) n
  on conflict (uid) do nothing
  returning id
),
pace as (
  insert into push_paces (push_id, per_second, paid_until)
  select id, %(max_rate)s::integer, now() from push where %(max_rate)s::integer is not null
),
-- name: _moved
push as (
  update pushes p
  set cursor = coalesce(e.last, p.cursor), planned = p.planned + n.planned, plan_at = now(),
      turn = greatest(p.turn, n.turn),
      state = case when e.more then 'planning' when p.planned + n.planned > p.settled then 'sending' else 'done' end,
      planned_at = case when not e.more then now() end,
      finished_at = case when not e.more and p.planned + n.planned = p.settled then now() end,
      audience = case when e.more then p.audience end
  from edge e,
       (select coalesce(sum(recipients), 0) as planned, coalesce(max(turn + recipients), 0) as turn from placed) n
  -- the cursor again, because it was read before this row was locked: another planner's page may have come between
  where p.id = %(push_id)s and p.state in ('scheduled', 'planning') and p.paused_at is null
    and coalesce(p.cursor, '00000000-0000-0000-0000-000000000000') = %(cursor)s::uuid
  returning p.id, p.state
),
-- name: _raw_audience
-- Raw addresses are sent to as they are; what the push asks to know of its recipients is looked up where the token is
-- that of a device here.
audience as materialized (
  select distinct on (t.token) null::uuid as id, d.id as known_id, %(provider)s::text as provider,
         %(provider_id)s::text as provider_id, ''::text as environment, ''::text as platform,
         t.token collate "C" as token, %(target)s::text as token_kind, null::timestamptz as hold_until,
         false as personal,
         case when 'timezone' = any (%(needs)s::text[]) then coalesce(d.timezone, '') else '' end as timezone,
         case when 'locale' = any (%(needs)s::text[]) then coalesce(d.locale, '') else '' end as locale,
         case when 'account' = any (%(needs)s::text[]) then d.user_id end as account,
         case when 'user' = any (%(needs)s::text[]) then d.user_id end as user_id,
         case when 'meta' = any (%(needs)s::text[]) then d.meta end as meta
  from unnest(%(tokens)s::text[]) t (token)
  left join (
    devices d join credential_routes own on own.provider = d.provider and own.provider_id = d.provider_id
  ) on %(needs)s::text[] <> '{}' and d.token = address_token(%(provider)s::text, t.token) collate "C" and d.provider = %(provider)s::text
       and own.credential = (select r.credential from credential_routes r
                             where r.provider = %(provider)s::text and r.provider_id = %(provider_id)s::text)
  order by t.token, d.id
),

-- name: accept_ids
-- A push to few and known devices: the push and its batches in one statement. By ids and by users apart, so that each
-- keeps a generic plan: with a NULL branch for the other one it had to be planned anew for each call.
with audience as materialized (
  select
-- include: _member
  from devices d
  where d.id = any (%(device_ids)s::uuid[]) and d.state = 'active'
),
-- include: _routed
-- include: _accepted
-- include: _enqueued
select id::text from push

-- name: accept_users
with audience as materialized (
  select
-- include: _member
  from devices d
  where (d.user_id = any (%(users)s::text[])
         or d.id = any (array(select device_id from device_accounts where user_id = any (%(users)s::text[]))))
    and d.state = 'active'
),
-- include: _routed
-- include: _accepted
-- include: _enqueued
select id::text from push

-- name: accept_raw
with
-- include: _raw_audience
-- include: _routed
-- include: _accepted
-- include: _enqueued
select id::text from push

-- name: accept_planned
-- A push whose audience is read later, page by page.
with push as (
  insert into pushes (id, uid, digest, request, analytics_uid, delivery, lane, state, providers, apns_topic, max_rate,
                      needs, webhook, content, audience, accepted_at, send_at, plan_at, expire_at)
  select %(id)s::uuid, %(uid)s, %(digest)s, %(request)s, %(analytics_uid)s, %(delivery)s, %(lane)s::smallint,
         'scheduled', %(providers)s::text[], %(apns_topic)s, %(max_rate)s::integer, %(needs)s::text[],
         %(webhook)s::jsonb, %(content)s::bytea, %(audience)s::jsonb, now(), t.at, t.at, to_timestamp(%(expire_at)s::float8)
  from (select greatest(now(), to_timestamp(%(send_at)s::float8)) as at) t
  on conflict (uid) do nothing
  returning id
),
pace as (
  insert into push_paces (push_id, per_second, paid_until)
  select id, %(max_rate)s::integer, now() from push where %(max_rate)s::integer is not null
)
select id::text from push

-- name: by_uid
select id::text, digest, request from pushes where uid = %(uid)s

-- name: next_to_plan
-- Whose turn it is. `plan_at` moves with each page, so pushes of a lane take turns; a push that is far ahead of its
-- senders waits, which bounds the queue and leaves room for the next push. Ahead is what one provider has waiting:
-- one that is paused or slow does not keep a push from the others, nor what is held until a later time, until `most`
-- batches wait in all. Planners keep
-- off each other's push by an advisory lock, not by its row, which is locked at every settlement: skipping that cost a
-- poll interval each time.
select w.*
from (
  select p.id::text, p.providers, p.apns_topic, p.lane, extract(epoch from p.expire_at)::float8 as expire_at,
         p.audience::text, p.cursor::text, extract(epoch from p.send_at)::float8 as send_at, p.turn, p.needs,
         p.max_rate
  from pushes p
  cross join lateral (
    with waiting as (
      select b.provider, b.credential, b.scope, b.due_at > now() and b.claimed_by is null as later
      from batches b where b.push_id = p.id limit %(most)s::bigint
    ),
    moving as (
      select w.provider, count(*) as batches from waiting w
      where not w.later and not exists (select from pauses z where z.credential = w.credential and z.scope in ('', w.scope))
      group by w.provider
    )
    select case
      when (select count(*) from (select from waiting limit %(ahead)s::bigint) few) < %(ahead)s::bigint then true
      else (select count(*) from waiting) < %(most)s::bigint
           and (not exists (select from moving) or exists (
             -- a provider that is no more than a twentieth of the push does not call for more of the others
             select from push_ledger l
             where l.push_id = p.id and l.planned * 20 >= p.planned
               and coalesce((select m.batches from moving m where m.provider = l.provider), 0) < %(ahead)s::bigint
               and not exists (select from waiting w where w.provider = l.provider
                               and not exists (select from moving m where m.provider = l.provider))))
      end
  ) a (wanted)
  where p.state in ('scheduled', 'planning') and p.plan_at <= now() and p.paused_at is null and a.wanted
  order by p.lane, p.plan_at
) w
where pg_try_advisory_xact_lock(hashtextextended(w.id, 0))  -- volatile: tried in order, outside, one row at a time
limit 1

-- name: _chosen
    and (%(ids)s::uuid[] is null or d.id = any (%(ids)s::uuid[]))
    and (%(users)s::text[] is null or d.user_id = any (%(users)s::text[])
         or d.id = any (array(select device_id from device_accounts where user_id = any (%(users)s::text[]))))
    and provider_is(%(providers_in)s::text[], d.provider, d.environment, d.voip_token)
    and (%(platforms)s::text[] is null or d.platform = any (%(platforms)s::text[]))
    and (%(tokens)s::text[] is null or d.token = any (%(tokens)s::text[]))
    and (%(provider_ids)s::text[] is null or d.provider_id = any (%(provider_ids)s::text[]))
    and (%(locales)s::text[] is null or d.locale = any (%(locales)s::text[]))
    and (%(topics)s::text[] is null or exists (
      select from device_topics s where s.device_id = d.id and s.topic = any (%(topics)s::text[])))
    and (%(active_since)s::float8 is null or d.registered_at >= to_timestamp(%(active_since)s::float8))
    and not (%(exclude)s::boolean
      and (%(x_ids)s::uuid[] is null or d.id = any (%(x_ids)s::uuid[]))
      and (%(x_users)s::text[] is null or d.user_id = any (%(x_users)s::text[]) or d.accounts && %(x_users)s::text[])
      and provider_is(%(x_providers)s::text[], d.provider, d.environment, d.voip_token)
      and (%(x_platforms)s::text[] is null or d.platform = any (%(x_platforms)s::text[]))
      and (%(x_tokens)s::text[] is null or d.token = any (%(x_tokens)s::text[]))
      and (%(x_provider_ids)s::text[] is null or d.provider_id = any (%(x_provider_ids)s::text[]))
      and (%(x_locales)s::text[] is null or d.locale = any (%(x_locales)s::text[]))
      and (%(x_topics)s::text[] is null or exists (
        select from device_topics s where s.device_id = d.id and s.topic = any (%(x_topics)s::text[]))))

-- name: _holding
-- The condition over topics, once for each set of topics that devices of this page have, not once a device.
masks as materialized (
  select m.device_id, coalesce(bit_or(1::bigint << array_position(%(c_topics)s::text[], s.topic) - 1), 0) as mask
  from members m
  left join device_topics s on s.device_id = m.device_id and s.topic = any (%(c_topics)s::text[])
                               and s.device_id > %(cursor)s::uuid and s.device_id <= (select last from edge)
  where %(c_program)s::integer[] is not null
  group by m.device_id
),
holding as materialized (
  select x.device_id from masks x
  join (select mask from (select distinct mask from masks) every
        where condition_holds(%(c_program)s::integer[], mask)) h using (mask)
),

-- name: _members_of_topics
-- Bounded on both sides of the join: bounded on the topic side alone, each page walks the devices from the
-- beginning (44,000 recipients/s against 170,000-190,000 measured on a million devices).
members as materialized (
  select m.device_id
  from unnest(%(drive)s::text[]) t (topic)
  cross join lateral (
    select s.device_id from device_topics s
    where s.topic = t.topic and s.device_id > %(cursor)s::uuid
    order by s.device_id limit %(page)s
  ) m
  group by m.device_id order by m.device_id limit %(page)s
),

-- name: _members_by_filter
members as materialized (
  select d.id as device_id
  from devices d
  where d.id > %(cursor)s::uuid
-- include: _chosen
  order by d.id
  limit %(page)s
),

-- name: _edge
edge as (
  select (select device_id from members order by device_id desc limit 1) as last, count(*) = %(page)s as more
  from members
),

-- name: _audience
audience as materialized (
  select
-- include: _member
  from members m
  join devices d on d.id = m.device_id
  where d.id > %(cursor)s::uuid and d.id <= (select last from edge)
    and d.created_at <= to_timestamp(%(send_at)s::float8) and d.state = 'active'
-- include: _chosen
    and (%(c_program)s::integer[] is null or d.id in (select device_id from holding))
),

-- name: plan_topics
with
-- include: _members_of_topics
-- include: _edge
-- include: _holding
-- include: _audience
-- include: _routed
-- include: _moved
-- include: _enqueued
select state from push

-- name: plan_filter
with
-- include: _members_by_filter
-- include: _edge
-- include: _holding
-- include: _audience
-- include: _routed
-- include: _moved
-- include: _enqueued
select state from push

-- name: _counted
-- A trial: what planning would come to, by provider, platform and reason, with one device for each to render for.
select a.provider, a.platform,
       case when not a.provider = any (%(providers)s::text[]) then 'NoPayload'
            when a.token is null then 'NoToken'
            when r.credential is null then 'NoCredential'
            when not r.enabled then 'SwitchedOff' else '' end as skipped,
       count(*) as devices, (array_agg(a.id))[1]::text as device_id, min(r.credential) as credential
from audience a
left join credential_routes r on r.provider = a.provider and r.provider_id = a.provider_id
group by 1, 2, 3

-- name: count_topics
with
-- include: _members_of_topics
-- include: _edge
-- include: _holding
-- include: _audience
last as (select last, more from edge)
select x.*, last.last::text, last.more from last left join (
-- include: _counted
) x on true

-- name: count_filter
with
-- include: _members_by_filter
-- include: _edge
-- include: _holding
-- include: _audience
last as (select last, more from edge)
select x.*, last.last::text, last.more from last left join (
-- include: _counted
) x on true

-- name: plan_raw
with
-- include: _raw_audience
-- include: _routed
edge as (select null::uuid as last, false as more),
-- include: _moved
-- include: _enqueued
select state from push

-- name: put_off
update pushes set plan_at = now() + make_interval(secs => %(seconds)s)
where id = %(push_id)s and state in ('scheduled', 'planning')

-- name: next_plan_at
select extract(epoch from min(plan_at) - now())::float8 from pushes
where state in ('scheduled', 'planning') and paused_at is null

-- name: lock_by_uid
select id::text, state from pushes where uid = %(uid)s for update

-- name: cancel
-- Unclaimed batches leave at once; claimed ones are in flight and settle as cancelled if they were not sent. The
-- push is locked before this statement takes its snapshot, so no planner or settler can add a batch behind it.
with gone as (
  delete from batches where push_id = %(push_id)s and claimed_by is null returning provider, recipient_count
),
counted as (select provider, sum(recipient_count) as cancelled from gone group by provider),
ledger as (
  update push_ledger l set cancelled = l.cancelled + c.cancelled from counted c
  where l.push_id = %(push_id)s and l.provider = c.provider
)
update pushes p
set state = 'cancelled', audience = null, paused_at = null, settled = p.settled + n.cancelled,
    finished_at = case when p.planned = p.settled + n.cancelled then now() end
from (select coalesce(sum(cancelled), 0) as cancelled from counted) n
where p.id = %(push_id)s and p.state in ('scheduled', 'planning', 'sending')

-- name: pause
-- What waits is parked; what is in flight is given back by its senders and parked as it comes.
with parked as (
  update batches set parked = true where push_id = %(push_id)s and claimed_by is null and not parked
)
update pushes set paused_at = now()
where id = %(push_id)s and state in ('scheduled', 'planning', 'sending') and paused_at is null

-- name: resume
-- The batches get new numbers: whoever follows the queue by numbers finds them as what they are, new to it.
with freed as (
  update batches set parked = false, id = default where push_id = %(push_id)s and parked and not paced
)
update pushes set paused_at = null, plan_at = greatest(plan_at, send_at, now())
where id = %(push_id)s and state in ('scheduled', 'planning', 'sending') and paused_at is not null

-- name: status
select p.id::text, p.uid, p.state, p.lane, p.analytics_uid,
       case when p.state in ('scheduled', 'planning', 'sending')
            then coalesce(extract(epoch from p.paused_at)::bigint, 0) else 0 end as paused_at,
       extract(epoch from p.accepted_at)::bigint as accepted_at,
       extract(epoch from p.send_at)::bigint as send_at,
       coalesce(extract(epoch from p.expire_at)::bigint, 0) as expire_at,
       coalesce(extract(epoch from p.planned_at)::bigint, 0) as planned_at,
       coalesce(extract(epoch from p.finished_at)::bigint, 0) as finished_at,
       p.send_at > now() as waiting,
       coalesce((select json_agg(l order by l.provider) from push_ledger l where l.push_id = p.id)::text, '[]') as ledger,
       coalesce((select json_agg(r order by r.provider, r.outcome, r.reason)
                 from push_reasons r where r.push_id = p.id)::text, '[]') as reasons,
       coalesce((select json_object_agg(c.status, c.count)
                 from (select status, count(*) from receipts
                       where analytics_uid = p.analytics_uid and p.analytics_uid <> '' group by status) c)::text, '{}')
         as receipts,
       coalesce((select json_agg(z order by z.credential, z.scope)
                 from (select z.credential, z.scope, z.reason,
                              extract(epoch from z.next_probe_at)::bigint as next_probe_at
                       from pauses z
                       where z.kind = 'trouble' and exists (
                         select from batches b
                         where b.push_id = p.id and b.credential = z.credential and z.scope in ('', b.scope))) z)::text,
                '[]') as pauses
from pushes p
where p.uid = %(uid)s

-- name: list
-- Newest first, keyset by the push's own id (UUIDv7).
select p.id::text, p.uid, p.state, p.lane,
       extract(epoch from p.accepted_at)::bigint as accepted_at,
       extract(epoch from p.send_at)::bigint as send_at,
       coalesce(extract(epoch from p.finished_at)::bigint, 0) as finished_at,
       p.planned, p.settled, p.send_at > now() as waiting, p.paused_at is not null and p.state in ('scheduled', 'planning', 'sending') as paused
from pushes p
where (%(stored)s::text[] is null or p.state = any (%(stored)s::text[]))
  and (%(states)s::text[] is null
       or case when p.paused_at is not null and p.state in ('scheduled', 'planning', 'sending') then 'paused'
               else p.state end = any (%(states)s::text[]))
  and (%(cursor)s::uuid is null or p.id < %(cursor)s::uuid)
order by p.id desc
limit %(limit)s

-- name: receipt
insert into receipts (analytics_uid, status, device_id, msg_id)
values (%(analytics_uid)s, %(status)s, %(device_id)s, %(msg_id)s)
on conflict do nothing

-- name: configured_providers
select distinct provider from credentials

-- name: credential_provider
select provider from credentials where provider_id = %(provider_id)s

-- name: trial_device
select id::text, user_id as "user", locale, timezone, meta from devices where id = %(device_id)s::uuid

-- name: default_credential
select provider_id from credentials where provider = %(provider)s and is_default
