-- name: hint
-- One statement for all the channels of an interval: each commit that notifies takes a database-wide lock.
select pg_notify(w.channel, w.payload) from unnest(%(channels)s::text[], %(payloads)s::text[]) w (channel, payload)

-- name: _claimed
-- Shaped so that no plan can join whole tables: ids as one array, and each batch's push fetched by its key. What is
-- claimed is few, but a generic plan expects hundreds, and merged both tables for a single batch (18 ms).
taken as (
  update batches b
  set due_at = now() + make_interval(secs => %(lease_seconds)s), claimed_by = %(worker)s, attempt = b.attempt + 1,
      first_attempt_at = coalesce(b.first_attempt_at, now()), turn = null
  where b.id = any (array(select id from picked))
  returning b.*
)
select t.id, t.push_id::text, t.provider, t.credential, t.environment, t.scope, t.target, t.lane, t.attempt,
       extract(epoch from t.first_attempt_at)::float8 as first_attempt_at,
       extract(epoch from now())::float8 as claimed_at,
       extract(epoch from t.expire_at)::float8 as expire_at,
       p.delivery = 'at_most_once' as at_most_once, p.state = 'cancelled' as cancelled,
       p.paused_at is not null as paused, k.abandoned, t.second_try, t.platform, t.timezone, t.locale,
       (select c.version from credentials c where c.provider_id = t.credential) as version,
       convert_to(t.tokens, 'UTF8') as tokens,
       case when p.needs <> '{}' or t.personal then t.device_ids::text[] end as device_ids, t.personal, t.attributes::text as attributes,
       t.admitted,
       case when t.push_id = any (%(known)s::uuid[]) then null else coalesce(p.content, p.request) end as request,
       case when t.push_id = any (%(known)s::uuid[]) then '' else p.uid end as uid,
       case when t.push_id = any (%(known)s::uuid[]) then '' else p.analytics_uid end as analytics_uid
from taken t
join picked k on k.id = t.id
cross join lateral (select delivery, state, paused_at, needs, request, content, uid, analytics_uid from pushes where id = t.push_id offset 0) p

-- name: _paces
-- The quotas of the credentials that are asked about, as they are just now: after a minute's silence they begin at a
-- twentieth and grow. One that another worker has in its hands is missing.
paces as materialized (
  select c.credential, c.paid_until,
         c.paid_until < now() - interval '1 minute' as ramps,
         c.per_second * case
           when c.ramp_seconds = 0 then 1
           when c.paid_until < now() - interval '1 minute' then 0.05
           else least(1, greatest(0.05, extract(epoch from now() - c.ramped_from) / c.ramp_seconds)) end as per_second
  from credential_paces c
  where c.credential in (select w.credential from jsonb_to_recordset(%(room)s::jsonb) w (credential text))
  for update skip locked
),

-- name: claim
-- For each credential until its limit of recipients is reached: urgent lane first; in a lane what waited for its time
-- (retries, leases that ended) before what is new, and that in the order of service. A claim is a lease: `due_at` moves
-- to its end, and whoever finds it due again finds `claimed_by` set and knows that it was abandoned. A credential with
-- a quota pays for what is claimed, and is claimed for a tenth of a second ahead; urgent batches do not wait for it.
with
-- include: _paces
wanted as (
  select w.credential, w.recipients, least(w.recipients, 256) as batches,
         case when t.credential is null then w.recipients
              else coalesce(ceil(a.per_second * greatest(
                     0, 0.1 - extract(epoch from greatest(a.paid_until, now() - interval '0.1 second') - now()))), 0)
         end as allowed
  -- JSON, because PostgreSQL guesses its rows alike with and without the value, and so settles on a generic plan;
  -- with two arrays it planned each claim anew (0.33 of 0.45 ms)
  from jsonb_to_recordset(%(room)s::jsonb) w (credential text, recipients integer)
  left join credential_paces t on t.credential = w.credential
  left join paces a on a.credential = w.credential  -- missing: another worker is claiming for it just now
  where not exists (select from pauses z where z.credential = w.credential and z.scope = '')
    and not exists (select from credentials c where c.provider_id = w.credential and not c.enabled)
),
found as (
  select b.id, b.credential, b.lane, b.abandoned, b.recipient_count, w.recipients, w.allowed,
         sum(b.recipient_count) over (partition by w.credential order by b.lane, b.turn nulls first, b.due_at, b.id)
           - b.recipient_count as ahead
  from wanted w
  cross join unnest(%(lanes)s::smallint[]) l (lane)
  cross join lateral (
    select * from (
     select q.id, q.credential, q.lane, q.turn, q.due_at, q.claimed_by is not null as abandoned, q.recipient_count
     from batches q
     where q.credential = w.credential and q.lane = l.lane and q.turn is null and not q.parked and q.due_at <= now()
       and (w.allowed > 0 or l.lane = 0)
       and not exists (select from pauses z where z.credential = q.credential and z.scope = q.scope)
     order by q.due_at
     limit w.batches
     for update skip locked) waited
    union all
    select * from (
     select q.id, q.credential, q.lane, q.turn, q.due_at, false, q.recipient_count
     from batches q
     where q.credential = w.credential and q.lane = l.lane and q.turn is not null and not q.parked
       and (w.allowed > 0 or l.lane = 0)
       and not exists (select from pauses z where z.credential = q.credential and z.scope = q.scope)
     order by q.turn, q.id
     limit w.batches
     for update skip locked) fresh
  ) b
),
picked as materialized (
  select id, abandoned, credential, recipient_count from found
  where ahead < recipients and (ahead < allowed or lane = 0)
),
paid as (
  update credential_paces c
  set paid_until = greatest(c.paid_until, now()) + make_interval(secs => n.recipients / a.per_second),
      ramped_from = case when a.ramps then now() else c.ramped_from end
  from (select credential, sum(recipient_count) as recipients from picked group by credential) n
  join paces a using (credential)
  where c.credential = n.credential
),
-- include: _claimed

-- name: claim_chosen
-- Claims batches that were chosen elsewhere (delivery/queues/redis.py), as far as they can be had: what is gone, parked,
-- leased, behind a pause or under a quota of which no share was taken is left. Whose a batch is is decided here alone, so
-- it does not matter how wrong the choice was. What is claimed beyond, or left of, the share of a quota that was taken
-- beforehand is made up for; urgent batches need no share, and pay.
with picked as materialized (
  select q.id, q.claimed_by is not null as abandoned, q.credential, q.recipient_count
  from batches q
  where q.id = any (%(ids)s::bigint[]) and not q.parked and (q.turn is not null or q.due_at <= now())
    and not exists (select from pauses z where z.credential = q.credential and z.scope in ('', q.scope))
    and not exists (select from credentials c where c.provider_id = q.credential and not c.enabled)
    and (q.lane = 0 or q.credential not in (select credential from credential_paces)
         or q.credential in (select t.credential from jsonb_to_recordset(%(taken)s::jsonb) t (credential text)))
  for update skip locked
),
paid as (
  update credential_paces c
  set paid_until = case when m.taken is null then greatest(c.paid_until, now()) else c.paid_until end
                   + make_interval(secs => (coalesce(m.claimed, 0) - coalesce(m.taken, 0))
                                           / coalesce(m.per_second, c.per_second))
  from (
    select credential, n.claimed, t.recipients as taken, t.per_second
    from (select credential, sum(recipient_count) as claimed from picked group by credential) n
    full join jsonb_to_recordset(%(taken)s::jsonb) t (credential text, recipients integer, per_second float8)
      using (credential)
  ) m
  where c.credential = m.credential
),
-- include: _claimed

-- name: take_share
-- What each of these credentials may send by its quota until a tenth of a second from now, taken in advance: several
-- workers ask at once, and each gets what the others left. Credentials without a quota are not in the answer.
with
-- include: _paces
shares as (
  select a.credential, a.ramps, a.per_second::float8 as per_second,
         least(w.recipients, ceil(a.per_second * greatest(
           0, 0.1 - extract(epoch from greatest(a.paid_until, now() - interval '0.1 second') - now()))))::integer as share
  from paces a
  join jsonb_to_recordset(%(room)s::jsonb) w (credential text, recipients integer) using (credential)
),
paid as (
  update credential_paces c
  set paid_until = greatest(c.paid_until, now()) + make_interval(secs => s.share / s.per_second),
      ramped_from = case when s.ramps then now() else c.ramped_from end
  from shares s where c.credential = s.credential and s.share > 0
)
select c.credential, coalesce(s.share, 0) as share, coalesce(s.per_second, c.per_second)::float8 as per_second
from credential_paces c
left join shares s using (credential)
where c.credential in (select w.credential from jsonb_to_recordset(%(room)s::jsonb) w (credential text))

-- name: _standing
-- Where a batch stands in the order of service: a turn, or the time it waits for (milliseconds).
q.id, q.credential, q.lane, q.scope, q.recipient_count, q.turn, q.parked,
       (extract(epoch from q.due_at) * 1000)::float8 as due_ms

-- name: standing
select
-- include: _standing
from batches q where q.id = any (%(ids)s::bigint[])

-- name: standing_after
-- What came into the queue since, by number, and what had taken its number before but is only now committed. The limit
-- is said twice: without the inner one each page sorted all that is behind it (370 ms of 300,000 batches, now 8).
(select
-- include: _standing
from batches q where q.id > %(after)s order by q.id limit %(limit)s)
union all
select
-- include: _standing
from batches q where q.id = any (%(missed)s::bigint[])
order by id
limit %(limit)s

-- name: newest
select coalesce(max(id), 0) from batches

-- name: unused_credentials
select n.name from unnest(%(names)s::text[]) n (name)
where not exists (select from credentials c where c.provider_id = n.name)
  and not exists (select from batches b where b.credential = n.name and b.turn is not null and not b.parked)
  and not exists (select from batches b where b.credential = n.name and b.turn is null and not b.parked)

-- name: queue_name
-- Tells this installation from others that may share a Redis: no two databases have all three alike.
select md5(concat_ws('/', current_database(), (select oid from pg_database where datname = current_database()),
                     (select extract(epoch from min(applied_at)) from schema_migrations)))

-- name: database_time
select extract(epoch from clock_timestamp())::float8

-- name: claim_probe
-- A paused credential (or scope) whose next probe is due: one worker takes one of its batches to try with.
with probe as (
  update pauses z
  set next_probe_at = now() + make_interval(secs => %(lease_seconds)s)
  where (z.credential, z.scope) in (
    select y.credential, y.scope from pauses y
    where y.credential = any (%(credentials)s::text[]) and y.next_probe_at <= now()
      and not exists (select from credentials c where c.provider_id = y.credential and not c.enabled)
    order by y.next_probe_at limit 1 for update skip locked)
  returning z.credential, z.scope
),
due as (
  select p.credential, p.scope, l.lane, b.id, b.abandoned, b.waited
  from probe p
  cross join unnest('{0,1,2}'::smallint[]) l (lane)
  cross join lateral (
    (select q.id, q.claimed_by is not null as abandoned, true as waited from batches q
     where q.credential = p.credential and q.lane = l.lane and q.turn is null and not q.parked and q.due_at <= now()
       and (p.scope = '' or q.scope = p.scope)
     order by q.due_at limit 1)
    union all
    (select q.id, false, false from batches q
     where q.credential = p.credential and q.lane = l.lane and q.turn is not null and not q.parked
       and (p.scope = '' or q.scope = p.scope)
     order by q.turn, q.id limit 1)
  ) b
),
found as (
  select b.id, d.abandoned
  from (select id, abandoned from due order by lane, waited desc limit 1) d
  join batches b on b.id = d.id and not b.parked and (b.turn is not null or b.due_at <= now())
  for update of b skip locked
),
picked as materialized (select id, abandoned from found),
-- include: _claimed

-- name: lift_idle_pauses
-- A throttle ends by itself; trouble with nothing left to probe with ends when its next probe is due.
delete from pauses z
where z.next_probe_at <= now()
  and (z.kind = 'throttle'
       or not (exists (select from batches b where b.credential = z.credential and b.turn is not null and not b.parked
                                                   and z.scope in ('', b.scope))
               or exists (select from batches b where b.credential = z.credential and b.turn is null and not b.parked
                                                      and z.scope in ('', b.scope))))
returning z.credential, z.scope

-- name: lift_pause
delete from pauses z
where z.credential = %(credential)s and z.scope = any (%(scopes)s::text[])
  and (%(version)s::bigint is null
       or exists (select from credentials c where c.provider_id = z.credential and c.version = %(version)s))
returning z.scope

-- name: pause
-- The first sight of trouble starts a pause; each later one (a failed probe) doubles the wait, up to 15 minutes. Devices
-- that were buried for the reason of the pause just before are taken back: it may not have been the tokens.
with spared as (
  update devices d set state = 'failing'
  from credential_routes r
  where %(again)s::integer = 0 and %(kind)s = 'trouble' and r.credential = %(credential)s
    and r.provider = d.provider and r.provider_id = d.provider_id
    and d.state = 'dead' and d.failing_reason = %(reason)s and d.updated_at > now() - interval '1 hour'
)
insert into pauses as z (credential, scope, kind, reason, next_probe_at)
select c.provider_id, %(scope)s, %(kind)s, %(reason)s, now() + make_interval(secs => coalesce(%(seconds)s::float8, 30))
from credentials c
where c.provider_id = %(credential)s and (%(version)s::bigint is null or c.version = %(version)s)
on conflict (credential, scope) do update
set kind = excluded.kind, reason = excluded.reason, attempt = z.attempt + %(again)s::integer,
    next_probe_at = now() + make_interval(
      secs => coalesce(%(seconds)s::float8, least(30 * 2 ^ least(z.attempt, 10), 900)))
where %(again)s::integer = 1 or excluded.next_probe_at > z.next_probe_at

-- name: note_admitted
-- So that whoever sends the batch in the end does not ask again: a limit counts pushes, not attempts.
update batches set admitted = %(admitted)s::boolean[]
where id = %(batch)s and claimed_by = %(worker)s and attempt = %(attempt)s

-- name: paused
select credential, scope, reason from pauses

-- name: extend
-- Keeps the leases of what is still in flight; tells which pushes were cancelled or paused meanwhile.
with kept as (
  update batches set due_at = now() + make_interval(secs => %(lease_seconds)s)
  where id = any (%(batches)s::bigint[]) and claimed_by = %(worker)s
)
select id::text from pushes where id = any (%(pushes)s::uuid[]) and (state = 'cancelled' or paused_at is not null)

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
  insert into outcomes (push_id, page, batch_id, provider, credential, environment, platform, attempt, started_at,
                        device_ids, tokens, message_ids, positions, outcomes, reasons, statuses)
  select push_id, page, id, provider, credential, environment, platform, attempt, to_timestamp(started_at), device_ids,
         case when device_ids is null then address_tokens(provider, tokens) end, message_ids, '{}', '{}', '{}', '{}'
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
  select * from unnest(%(batches)s::bigint[], %(attempts)s::integer[], %(started)s::float8[], %(message_ids)s::bytea[],
                       %(versions)s::bigint[]) g (batch_id, attempt, started_at, message_ids, version)
),
current as materialized (
  -- Where tokens are refused in a way that may be the credential's fault, its version is locked: whoever corrects it now
  -- waits, and then finds the devices that were let go for it; or was first, and they are not let go.
  select c.provider_id, c.version from credentials c
  where c.provider_id in (select b.credential from batches b where b.id = any (%(batches)s::bigint[]))
    and exists (select from unnest(%(x_outcomes)s::text[], %(x_statuses)s::integer[]) x (outcome, status)
                where x.outcome = 'dead' and x.status not in (404, 410))
  for share
),
done as materialized (
  delete from batches b using given g
  where b.id = g.batch_id and b.attempt = g.attempt and b.claimed_by = %(worker)s
  returning b.*, g.started_at, g.message_ids,
            exists (select from current c where c.provider_id = b.credential and c.version <> g.version) as outdated
),
exceptions as materialized (
  select x.batch_id, x.position,
         -- what a credential was refused before it was corrected says nothing of a token
         case when x.outcome = 'dead' and x.status not in (404, 410) and d.outdated then 'retry' else x.outcome end
           as outcome,
         x.reason, x.status, x.due_at, x.proof_at, x.counts, d.push_id, d.provider, d.credential, d.target
  from unnest(%(x_batches)s::bigint[], %(x_positions)s::integer[], %(x_outcomes)s::text[], %(x_reasons)s::text[],
              %(x_statuses)s::integer[], %(x_due)s::float8[], %(x_proofs)s::float8[], %(x_counts)s::boolean[])
    x (batch_id, position, outcome, reason, status, due_at, proof_at, counts)
  join done d on d.id = x.batch_id
),
recipients as (
  select d.id as batch_id, r.n - 1 as position, r.token, r.device_id, d.second_try, p.state = 'cancelled' as cancelled,
         p.paused_at is not null as paused, d.attributes -> (r.n - 1)::integer as attributes, d.admitted[r.n] as admitted
  from done d
  join pushes p on p.id = d.push_id
  cross join lateral rows from (unnest(string_to_array(d.tokens, E'\n')), unnest(d.device_ids))
    with ordinality r (token, device_id, n)
  where d.id in (select batch_id from exceptions)
),
elsewhere as (
  -- The same app's other environment, where a token that this one does not know may be at home (providers.md 1.6).
  select distinct on (d.id) d.id as batch_id, c.provider_id as credential, o.environment
  from done d
  join credentials own on own.provider_id = d.credential
  cross join lateral (
    select case d.environment when 'sandbox' then 'production' else 'sandbox' end as environment) o
  join credentials c on c.provider = 'apns' and c.environment = o.environment
                        and c.settings ->> 'bundle_id' = own.settings ->> 'bundle_id'
  where d.provider = 'apns' and not d.second_try and d.device_ids is not null
    and d.id in (select batch_id from exceptions where outcome = 'dead' and reason = 'BadDeviceToken')
  order by d.id, c.provider_id = d.credential desc, c.is_default desc, c.provider_id
),
judged as materialized (
  -- What is to be sent again follows the device: a new token is used, a device that left gets nothing more, and a
  -- cancelled push sends nothing again. A dead token that the device has replaced meanwhile is sent again as well.
  select x.batch_id, x.position, x.push_id, x.provider, x.credential, x.status, x.due_at, x.proof_at, x.counts,
         r.token, r.device_id, r.second_try, r.paused, r.attributes, r.admitted,
         -- of an attempt without an answer the record keeps the reason: it may have arrived
         case when x.outcome in ('retry', 'released', 'held') and not r.cancelled and r.device_id is not null
                   and v.id is null and not (x.outcome = 'retry' and x.counts and x.status = 0)
              then 'DeviceRemoved' else x.reason end as reason,
         -- a token that the device brought meanwhile is tried where the device says, one that is not known here elsewhere
         case when v.state = 'active' and v.token <> r.token and v.provider = x.provider then v.credential
              when x.outcome = 'dead' and not r.cancelled and v.token = r.token then e.credential end as elsewhere,
         case when v.state = 'active' and v.token <> r.token and v.provider = x.provider
              then case v.provider when 'apns' then coalesce(nullif(v.environment, ''), v.usual) else '' end
              when x.outcome = 'dead' and not r.cancelled and v.token = r.token then e.environment
         end as other_environment,
         case when v.state = 'active' and v.token <> r.token and v.provider = x.provider then false
              else r.second_try or x.outcome = 'dead' and e.credential is not null end as tried_elsewhere,
         x.reason = 'BadDeviceToken' and e.credential is not null as untried,
         -- a browser whose keys are gone has none: the batch keeps a line for each recipient
         coalesce(case when v.id is not null and v.provider = x.provider and v.state = 'active' then v.token end, r.token)
           as next_token,
         case
           when x.outcome in ('retry', 'released', 'held') and r.cancelled then 'cancelled'
           when x.outcome in ('retry', 'released', 'held') and r.device_id is not null and v.id is null then 'suppressed'
           when x.outcome = 'dead' and not r.cancelled and v.state = 'active' and v.provider = x.provider
                and v.token <> r.token then 'retry'
           when x.outcome = 'dead' and x.reason = 'BadDeviceToken' and not r.cancelled and e.credential is not null
                and v.token = r.token then 'retry'
           else x.outcome
         end as outcome
  from exceptions x
  join recipients r on r.batch_id = x.batch_id and r.position = x.position
  left join lateral (
    -- the token that the device has for a push of this kind; a device without one is as good as gone
    select n.id, n.provider, n.state,
           case x.target when 'voip' then n.voip_token else push_address(n.provider, n.token, n.webpush_keys) end as token,
           n.environment, h.credential, h.environment as usual
    from devices n
    left join credential_routes h on h.provider = n.provider and h.provider_id = n.provider_id
    where n.id = r.device_id and case x.target when 'voip' then n.voip_token <> '' else n.token_kind <> 'voip' end
  ) v on x.outcome in ('retry', 'released', 'held', 'dead')
  left join elsewhere e on e.batch_id = x.batch_id and x.reason = 'BadDeviceToken'
),
again as (
  insert into batches (push_id, page, provider, credential, environment, scope, platform, target, timezone, locale, lane,
                       personal, parked, paced, due_at, attempt, first_attempt_at, expire_at, recipient_count, second_try,
                       device_ids, tokens, attributes, admitted)
  select d.push_id, d.page, d.provider, coalesce(j.elsewhere, d.credential),
         case when j.elsewhere is null then d.environment else j.other_environment end,
         -- a device that subscribed anew may be at another push service
         case d.provider when 'webpush' then coalesce(address_origin(j.next_token), '') else d.scope end, d.platform,
         d.target, d.timezone, d.locale, d.lane, d.personal, d.paced or j.paused, d.paced,
         greatest(now(), to_timestamp(j.due_at)), case when j.counts then d.attempt else d.attempt - 1 end,
         case when j.counts or d.attempt > 1 then d.first_attempt_at end, d.expire_at, count(*), j.tried_elsewhere,
         case when count(j.device_id) > 0 then array_agg(j.device_id order by j.position) end,
         string_agg(j.next_token, E'\n' order by j.position),
         case when count(j.attributes) > 0 then jsonb_agg(j.attributes order by j.position) end,
         case when bool_or(j.admitted) then array_agg(coalesce(j.admitted, false) order by j.position) end
  from judged j
  join done d on d.id = j.batch_id
  where j.outcome in ('retry', 'released', 'held')
  group by d.id, d.push_id, d.page, d.provider, d.credential, d.environment, d.scope, 6, d.platform, d.target, d.timezone,
           d.locale, d.lane, d.personal, d.paced, d.attempt, d.first_attempt_at, d.expire_at, j.tried_elsewhere, j.due_at, j.counts,
           j.elsewhere, j.other_environment, j.paused
),
recorded as (
  insert into outcomes (push_id, page, batch_id, provider, credential, environment, platform, attempt, started_at,
                        device_ids, tokens, message_ids, positions, outcomes, reasons, statuses)
  select d.push_id, d.page, d.id, d.provider, d.credential, d.environment, d.platform, d.attempt,
         to_timestamp(d.started_at), d.device_ids,
         case when d.device_ids is null then address_tokens(d.provider, d.tokens) end, d.message_ids,
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
  insert into push_reasons as r (push_id, provider, outcome, reason, count, examples)
  select push_id, provider, case outcome when 'dead' then 'failed' when 'retry' then 'retried' else outcome end,
         reason, count(*),
         -- the nil one stands for a device that was removed with its user
         coalesce((array_agg(device_id) filter (where device_id <> '00000000-0000-0000-0000-000000000000'))[1:3], '{}')
  from judged where outcome <> 'released'
  group by 1, 2, 3, 4
  on conflict (push_id, provider, outcome, reason) do update
  set count = r.count + excluded.count,
      examples = case when cardinality(r.examples) < 3 then (r.examples || excluded.examples)[1:3] else r.examples end
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
moved_home as (
  -- Accepted in the other environment: that is where this token is at home. Unless the device is registered there too.
  update devices v
  set environment = d.environment,
      provider_id = case when c.is_default then '' else c.provider_id end, updated_at = now()
  from done d
  join credentials c on c.provider_id = d.credential
  cross join lateral rows from (unnest(string_to_array(d.tokens, E'\n')), unnest(d.device_ids))
    with ordinality r (token, device_id, n)
  where d.second_try and v.id = r.device_id and v.token = r.token and v.registered_at < to_timestamp(d.started_at)
    and not exists (select from exceptions x where x.batch_id = d.id and x.position = r.n - 1)
    and not exists (select from devices o where o.token = v.token and o.provider = v.provider and o.id <> v.id
                    and o.provider_id = case when c.is_default then '' else c.provider_id end)
),
held as (
  -- This device had too much lately, whichever push: others wait for it as long as this one does.
  update devices v set hold_until = to_timestamp(j.due_at)
  from judged j
  where j.outcome = 'retry' and j.status = 429 and j.counts and v.id = j.device_id
    and not exists (select from judged b where b.device_id = j.device_id and b.outcome = 'dead')
),
buried as (
  -- Only if it was not registered again after the proof: the answer may be old news. 404 and 410 are about the token;
  -- what else sounds like a dead token may be a wrong credential, and is taken back when the credential changes.
  update devices v
  set state = case when j.status in (404, 410) then 'dead' else 'failing' end, failing_reason = j.reason,
      updated_at = now()
  from judged j, credential_routes r
  where j.outcome = 'dead' and v.token = address_token(j.provider, j.token) and v.provider = j.provider
    -- what was let go on suspicion is dead once that is certain: a corrected credential does not bring it back
    and (v.state = 'active' or v.state = 'failing' and j.status in (404, 410))
    and v.registered_at < to_timestamp(j.proof_at)
    -- of a cancelled push, what would have been tried in the other environment: nothing is known of it
    and not j.untried
    and r.provider = v.provider and r.provider_id = v.provider_id
    and (r.credential = j.credential or j.second_try and v.id = j.device_id)
),
buried_voip as (
  -- A VoIP token beside another: the device stays, and 404 and 410 alone end its calls.
  update devices v set voip_state = 'dead', voip_failing_reason = j.reason, updated_at = now()
  from judged j
  where j.outcome = 'dead' and j.status in (404, 410) and v.voip_token = j.token and v.voip_token <> ''
    and v.token_kind <> 'voip' and v.provider = j.provider and v.voip_state = 'active'
    and v.registered_at < to_timestamp(j.proof_at)
)
select id from done

-- name: claim_ended
-- What no ordinary claim will reach: batches whose credential is gone, or whose time ran out behind a pause. The
-- credentials in the queue are few, and are found by leaping through the indexes from one to the next.
with recursive named (credential) as (
  (select credential from batches where turn is not null and not parked order by credential limit 1)
  union all
  select (select b.credential from batches b where b.turn is not null and not b.parked and b.credential > n.credential
          order by b.credential limit 1)
  from named n where n.credential is not null
),
late (credential) as (
  (select credential from batches where turn is null and not parked order by credential limit 1)
  union all
  select (select b.credential from batches b where b.turn is null and not b.parked and b.credential > n.credential
          order by b.credential limit 1)
  from late n where n.credential is not null
),
gone as materialized (
  select n.credential from (select credential from named union select credential from late) n
  where n.credential is not null and not exists (select from credentials c where c.provider_id = n.credential)
),
over as (
  select q.id, q.claimed_by is not null as abandoned from batches q
  where q.expire_at <= now() and (q.claimed_by is null or q.due_at <= now())
  limit 200
  for update skip locked
),
orphaned as (
  select b.id, b.abandoned from gone g cross join lateral (
    select * from (
      select q.id, false as abandoned from batches q
      where q.credential = g.credential and q.turn is not null and not q.parked limit 200 for update skip locked) fresh
    union all
    select * from (
      select q.id, q.claimed_by is not null from batches q
      where q.credential = g.credential and q.turn is null and not q.parked
        and (q.claimed_by is null or q.due_at <= now())
      limit 200 for update skip locked) waited
  ) b
),
picked as materialized (
  select id, bool_or(abandoned) as abandoned from (select * from over union all select * from orphaned) every group by id
),
-- include: _claimed

-- name: set_free
-- Batches of pushes that set their own pace, as many as that allows by now, and none while earlier ones wait to be
-- claimed: what piled up during an outage must not go all at once.
with pace as materialized (
  select z.push_id, z.paid_until,
         -- one at least, whatever the rate: what it costs is waited for afterwards
         greatest(1, floor(z.per_second * extract(
           epoch from now() + make_interval(secs => %(ahead_seconds)s)
                      - greatest(z.paid_until, now() - make_interval(secs => %(ahead_seconds)s))))) as allowed
  from push_paces z
  join pushes p on p.id = z.push_id and p.state in ('planning', 'sending') and p.paused_at is null
  where z.paid_until <= now() + make_interval(secs => %(ahead_seconds)s)
    and not exists (
      select from batches b
      where b.push_id = z.push_id and not b.parked and b.claimed_by is null and b.due_at <= now()
        and not exists (select from pauses y where y.credential = b.credential and y.scope in ('', b.scope)))
  for update of z skip locked
),
chosen as materialized (
  select n.id, n.push_id, n.recipient_count
  from (
    select b.id, b.push_id, b.recipient_count, a.allowed,
           sum(b.recipient_count) over (partition by b.push_id order by b.turn nulls first, b.id) as total
    from pace a
    cross join lateral (
      select q.id, q.push_id, q.recipient_count, q.turn from batches q
      where q.push_id = a.push_id and q.parked and q.due_at <= now()
        -- what would be let go into a pause would leave it all at once
        and not exists (select from pauses y where y.credential = q.credential and y.scope in ('', q.scope))
      order by q.turn nulls first, q.id limit 1000
    ) b
  ) n
  where n.total <= greatest(n.allowed, n.recipient_count)
),
freed as (
  -- with a new number: whoever follows the queue by numbers finds them as what they are, new to it
  update batches b set parked = false, id = default where b.id = any (array(select id from chosen))
),
paid as (
  update push_paces z
  set paid_until = greatest(z.paid_until, now() - make_interval(secs => %(ahead_seconds)s))
                   + make_interval(secs => n.recipients / z.per_second)
  from (select push_id, sum(recipient_count) as recipients from chosen group by push_id) n
  where z.push_id = n.push_id
)
select (select count(*) from chosen)::integer as freed,
       (select count(*) from push_paces z join pushes p on p.id = z.push_id
        where p.state in ('scheduled', 'planning', 'sending'))::integer as paced

-- name: depth
-- Bounded, so that asking costs the same however full the queue is.
select count(*) from (select from batches limit %(limit)s) waiting
