-- The keys of the API.

-- name: create
-- A revoked row gives its name to the new key; a valid one keeps it, and no row is changed.
insert into api_keys (id, name, digest, methods)
values (%(id)s, %(name)s, %(digest)s, %(methods)s::text[])
on conflict (name) do update
  set id = excluded.id, digest = excluded.digest, methods = excluded.methods, created_at = now(), revoked_at = null
  where api_keys.revoked_at is not null;

-- name: list_all
select id::text, name, methods, extract(epoch from created_at)::bigint as created_at,
       coalesce(extract(epoch from revoked_at)::bigint, 0) as revoked_at
from api_keys
order by name;

-- name: revoke
update api_keys set revoked_at = now() where name = %(name)s and revoked_at is null;

-- name: any_exists
select exists (select from api_keys where revoked_at is null);

-- name: valid_digests
select name, digest, methods from api_keys where revoked_at is null order by name;
