-- name: _asked
-- The digests, 16 bytes each, in one value (as an array of a thousand they took 5 ms to write and read): key by key, for
-- each key one a policy. Places count from 0.
asked as (
  select substring(%(digests)s::bytea from n.place * 16 + 1 for 16) as digest,
         n.place / cardinality(%(widths)s::bigint[]) as key,
         n.place %% cardinality(%(widths)s::bigint[]) as policy
  from generate_series(0, length(%(digests)s::bytea) / 16 - 1) n (place)
)

-- name: lock
-- Makes what is missing and locks what is there, in one order whoever asks, so that two senders never wait for each
-- other. A conflict whose WHERE is false locks the row and writes no new version of it; and unlike after a SELECT FOR
-- UPDATE, the row is there even if it was just being removed. It is remembered for ten to twenty minutes too long.
with
-- include: _asked
insert into rate_limits (digest, forget_at)
select a.digest, to_timestamp((%(now)s::bigint + (%(widths)s::bigint[])[a.policy + 1]) / 600000000 * 600 + 1200)
from asked a
order by a.digest
on conflict (digest) do update set forget_at = excluded.forget_at where false

-- name: admit
-- A statement of its own, because its snapshot must be younger than the locks. `times` is ascending, so what an interval
-- has left behind is found by bisection (width_bucket). Shaped so that no plan can join whole tables (LATERAL with OFFSET
-- 0, ON CONFLICT), which plans made while the table was small did.
with
-- include: _asked
,
clocked as (
  -- a sender whose clock is behind goes by the newest time that is stored
  select a.*, (%(rates)s::integer[])[a.policy + 1] as rate, (%(widths)s::bigint[])[a.policy + 1] as width,
         (%(wanted)s::integer[])[a.key + 1] as wanted, l.times,
         greatest(%(now)s::bigint, max(l.times[cardinality(l.times)]) over (partition by a.key)) as at
  from asked a
  cross join lateral (select r.times from rate_limits r where r.digest = a.digest offset 0) l
),
recent as (
  select c.digest, c.key, c.policy, c.rate, c.width, c.wanted, c.at,
         c.times[width_bucket(c.at - c.width, c.times) + 1:] as times
  from clocked c
),
decided as (
  select r.*, greatest(0, least(r.wanted, min(r.rate - cardinality(r.times)) over (partition by r.key))) as admitted
  from recent r
),
counted as materialized (
  select d.digest, d.key, d.policy, d.rate, d.width, d.wanted, d.at, d.admitted,
         d.times || array_fill(d.at, array[d.admitted]) as times
  from decided d
),
written as (
  insert into rate_limits (digest, times, forget_at)
  select c.digest, c.times, to_timestamp((c.at + c.width) / 600000000 * 600 + 1200)
  from counted c
  where c.admitted > 0
  on conflict (digest) do update set times = excluded.times, forget_at = excluded.forget_at
)
select c.key, c.at, c.admitted, c.rate - cardinality(c.times) as free,
       case when %(slots)s and c.wanted > c.admitted then c.times[:c.wanted - c.admitted] end as times
from counted c
where c.policy = 0 or (%(slots)s and c.wanted > c.admitted)
order by c.key, c.policy

-- name: remove_forgotten
delete from rate_limits
where digest in (
  select r.digest from rate_limits r
  where r.forget_at <= to_timestamp(%(now)s::float8)
  order by r.forget_at
  limit %(most)s
  for update skip locked
)
