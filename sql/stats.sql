-- name: _add
-- Counts go to both widths at once.
insert into outcome_stats as s (width, bucket, provider, provider_id, platform, outcome, reason, count)
select w.width, case w.width when 60 then t.minute else date_trunc('hour', t.minute) end, t.provider, t.provider_id,
       t.platform, t.outcome, t.reason, sum(t.count)
from told t cross join (values (60), (3600)) w (width)
group by 1, 2, 3, 4, 5, 6, 7
on conflict (width, bucket, provider, provider_id, platform, outcome, reason) do update
set count = s.count + excluded.count

-- name: add_outcomes
with told as (
  select date_trunc('minute', o.settled_at) as minute, o.provider, o.credential as provider_id, o.platform, x.outcome,
         x.reason, x.count
  from outcomes o
  cross join lateral (
    select 'accepted' as outcome, '' as reason,
           coalesce(cardinality(o.device_ids), length(o.tokens) - length(replace(o.tokens, E'\n', '')) + 1, 0)
             - cardinality(o.positions) as count
    union all
    select e.outcome, e.reason, 1 from unnest(o.outcomes, o.reasons) e (outcome, reason) where e.outcome <> 'released'
  ) x
  where x.count > 0
    and o.xact >= %(after_xact)s::bigint
    and o.settled_at >= to_timestamp(%(since)s::float8)
    and (o.xact, o.batch_id, o.attempt)
        > (%(after_xact)s::bigint, %(after_batch_id)s::bigint, %(after_attempt)s::integer)
    and o.xact <= %(upto_xact)s::bigint
    and (o.xact, o.batch_id, o.attempt)
        <= (%(upto_xact)s::bigint, %(upto_batch_id)s::bigint, %(upto_attempt)s::integer)
)
-- include: _add

-- name: add_receipts
with told as (
  select date_trunc('minute', r.received_at) as minute, '' as provider, '' as provider_id, '' as platform,
         r.status as outcome, '' as reason, 1 as count
  from receipts r
  where (r.xact, r.id) > (%(after_xact)s::bigint, %(after_batch_id)s::bigint)
    and (r.xact, r.id) <= (%(upto_xact)s::bigint, %(upto_batch_id)s::bigint)
)
-- include: _add

-- name: counts
-- `groups` names the columns that are told apart; days are those of UTC.
select extract(epoch from date_trunc(%(interval)s, s.bucket))::bigint as at,
       case when 'provider' = any (%(groups)s::text[]) then s.provider else '' end as provider,
       case when 'provider_id' = any (%(groups)s::text[]) then s.provider_id else '' end as provider_id,
       case when 'platform' = any (%(groups)s::text[]) then s.platform else '' end as platform,
       case when 'outcome' = any (%(groups)s::text[]) then s.outcome else '' end as outcome,
       case when 'reason' = any (%(groups)s::text[]) then s.reason else '' end as reason,
       sum(s.count)::bigint as count
from outcome_stats s
where s.width = %(width)s
  and s.bucket >= to_timestamp(%(begin)s::float8) and s.bucket < to_timestamp(%(end)s::float8)
  and (%(providers)s::text[] is null or s.provider = any (%(providers)s::text[]))
  and (%(provider_ids)s::text[] is null or s.provider_id = any (%(provider_ids)s::text[]))
  and (%(platforms)s::text[] is null or s.platform = any (%(platforms)s::text[]))
  and (%(outcomes)s::text[] is null or s.outcome = any (%(outcomes)s::text[]))
  and (%(reasons)s::text[] is null or s.reason = any (%(reasons)s::text[]))
group by 1, 2, 3, 4, 5, 6
order by 1, 2, 3, 4, 5, 6
limit %(limit)s

-- name: remove_old
delete from outcome_stats where ctid = any (array(
  select ctid from outcome_stats
  where width = %(width)s and bucket < now() - make_interval(days => %(days)s) limit %(most)s))
