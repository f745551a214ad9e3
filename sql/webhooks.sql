-- name: add
-- The bodies come as one: an array of them would be written out as text, which took a quarter of the writer's time.
insert into webhook_deliveries (id, url, credential, secret, body, events, retry_until)
select d.id, d.url, d.credential, d.secret, substring(%(bodies)s::bytea from d.start for d.length), d.events,
       now() + make_interval(secs => %(retry_seconds)s)
from unnest(%(ids)s::uuid[], %(urls)s::text[], %(credentials)s::text[], %(secrets)s::bytea[], %(starts)s::integer[],
            %(lengths)s::integer[], %(events)s::integer[]) d (id, url, credential, secret, start, length, events)

-- name: claim
-- The URLs that have something waiting are found by leaping through the index (20 µs each); for each, no more than the
-- room that is left for it. Which URLs come first when there is not room for all is left to chance, so that none waits
-- for another. A claim is a lease, as in the queue.
with recursive named (url) as (
  (select url from webhook_deliveries where failed_at is null order by url limit 1)
  union all
  select (select d.url from webhook_deliveries d where d.failed_at is null and d.url > n.url order by d.url limit 1)
  from named n where n.url is not null
),
wanted as (
  select n.url, %(each)s::integer - coalesce(b.taken, 0) as room
  from named n
  left join unnest(%(busy)s::text[], %(taken)s::integer[]) b (url, taken) on b.url = n.url
  where n.url is not null
),
found as materialized (
  select d.id from wanted w
  cross join lateral (
    select q.id from webhook_deliveries q
    where q.url = w.url and q.failed_at is null and q.due_at <= now()
    order by q.due_at
    limit greatest(w.room, 0)
    for update skip locked
  ) d
  where w.room > 0
),
picked as materialized (select id from found order by random() limit %(room)s)
update webhook_deliveries d
set due_at = now() + make_interval(secs => %(lease_seconds)s), claimed_by = %(worker)s, attempts = d.attempts + 1
where d.id = any (array(select id from picked))
returning d.id::text, d.url, d.credential, d.secret, d.body, d.attempts

-- name: delivered
delete from webhook_deliveries where id = %(id)s and claimed_by = %(worker)s and failed_at is null

-- name: refused
-- Again later, while its time lasts; then, or if `final`, it becomes a dead letter.
update webhook_deliveries
set claimed_by = null, last_status = %(status)s, last_error = %(error)s,
    due_at = now() + make_interval(secs => %(seconds)s),
    failed_at = case when %(final)s or now() + make_interval(secs => %(seconds)s) > retry_until then now() end
where id = %(id)s and claimed_by = %(worker)s and failed_at is null
returning failed_at is not null

-- name: release
-- A worker that stops gives back what it was at.
update webhook_deliveries set claimed_by = null, due_at = now()
where claimed_by = %(worker)s and id = any (%(ids)s::uuid[]) and failed_at is null

-- name: failures
select d.id::text, d.url, d.credential, d.events, d.attempts, d.last_status, d.last_error,
       extract(epoch from d.created_at)::bigint as created_at, extract(epoch from d.failed_at)::bigint as failed_at
from webhook_deliveries d
where d.failed_at is not null
  and (%(url)s::text is null or d.url = %(url)s)
  and (%(after)s::uuid is null or d.id > %(after)s)
order by d.id
limit %(limit)s

-- name: retry
-- Tries begin anew, with the whole time for them.
update webhook_deliveries
set failed_at = null, claimed_by = null, attempts = 0, due_at = now(),
    retry_until = now() + make_interval(secs => %(retry_seconds)s)
where failed_at is not null and id = any (array(
  select d.id from webhook_deliveries d
  where d.failed_at is not null
    and (%(ids)s::uuid[] is null or d.id = any (%(ids)s::uuid[]))
    and (%(url)s::text is null or d.url = %(url)s)
  limit %(most)s))

-- name: remove_old
delete from webhook_deliveries where id = any (array(
  select id from webhook_deliveries
  where failed_at is not null and id < %(before)s::uuid and failed_at < now() - make_interval(days => %(days)s)
  order by id
  limit %(most)s))
