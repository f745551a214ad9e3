-- Upkeep: the record's partitions, what is past retention, and the report of the devices.

-- name: ensure_partitions
select ensure_outcome_partitions(%(days)s)

-- name: old_partitions
select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'outcomes'::regclass and c.relname ~ '^outcomes_\d{8}$'
  and to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - %(days)s::integer

-- name: lock
-- One process at a time does the upkeep of a database; the lock is the session's.
select pg_try_advisory_lock(hashtext('tocsin.upkeep'))

-- name: unlock
select pg_advisory_unlock(hashtext('tocsin.upkeep'))

-- name: bury_failing_devices
-- Long refused and not registered again. Not while they are more than a fifth of their credential's devices: then it
-- is the credential that is wrong. Counting the others stops as soon as they are enough.
with failing as (
  select provider, provider_id, count(*) as devices from devices where state = 'failing' group by 1, 2
),
few as (
  select f.provider, f.provider_id from failing f
  where f.devices * 4 <= (
    select count(*) from (
      select from devices d
      where d.provider = f.provider and d.provider_id = f.provider_id and d.state = 'active'
      limit (select 4 * f.devices)) others)
)
update devices d set state = 'dead', updated_at = now()
where d.id in (
  select v.id from devices v join few on few.provider = v.provider and few.provider_id = v.provider_id
  where v.state = 'failing' and v.updated_at < now() - make_interval(days => %(days)s)
  limit %(most)s)

-- name: remove_dead_devices
delete from devices where id in (
  select id from devices where state = 'dead' and updated_at < now() - make_interval(days => %(days)s) limit %(most)s)

-- name: remove_old_pushes
-- The id is a time (UUIDv7), so old pushes are one range of the index on (state, id).
delete from pushes where id in (
  select id from pushes
  where state in ('done', 'cancelled') and id < %(before)s::uuid
    and finished_at < now() - make_interval(days => %(days)s)
  limit %(most)s)

-- name: remove_finished_paces
delete from push_paces where push_id in (
  select z.push_id from push_paces z join pushes p on p.id = z.push_id where p.state in ('done', 'cancelled') and p.finished_at < now() - interval '1 hour'
  limit %(most)s)

-- name: remove_old_receipts
delete from receipts where ctid in (
  select ctid from receipts where received_at < now() - make_interval(days => %(days)s) limit %(most)s)

-- name: remove_unpartitioned_outcomes
-- Outcomes that came before there was a partition for their day.
delete from outcomes_default where ctid in (
  select ctid from outcomes_default where settled_at < current_date - %(days)s::integer limit %(most)s)

-- name: report_is_due
-- A little less than the hour in which each worker comes by: else the report would be made every other time.
select not exists (select from device_report where counted_at > now() - interval '59 minutes')

-- name: sweep_devices
-- A page of devices in the order of their ids: those that did not register for too long leave (`days` > 0), the others
-- are counted. A device that somebody is changing stays until the next time: nobody waits for anybody.
with page as materialized (
  select d.id, d.provider, d.provider_id, d.platform, d.state, d.registered_at
  from devices d where d.id > %(after)s::uuid order by d.id limit %(page)s
),
stale as materialized (
  select d.id from devices d
  where %(days)s::integer > 0 and d.registered_at < now() - make_interval(days => %(days)s::integer)
    and d.id = any (array(
      select p.id from page p where p.registered_at < now() - make_interval(days => %(days)s::integer)))
  for update skip locked
),
gone as (
  delete from devices d where d.id = any (array(select id from stale)) returning d.id
),
counted as (
  select p.provider, p.provider_id, p.platform, p.state,
         case when p.registered_at < now() - interval '270 days' then 270
              when p.registered_at < now() - interval '60 days' then 60
              when p.registered_at < now() - interval '30 days' then 30 else 0 end as age_days,
         count(*) as devices
  from page p where p.id not in (select id from gone) group by 1, 2, 3, 4, 5
)
select (select id::text from page order by id desc limit 1) as last, (select count(*) from page) = %(page)s as more,
       (select count(*) from gone)::integer as removed,
       coalesce((select json_agg(c) from counted c)::text, '[]') as counts

-- name: clear_report
delete from device_report

-- name: write_report
insert into device_report (provider, provider_id, platform, state, age_days, devices, counted_at)
select r.provider, r.provider_id, r.platform, r.state, r.age_days, r.devices, now()
from jsonb_to_recordset(%(rows)s::jsonb)
  r (provider text, provider_id text, platform text, state text, age_days integer, devices bigint)

-- name: report
select provider, provider_id, platform, state, age_days, devices, extract(epoch from counted_at)::bigint as counted_at
from device_report order by provider, provider_id, platform, state, age_days
