-- The record asked about one device: what became of it in a push, and in which pushes it was.

-- name: _page
-- Which page of the push's audience the device was on: the last one that began below it. What was planned in one piece
-- is on the first. The record is cut by days, and none of a push is older than the push: a day more, for the clock's sake.
cross join lateral (
  select greatest(
    '00000000-0000-0000-0000-000000000000'::uuid,
    (select o.page from outcomes o
     where o.push_id = p.id and o.page < %(device_id)s::uuid and o.settled_at > p.accepted_at - interval '1 day'
     order by o.page desc limit 1),
    (select b.page from batches b
     where b.push_id = p.id and b.page < %(device_id)s::uuid order by b.page desc limit 1)) as page
  offset 0  -- else it is looked up again wherever it is used
) g

-- name: _attempts
-- Every row of the record that the device is in. The ids of what was accepted are one a line; where there are none they
-- follow from push, batch, attempt and position.
select o.attempt, o.batch_id, o.provider, o.credential, o.environment,
       extract(epoch from o.started_at)::bigint as started_at, extract(epoch from o.settled_at)::bigint as settled_at,
       x.place - 1 as position,
       coalesce(o.outcomes[e.n], 'accepted') as outcome, coalesce(o.reasons[e.n], '') as reason,
       coalesce(o.statuses[e.n], 0) as status,
       case when e.n is null and octet_length(o.message_ids) > 0 then (
         select l.names[x.place - (select count(*) from unnest(o.positions) s (at) where s.at < x.place)]
         from (select string_to_array(convert_from(o.message_ids, 'UTF8'), E'\n') as names) l
         -- else some were accepted without an id, and it cannot be told which
         where cardinality(l.names)
               = coalesce(cardinality(o.device_ids), cardinality(string_to_array(o.tokens, E'\n')))
                 - cardinality(o.positions)
       ) end as message_id,
       row_number() over (order by o.settled_at, o.attempt, o.batch_id) as n
from outcomes o
cross join lateral (
  select case when o.device_ids is not null then array_position(o.device_ids, %(device_id)s::uuid)
              when o.provider = w.provider then array_position(string_to_array(o.tokens, E'\n'), w.token) end as place
) x
cross join lateral (select array_position(o.positions, x.place - 1) as n) e
where o.push_id = p.id and o.page = g.page and o.settled_at > p.accepted_at - interval '1 day' and x.place is not null

-- name: of_device
-- One statement, so that what settles meanwhile is either in the record or in the queue.
select p.id::text as push_id, p.state, p.lane, p.delivery, p.providers, p.request, p.cursor::text,
       extract(epoch from p.accepted_at)::bigint as accepted_at, extract(epoch from p.send_at)::bigint as send_at,
       p.send_at > now() as is_ahead,
       coalesce(extract(epoch from p.expire_at)::bigint, 0) as expire_at,
       coalesce(p.expire_at <= now(), false) as is_over,
       coalesce(extract(epoch from p.planned_at)::bigint, 0) as planned_at,
       coalesce(extract(epoch from p.finished_at)::bigint, 0) as finished_at,
       coalesce(extract(epoch from p.paused_at)::bigint, 0) as paused_at,
       (select row_to_json(d) from (
          select v.provider, v.provider_id, v.state, v.failing_reason, v.user_id,
                 v.created_at > p.send_at as registered_later,
                 coalesce(v.updated_at > p.planned_at, false) as changed_later,
                 extract(epoch from v.created_at)::bigint as created_at,
                 extract(epoch from v.updated_at)::bigint as updated_at,
                 extract(epoch from v.registered_at)::bigint as registered_at,
                 coalesce(extract(epoch from v.hold_until)::bigint, 0) as hold_until,
                 (select r.credential from credential_routes r
                  where r.provider = v.provider and r.provider_id = v.provider_id limit 1) as credential
          from devices v where v.id = %(device_id)s::uuid) d)::text as device,
       coalesce((select json_agg(a order by a.n) from (
-- include: _attempts
       ) a)::text, '[]') as attempts,
       coalesce((select json_agg(q order by q.due_at, q.batch_id) from (
          select b.id as batch_id, b.provider, b.credential, b.environment, b.attempt,
                 b.claimed_by is not null as claimed, b.due_at > now() as is_ahead,
                 extract(epoch from b.due_at)::bigint as due_at, b.turn is null as waits, b.parked, b.paced, b.second_try,
                 coalesce(z.kind, '') as pause, coalesce(z.reason, '') as pause_reason,
                 coalesce(extract(epoch from z.since)::bigint, 0) as pause_since,
                 coalesce(extract(epoch from z.next_probe_at)::bigint, 0) as next_probe_at
          from (
            -- a range, and in this order, because only one index has that: of an empty queue any index will do, and a
            -- plan that was made then would walk a full one
            select * from batches y
            where (y.push_id, y.page) >= (p.id, g.page) and (y.push_id, y.page) <= (p.id, g.page)
            order by y.push_id, y.page) b
          left join lateral (
            select * from pauses y where y.credential = b.credential and y.scope in ('', b.scope) order by y.scope limit 1
          ) z on true
          where case when b.device_ids is not null then array_position(b.device_ids, %(device_id)s::uuid)
                     when b.provider = w.provider then array_position(string_to_array(b.tokens, E'\n'), w.address) end
                is not null) q)::text, '[]') as waiting,
       coalesce((select json_object_agg(c.status, c.at) from (
          select r.status, extract(epoch from min(r.received_at))::bigint as at from receipts r
          where r.analytics_uid = p.analytics_uid and r.status in ('delivered', 'interacted')
            and r.device_id = %(device_id)s::uuid::text
          group by r.status) c)::text, '{}') as receipts
from pushes p
left join lateral (
  select v.token, v.provider, push_address(v.provider, v.token, v.webpush_keys) as address
  from devices v where v.id = %(device_id)s::uuid) w on true
-- include: _page
where p.uid = %(uid)s

-- name: topics_now
select topic from device_topics
where device_id = %(device_id)s::uuid and topic = any (%(topics)s::text[]) order by topic

-- name: kept_since
-- The first day of the record.
select coalesce(extract(epoch from min(to_date(right(c.relname, 8), 'YYYYMMDD'))::timestamptz)::bigint, 0)
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'outcomes'::regclass and c.relname ~ '^outcomes_\d{8}$'

-- name: latest
-- The newest pushes that a device was in. Pushes to a few devices are found by the device; broad ones are looked at
-- one after the other, newest first, as many as may be looked at for one page: `edge` is how far that came.
with few as materialized (
  select x.push_id from (
    (select o.push_id from outcomes o
     where cardinality(o.device_ids) = 1 and o.device_ids[1] = %(device_id)s::uuid and o.push_id < %(before)s::uuid
     order by o.settled_at desc limit 10000)
    union
    select o.push_id from outcomes o
    where cardinality(o.device_ids) between 2 and 50 and o.device_ids @> array[%(device_id)s::uuid]
      and o.push_id < %(before)s::uuid
  ) x
  order by x.push_id desc limit %(limit)s
),
lowest as (
  select case when count(*) = %(limit)s then (array_agg(push_id order by push_id))[1]
              else '00000000-0000-0000-0000-000000000000' end as push_id
  from few
),
broad as materialized (
  select p.id, p.accepted_at from pushes p
  where p.planned > 50 and p.id < %(before)s::uuid and p.id > (select push_id from lowest)
  order by p.id desc limit %(most_broad)s
),
edge as (
  select case when count(*) = %(most_broad)s then (array_agg(id order by id))[1]
              else '00000000-0000-0000-0000-000000000000' end as id
  from broad
),
among as materialized (
  select p.id as push_id from broad p
-- include: _page
  where exists (
    select from outcomes o
    where o.push_id = p.id and o.page = g.page and o.settled_at > p.accepted_at - interval '1 day'
      and array_position(o.device_ids, %(device_id)s::uuid) is not null)
  order by p.id desc limit %(limit)s
),
chosen as materialized (
  select f.push_id from (select push_id from few union select push_id from among) f
  where f.push_id >= (select id from edge)
  order by f.push_id desc limit %(limit)s
)
select e.id::text as edge, coalesce(c.push_id, '') as push_id, coalesce(c.uid, '') as uid,
       coalesce(c.state, '') as state, coalesce(c.accepted_at, 0) as accepted_at, coalesce(c.attempts, '[]') as attempts
from edge e
left join (
  select p.id::text as push_id, p.uid, p.state, extract(epoch from p.accepted_at)::bigint as accepted_at,
         (select json_agg(a order by a.n) from (
-- include: _attempts
         ) a)::text as attempts
  from chosen h
  join pushes p on p.id = h.push_id
  cross join (select null::text as provider, null::text collate "C" as token) w  -- by its id alone
-- include: _page
) c on true
order by c.push_id desc
