-- The keys of the API, and what ends the keys of apps.

-- name: create
-- A row that was revoked or has expired gives its name to the new key; a valid one keeps it, and no row is changed.
insert into api_keys (id, name, digest, methods, credentials, addresses, rate, burst, expires_at)
values (%(id)s, %(name)s, %(digest)s, %(methods)s::text[], %(credentials)s::text[], %(addresses)s::text[],
        %(rate)s::float8, %(burst)s::integer, to_timestamp(nullif(%(expires_at)s::float8, 0)))
on conflict (name) do update
  set id = excluded.id, digest = excluded.digest, methods = excluded.methods, credentials = excluded.credentials,
      addresses = excluded.addresses, rate = excluded.rate, burst = excluded.burst, expires_at = excluded.expires_at,
      created_at = now(), revoked_at = null, last_used_at = null
  where api_keys.revoked_at is not null or api_keys.expires_at <= now();

-- name: _key
k.id::text as id, k.name, k.methods, k.credentials, k.addresses, k.rate, k.burst,
coalesce(extract(epoch from k.expires_at)::float8, 0) as expires_at

-- name: _valid
k.revoked_at is null and (k.expires_at is null or k.expires_at > now())

-- name: list_all
select
-- include: _key
, extract(epoch from k.created_at)::bigint as created_at,
coalesce(extract(epoch from k.revoked_at)::bigint, 0) as revoked_at,
coalesce(extract(epoch from k.last_used_at)::bigint, 0) as last_used_at
from api_keys k
order by k.name;

-- name: find
select
-- include: _key
from api_keys k
where k.name = %(name)s and
-- include: _valid

-- name: revoke
update api_keys k set revoked_at = now()
where k.name = %(name)s and
-- include: _valid

-- name: end_later
-- A key that would have ended before keeps its time.
update api_keys k set expires_at = least(k.expires_at, now() + make_interval(secs => %(seconds)s::float8))
where k.id = %(id)s::uuid and
-- include: _valid
returning extract(epoch from k.expires_at)::float8

-- name: any_exists
-- One that has expired counts: that is no reason to make another one unasked.
select exists (select from api_keys where revoked_at is null);

-- name: valid_keys
select
-- include: _key
, k.digest
from api_keys k
where
-- include: _valid
order by k.name

-- name: note_uses
-- To the hour: a key in use is written once an hour, not with every call.
update api_keys set last_used_at = date_trunc('hour', now())
where digest = any (%(digests)s::bytea[])
  and (last_used_at is null or last_used_at < date_trunc('hour', now()))

-- name: end_device_keys
-- What ended before the longest time that a device key is good for holds back nothing any more.
with forgotten as (
  delete from device_key_limits where issued_before < now() - interval '60 days' and user_id <> %(user)s
)
insert into device_key_limits (user_id, issued_before) values (%(user)s, to_timestamp(%(now)s::float8))
on conflict (user_id) do update
  set issued_before = greatest(device_key_limits.issued_before, excluded.issued_before);

-- name: device_key_ended
-- A user's removal ends sync tokens, and device keys with them.
select exists (
  select from device_key_limits
  where user_id in ('', %(user)s) and issued_before > to_timestamp(%(issued_at)s::float8)
) or exists (
  select from sync_token_limits
  where user_id = %(user)s and issued_before > to_timestamp(%(issued_at)s::float8)
);

-- name: device_owners
select array_append(d.accounts, d.user_id) as users from devices d where d.id = %(id)s::uuid;
