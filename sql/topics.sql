-- Topics of devices and of users.

-- name: lock_device
-- Whoever changes topics of a device locks the device first; a later statement then sees what others have left.
select d.user_id from devices d where d.id = %(device_id)s::uuid for no key update

-- name: change_device
with d as (
  select d.id, d.user_id, d.user_id = coalesce(%(user_id)s::text, d.user_id) as owned
  from devices d where d.id = %(device_id)s::uuid
), gone as (
  delete from device_topics t using d
  where d.owned and t.device_id = d.id
    and case %(op)s::text
          when 'set' then t.topic <> all(%(topics)s::text[])
          when 'remove' then t.topic = any(%(topics)s::text[])
          else false end
), added as (
  insert into device_topics (topic, device_id)
  select distinct w.topic, d.id from d, unnest(%(topics)s::text[]) w(topic)
  where d.owned and %(op)s::text in ('add', 'set')
  on conflict do nothing
)
select d.owned from d

-- name: lock_user
-- Against registrations of devices of this user (share_user in sql/devices.sql) and against other changes.
select pg_advisory_xact_lock(hashtextextended('tocsin.user.' || %(user_id)s::text, 0))

-- name: lock_devices_of_user
select count(*) from (
  select d.id from devices d where d.user_id = %(user_id)s::text and d.user_id <> '' order by d.id for no key update
) owned

-- name: change_user
-- What `set` takes from the user it takes from the user's devices; topics that only a device has stay.
with gone as (
  delete from user_topics u
  where u.user_id = %(user_id)s::text
    and case %(op)s::text
          when 'set' then u.topic <> all(%(topics)s::text[])
          when 'remove' then u.topic = any(%(topics)s::text[])
          else false end
  returning u.topic
), lost as (
  select topic from gone
  union
  select unnest(%(topics)s::text[]) where %(op)s::text = 'remove'
), added as (
  insert into user_topics (user_id, topic)
  select distinct %(user_id)s::text, w.topic from unnest(%(topics)s::text[]) w(topic)
  where %(op)s::text in ('add', 'set')
  on conflict do nothing
), owned as materialized (
  -- The user "" is everyone: recorded only, each device takes it up when it is registered next
  select d.id from devices d where d.user_id = %(user_id)s::text and d.user_id <> ''
), gone_from_devices as (
  delete from device_topics t using owned o, lost l where t.device_id = o.id and t.topic = l.topic
), added_to_devices as (
  insert into device_topics (topic, device_id)
  select distinct w.topic, o.id from owned o, unnest(%(topics)s::text[]) w(topic)
  where %(op)s::text in ('add', 'set')
  on conflict do nothing
)
select count(*) as count from owned

-- name: _device_topic_filter
-- Like _filter in sql/devices.sql: planned afresh, so that the branches of absent lists fold away and a list of one
-- becomes an equality, with which the index of (topic, device) delivers in the order of the page.
from device_topics t join devices d on d.id = t.device_id
where (%(after_device)s::uuid is null
       or (t.device_id >= %(after_device)s::uuid
           and d.id >= %(after_device)s::uuid  -- on both sides: bounded on one, the other is read from its beginning
           and (t.device_id, t.topic) > (%(after_device)s::uuid, %(after_topic)s::text collate "C")))
  and (%(device_ids)s::uuid[] is null or t.device_id = any(%(device_ids)s::uuid[]))
  and (%(topics)s::text[] is null
       or case cardinality(%(topics)s::text[])
            when 1 then t.topic = (%(topics)s::text[])[1] else t.topic = any(%(topics)s::text[]) end)
  and (%(topic_prefix)s::text is null or t.topic ^@ %(topic_prefix)s::text)
  and provider_is(%(providers)s::text[], d.provider, d.environment, d.voip_token)
  and (%(platforms)s::text[] is null or d.platform = any(%(platforms)s::text[]))
  and (%(users)s::text[] is null
       or case cardinality(%(users)s::text[])
            when 1 then d.user_id = (%(users)s::text[])[1] else d.user_id = any(%(users)s::text[]) end)
  and (%(tokens)s::text[] is null or d.token = any(%(tokens)s::text[]))

-- name: page_of_devices
select t.topic, d.id::text, d.provider, d.provider_id, d.token, d.token_kind, d.platform, d.environment,
       d.user_id, d.timezone, d.locale, d.app_version, d.voip_token, d.state, d.failing_reason,
       extract(epoch from d.created_at)::bigint as created_at, extract(epoch from d.updated_at)::bigint as updated_at
-- include: _device_topic_filter
order by t.device_id, t.topic
limit %(limit)s

-- name: count_of_devices
select count(*) as count
-- include: _device_topic_filter

-- name: _user_topic_filter
from user_topics u
where (%(after)s::bigint is null or u.id > %(after)s::bigint)
  and (%(users)s::text[] is null
       or case cardinality(%(users)s::text[])
            when 1 then u.user_id = (%(users)s::text[])[1] else u.user_id = any(%(users)s::text[]) end)
  and (%(topics)s::text[] is null
       or case cardinality(%(topics)s::text[])
            when 1 then u.topic = (%(topics)s::text[])[1] else u.topic = any(%(topics)s::text[]) end)
  and (%(topic_prefix)s::text is null or u.topic ^@ %(topic_prefix)s::text)

-- name: page_of_users
select u.id, u.user_id, u.topic
-- include: _user_topic_filter
order by u.id
limit %(limit)s

-- name: count_of_users
select count(*) as count
-- include: _user_topic_filter
