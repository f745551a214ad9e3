-- name: hint
-- One statement for all the channels of an interval: each commit that notifies takes a database-wide lock.
select pg_notify(w.channel, w.payload) from unnest(%(channels)s::text[], %(payloads)s::text[]) w (channel, payload)

-- name: _claimed
-- Shaped so that no plan can join whole tables: ids as one array, and each batch's push fetched by its key. What is
-- claimed is few, but a generic plan expects hundreds, and merged both tables for a single batch (18 ms).
taken as (
  update batches b
  set due_at = now() + make_interval(secs => %(lease_seconds)s), claimed_by = %(worker)s, attempt = b.attempt + 1,
      first_attempt_at = coalesce(b.first_attempt_at, now())
  where b.id = any (array(select id from picked))
  returning b.*
)
select t.id, t.push_id::text, t.provider, t.credential, t.environment, t.scope, t.target, t.lane, t.attempt,
       extract(epoch from t.first_attempt_at)::float8 as first_attempt_at,
       extract(epoch from now())::float8 as claimed_at,
       extract(epoch from t.expire_at)::float8 as expire_at,
       p.delivery = 'at_most_once' as at_most_once, p.state = 'cancelled' as cancelled, k.abandoned,
       convert_to(t.tokens, 'UTF8') as tokens,
       case when t.push_id = any (%(known)s::uuid[]) then null else p.request end as request
from taken t
join picked k on k.id = t.id
cross join lateral (select delivery, state, request from pushes where id = t.push_id offset 0) p

-- name: claim
-- For each credential until its limit of recipients is reached, urgent lane first, oldest first. A claim is a lease: `due_at`
-- moves to its end, and whoever finds it due again finds `claimed_by` set and knows that it was abandoned.
with wanted as (
  select w.credential, w.recipients, least(w.recipients, 256) as batches
  -- JSON, because PostgreSQL guesses its rows alike with and without the value, and so settles on a generic plan;
  -- with two arrays it planned each claim anew (0.33 of 0.45 ms)
  from jsonb_to_recordset(%(room)s::jsonb) w (credential text, recipients integer)
  where not exists (select from pauses z where z.credential = w.credential and z.scope = '')
),
found as (
  select b.id, b.claimed_by is not null as abandoned, w.recipients,
         sum(b.recipient_count) over (partition by w.credential order by b.lane, b.due_at, b.id) - b.recipient_count
           as ahead
  from wanted w
  cross join unnest(%(lanes)s::smallint[]) l (lane)
  cross join lateral (
    select q.id, q.claimed_by, q.lane, q.due_at, q.recipient_count
    from batches q
    where q.credential = w.credential and q.lane = l.lane and q.due_at <= now()
      and not exists (select from pauses z where z.credential = q.credential and z.scope = q.scope)
    order by q.due_at
    limit w.batches
    for update skip locked
  ) b
),
picked as materialized (select id, abandoned from found where ahead < recipients),
-- include: _claimed

-- name: claim_probe
-- A paused credential (or scope) whose next probe is due: one worker takes one of its batches to try with.
with probe as (
  update pauses z
  set next_probe_at = now() + make_interval(secs => %(lease_seconds)s)
  where (z.credential, z.scope) in (
    select y.credential, y.scope from pauses y
    where y.credential = any (%(credentials)s::text[]) and y.next_probe_at <= now()
    order by y.next_probe_at limit 1 for update skip locked)
  returning z.credential, z.scope
),
found as (
  select b.id, b.claimed_by is not null as abandoned
  from probe z
  cross join lateral (
    select q.id, q.claimed_by from batches q
    where q.credential = z.credential and (z.scope = '' or q.scope = z.scope) and q.due_at <= now()
    order by q.lane, q.due_at limit 1 for update skip locked
  ) b
),
picked as materialized (select id, abandoned from found),
-- include: _claimed

-- name: lift_idle_pauses
-- A throttle ends by itself; trouble with nothing left to probe with ends when its next probe is due.
delete from pauses z
where z.next_probe_at <= now()
  and (z.kind = 'throttle'
       or not exists (select from batches b where b.credential = z.credential and (z.scope = '' or b.scope = z.scope)))
returning z.credential, z.scope

-- name: lift_pause
delete from pauses where credential = %(credential)s and scope = any (%(scopes)s::text[]) returning scope

-- name: pause
-- The first sight of trouble starts a pause; each later one (a failed probe) doubles the wait, up to 15 minutes.
insert into pauses as z (credential, scope, kind, reason, next_probe_at)
select c.provider_id, %(scope)s, %(kind)s, %(reason)s, now() + make_interval(secs => coalesce(%(seconds)s::float8, 30))
from credentials c
where c.provider_id = %(credential)s and (%(version)s::bigint is null or c.version = %(version)s)
on conflict (credential, scope) do update
set kind = excluded.kind, reason = excluded.reason, attempt = z.attempt + %(again)s::integer,
    next_probe_at = now() + make_interval(
      secs => coalesce(%(seconds)s::float8, least(30 * 2 ^ least(z.attempt, 10), 900)))
where %(again)s::integer = 1 or excluded.next_probe_at > z.next_probe_at

-- name: extend
-- Keeps the leases of what is still in flight; tells which pushes were cancelled meanwhile.
with kept as (
  update batches set due_at = now() + make_interval(secs => %(lease_seconds)s)
  where id = any (%(batches)s::bigint[]) and claimed_by = %(worker)s
)
select id::text from pushes where id = any (%(pushes)s::uuid[]) and state = 'cancelled'

-- name: lock_pushes
-- In one order, so that two settlements never wait for each other.
select id from pushes where id = any (%(pushes)s::uuid[]) order by id for update

-- name: settle_accepted
-- The common case, every recipient accepted: a quarter of the work of `settle`, which does the same and more. It needs
-- no statement before it, because nothing here reads a push's state but the update itself, from the row as it is then.
-- The pushes are locked first, in one order, as there.
with locked as materialized (
  select id from pushes where id = any (%(pushes)s::uuid[]) order by id for update
),
done as materialized (
  delete from batches b
  using unnest(%(batches)s::bigint[], %(attempts)s::integer[], %(started)s::float8[], %(message_ids)s::bytea[])
    g (batch_id, attempt, started_at, message_ids)
  where b.id = g.batch_id and b.attempt = g.attempt and b.claimed_by = %(worker)s and (select count(*) from locked) > 0
  returning b.*, g.started_at, g.message_ids
),
recorded as (
  insert into outcomes (push_id, batch_id, provider, credential, environment, attempt, started_at, device_ids, tokens,
                        message_ids, positions, outcomes, reasons, statuses)
  select push_id, id, provider, credential, environment, attempt, to_timestamp(started_at), device_ids,
         case when device_ids is null then tokens end, message_ids, '{}', '{}', '{}', '{}'
  from done
),
ledger as (
  update push_ledger l set accepted = l.accepted + c.accepted
  from (select push_id, provider, sum(recipient_count) as accepted from done group by push_id, provider) c
  where l.push_id = c.push_id and l.provider = c.provider
),
moved as (
  update pushes p
  set settled = p.settled + n.settled,
      state = case when p.state = 'sending' and p.settled + n.settled = p.planned then 'done' else p.state end,
      finished_at = case when p.state in ('sending', 'cancelled') and p.settled + n.settled = p.planned then now() end
  from (select push_id, sum(recipient_count) as settled from done group by push_id) n
  where p.id = n.push_id
)
select id from done

-- name: settle
-- Batches that are still ours leave the queue; what came of them moves to the record, the ledger and the devices in
-- the same transaction. A batch whose lease was lost is left alone: its new holder settles it.
with given as (
  select * from unnest(%(batches)s::bigint[], %(attempts)s::integer[], %(started)s::float8[], %(message_ids)s::bytea[])
    g (batch_id, attempt, started_at, message_ids)
),
done as materialized (
  delete from batches b using given g
  where b.id = g.batch_id and b.attempt = g.attempt and b.claimed_by = %(worker)s
  returning b.*, g.started_at, g.message_ids
),
exceptions as materialized (
  select x.*, d.push_id, d.provider, d.credential
  from unnest(%(x_batches)s::bigint[], %(x_positions)s::integer[], %(x_outcomes)s::text[], %(x_reasons)s::text[],
              %(x_statuses)s::integer[], %(x_due)s::float8[], %(x_proofs)s::float8[], %(x_counts)s::boolean[])
    x (batch_id, position, outcome, reason, status, due_at, proof_at, counts)
  join done d on d.id = x.batch_id
),
recipients as (
  select d.id as batch_id, r.n - 1 as position, r.token, r.device_id, p.state = 'cancelled' as cancelled
  from done d
  join pushes p on p.id = d.push_id
  cross join lateral rows from (unnest(string_to_array(d.tokens, E'\n')), unnest(d.device_ids))
    with ordinality r (token, device_id, n)
  where d.id in (select batch_id from exceptions)
),
judged as materialized (
  -- What is to be sent again follows the device: a new token is used, a device that left gets nothing more, and a
  -- cancelled push sends nothing again. A dead token that the device has replaced meanwhile is sent again as well.
  select x.batch_id, x.position, x.push_id, x.provider, x.credential, x.reason, x.status, x.due_at, x.proof_at,
         x.counts, r.token, r.device_id,
         case when v.id is not null and v.provider = x.provider and v.state = 'active' then v.token else r.token end
           as next_token,
         case
           when x.outcome in ('retry', 'released') and r.cancelled then 'cancelled'
           when x.outcome in ('retry', 'released') and r.device_id is not null and v.id is null then 'suppressed'
           when x.outcome = 'dead' and not r.cancelled and v.state = 'active' and v.provider = x.provider
                and v.token <> r.token then 'retry'
           else x.outcome
         end as outcome
  from exceptions x
  join recipients r on r.batch_id = x.batch_id and r.position = x.position
  left join devices v on v.id = r.device_id and x.outcome in ('retry', 'released', 'dead')
),
again as (
  insert into batches (push_id, provider, credential, environment, scope, target, lane, due_at, attempt,
                       first_attempt_at, expire_at, recipient_count, device_ids, tokens)
  select d.push_id, d.provider, d.credential, d.environment, d.scope, d.target, d.lane,
         greatest(now(), to_timestamp(j.due_at)), case when j.counts then d.attempt else d.attempt - 1 end,
         d.first_attempt_at, d.expire_at, count(*),
         case when count(j.device_id) > 0 then array_agg(j.device_id order by j.position) end,
         string_agg(j.next_token, E'\n' order by j.position)
  from judged j
  join done d on d.id = j.batch_id
  where j.outcome in ('retry', 'released')
  group by d.id, d.push_id, d.provider, d.credential, d.environment, d.scope, d.target, d.lane, d.attempt,
           d.first_attempt_at, d.expire_at, j.due_at, j.counts
),
recorded as (
  insert into outcomes (push_id, batch_id, provider, credential, environment, attempt, started_at, device_ids, tokens,
                        message_ids, positions, outcomes, reasons, statuses)
  select d.push_id, d.id, d.provider, d.credential, d.environment, d.attempt,
         to_timestamp(d.started_at), d.device_ids,
         case when d.device_ids is null then d.tokens end, d.message_ids,
         coalesce(e.positions, '{}'), coalesce(e.outcomes, '{}'), coalesce(e.reasons, '{}'), coalesce(e.statuses, '{}')
  from done d
  left join (
    select j.batch_id, array_agg(j.position::integer order by j.position) as positions,
           array_agg(j.outcome order by j.position) as outcomes, array_agg(j.reason order by j.position) as reasons,
           array_agg(j.status order by j.position) as statuses
    from judged j group by j.batch_id
  ) e on e.batch_id = d.id
),
counted as materialized (
  select push_id, provider, sum(accepted) as accepted, sum(failed) as failed, sum(expired) as expired,
         sum(cancelled) as cancelled, sum(suppressed) as suppressed, sum(dropped) as dropped
  from (
    select push_id, provider, recipient_count as accepted, 0 as failed, 0 as expired, 0 as cancelled,
           0 as suppressed, 0 as dropped
    from done
    union all
    select push_id, provider, -1, (outcome in ('failed', 'dead'))::integer, (outcome = 'expired')::integer,
           (outcome = 'cancelled')::integer, (outcome = 'suppressed')::integer, (outcome = 'dropped')::integer
    from judged
  ) every
  group by push_id, provider
),
ledger as (
  update push_ledger l
  set accepted = l.accepted + c.accepted, failed = l.failed + c.failed, expired = l.expired + c.expired,
      cancelled = l.cancelled + c.cancelled, suppressed = l.suppressed + c.suppressed, dropped = l.dropped + c.dropped
  from counted c where l.push_id = c.push_id and l.provider = c.provider
),
reasoned as (
  insert into push_reasons as r (push_id, provider, outcome, reason, count)
  select push_id, provider, case outcome when 'dead' then 'failed' when 'retry' then 'retried' else outcome end,
         case when outcome = 'suppressed' then 'DeviceRemoved' else reason end, count(*)
  from judged where outcome <> 'released'
  group by 1, 2, 3, 4
  on conflict (push_id, provider, outcome, reason) do update set count = r.count + excluded.count
),
moved as (
  update pushes p
  set settled = p.settled + n.settled,
      state = case when p.state = 'sending' and p.settled + n.settled = p.planned then 'done' else p.state end,
      finished_at = case when p.state in ('sending', 'cancelled') and p.settled + n.settled = p.planned then now() end
  from (select push_id, sum(accepted + failed + expired + cancelled + suppressed + dropped) as settled
        from counted group by push_id) n
  where p.id = n.push_id
),
buried as (
  -- Only if it was not registered again after the proof: the answer may be old news. 404 and 410 are about the token;
  -- what else sounds like a dead token may be a wrong credential, and is taken back when the credential changes.
  update devices v
  set state = case when j.status in (404, 410) then 'dead' else 'failing' end, failing_reason = j.reason,
      updated_at = now()
  from judged j, credential_routes r
  where j.outcome = 'dead' and v.token = j.token and v.provider = j.provider and v.state = 'active'
    and v.registered_at < to_timestamp(j.proof_at)
    and r.provider = v.provider and r.provider_id = v.provider_id and r.credential = j.credential
)
select id from done

-- name: claim_ended
-- What no ordinary claim will reach: batches whose credential is gone, or whose time ran out behind a pause.
with found as (
  select q.id, q.claimed_by is not null as abandoned
  from batches q
  where q.due_at <= now()
    and (q.expire_at <= now() or not exists (select from credentials c where c.provider_id = q.credential))
  limit 200
  for update skip locked
),
picked as materialized (select id, abandoned from found),
-- include: _claimed

-- name: depth
-- Bounded, so that asking costs the same however full the queue is.
select count(*) from (select from batches limit %(limit)s) waiting

-- name: ensure_partitions
select ensure_outcome_partitions(%(days)s)

-- name: old_partitions
select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'outcomes'::regclass and c.relname ~ '^outcomes_\d{8}$'
  and to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - %(days)s::integer

-- name: upkeep_lock
-- One process at a time does the upkeep of a database; the lock is the session's.
select pg_try_advisory_lock(hashtext('tocsin.upkeep'))

-- name: upkeep_unlock
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

-- name: remove_old_receipts
delete from receipts where ctid in (
  select ctid from receipts where received_at < now() - make_interval(days => %(days)s) limit %(most)s)
