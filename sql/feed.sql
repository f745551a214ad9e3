-- name: try_lock
-- The lock is the session's: it ends with the process that holds it, however that ends.
select pg_try_advisory_lock(hashtext('tocsin.feed.' || %(name)s))

-- name: unlock
select pg_advisory_unlock(hashtext('tocsin.feed.' || %(name)s))

-- name: horizon
-- Transactions end out of order, but all below xmin have ended.
select pg_snapshot_xmin(s)::text::bigint as xmin, pg_snapshot_xmax(s)::text::bigint as xmax,
       extract(epoch from clock_timestamp())::float8 as at
from pg_current_snapshot() s

-- name: cursor
select xact, batch_id, attempt, begun_xact, begun_batch_id, begun_attempt, extract(epoch from read_to)::float8 as read_to
from feed_cursors where name = %(name)s

-- name: start
insert into feed_cursors (name, xact, batch_id, attempt, read_to)
values (%(name)s, %(xact)s, 0, 0, to_timestamp(%(read_to)s::float8))
on conflict (name) do nothing

-- name: restart
-- The cursor is of another cluster, whose transactions had higher numbers.
update feed_cursors
set xact = %(xact)s, batch_id = 0, attempt = 0, begun_xact = null, begun_batch_id = null, begun_attempt = null,
    updated_at = now()
where name = %(name)s

-- name: begin
update feed_cursors
set begun_xact = %(upto_xact)s, begun_batch_id = %(upto_batch_id)s, begun_attempt = %(upto_attempt)s, updated_at = now()
where name = %(name)s
  and xact = %(after_xact)s and batch_id = %(after_batch_id)s and attempt = %(after_attempt)s

-- name: move
-- Only from where its reader stood: whoever lost its turn to another process moves nothing. What is told of this
-- transaction is a mark: whatever had a number before it had, has a lower one.
update feed_cursors
set xact = %(upto_xact)s, batch_id = %(upto_batch_id)s, attempt = %(upto_attempt)s,
    begun_xact = null, begun_batch_id = null, begun_attempt = null,
    read_to = to_timestamp(%(read_to)s::float8), updated_at = now()
where name = %(name)s
  and xact = %(after_xact)s and batch_id = %(after_batch_id)s and attempt = %(after_attempt)s
returning pg_current_xact_id()::text::bigint as xact, extract(epoch from now())::float8 as at

-- name: read_to
-- The name of a consumer's second cursor begins with its own.
select coalesce(floor(extract(epoch from min(read_to))), 0)::bigint from feed_cursors
where name = %(name)s or starts_with(name, %(name)s || '/')

-- name: _bounds
-- The plain bounds of xact are for the index, those of the time for the partitions.
o.xact >= %(after_xact)s::bigint
and o.settled_at >= to_timestamp(%(since)s::float8)
and (o.xact, o.batch_id, o.attempt) > (%(after_xact)s::bigint, %(after_batch_id)s::bigint, %(after_attempt)s::integer)

-- name: _span
-- include: _bounds
and o.xact <= %(upto_xact)s::bigint
and (o.xact, o.batch_id, o.attempt) <= (%(upto_xact)s::bigint, %(upto_batch_id)s::bigint, %(upto_attempt)s::integer)

-- name: _receipts_span
(r.xact, r.id) > (%(after_xact)s::bigint, %(after_batch_id)s::bigint)
and (r.xact, r.id) <= (%(upto_xact)s::bigint, %(upto_batch_id)s::bigint)

-- name: outcomes_end
-- Where a page ends that holds so many batches and about so many bytes of recipients: sizes are those on disk, which
-- PostgreSQL knows without fetching the lists. `found` tells whether there was more.
select n.xact, n.batch_id, n.attempt, n.taken, n.found, extract(epoch from n.settled_at)::float8 as settled_at
from (
  select k.xact, k.batch_id, k.attempt, row_number() over w as taken, count(*) over () as found,
         max(k.settled_at) over w as settled_at, sum(k.size) over w - k.size as ahead
  from (
    select o.xact, o.batch_id, o.attempt, o.settled_at,
           coalesce(pg_column_size(o.device_ids), pg_column_size(o.tokens), 0) as size
    from outcomes o
    where o.xact < %(until)s::bigint
      and
      -- include: _bounds
    order by o.xact, o.batch_id, o.attempt
    limit %(batches)s
  ) k
  window w as (order by k.xact, k.batch_id, k.attempt)
) n
where n.ahead < %(bytes)s
order by n.taken desc
limit 1

-- name: receipts_end
select n.xact, n.id as batch_id, 0 as attempt, n.taken, n.taken as found,
       extract(epoch from n.received_at)::float8 as settled_at
from (
  select k.*, row_number() over (order by k.xact, k.id) as taken
  from (
    select r.xact, r.id, r.received_at from receipts r
    where (r.xact, r.id) > (%(after_xact)s::bigint, %(after_batch_id)s::bigint) and r.xact < %(until)s::bigint
    order by r.xact, r.id
    limit %(batches)s
  ) k
) n
order by n.taken desc
limit 1

-- name: outcomes
-- With `credentials`, only what a webhook wants to know: of the push, or of one of these credentials.
select o.batch_id, o.attempt, o.push_id::text, coalesce(p.uid, '') as uid, coalesce(p.analytics_uid, '') as analytics_uid,
       p.webhook::text as webhook, floor(extract(epoch from o.settled_at))::bigint as at, o.provider, o.credential,
       o.environment, o.platform, o.device_ids::text[] as device_ids, convert_to(o.tokens, 'UTF8') as tokens,
       o.message_ids, o.positions, o.outcomes, o.reasons, o.statuses
from outcomes o
left join lateral (select uid, analytics_uid, webhook from pushes where id = o.push_id offset 0) p on true
where (%(credentials)s::text[] is null or p.webhook is not null or o.credential = any (%(credentials)s::text[]))
  and
  -- include: _span
order by o.xact, o.batch_id, o.attempt

-- name: receipts
-- The push is told where it is certain: an analytics_uid may serve several.
select r.id, floor(extract(epoch from r.received_at))::bigint as at, r.analytics_uid, r.status, r.device_id, r.msg_id,
       coalesce(p.uid, '') as uid, p.webhook::text as webhook
from receipts r
left join lateral (
  select min(f.uid) as uid, min(f.webhook::text)::jsonb as webhook
  from (select uid, webhook from pushes where analytics_uid = r.analytics_uid and analytics_uid <> '' limit 2) f
  having count(*) = 1
) p on true
where (%(credentials)s::text[] is null or p.webhook is not null)
  and
  -- include: _receipts_span
order by r.xact, r.id

-- name: dead_tokens
-- The record of a device does not hold its token; a device that was found dead keeps it until it is removed.
select id::text as device_id, encode(sha256(convert_to(token, 'UTF8')), 'hex') as token_sha256
from devices where id = any (%(device_ids)s::uuid[]) and state in ('dead', 'failing')
