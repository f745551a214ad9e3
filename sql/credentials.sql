-- name: lock
-- Changes are rare and touch several rows (the default, the emulators): one at a time, readers are not held up.
select pg_advisory_xact_lock(hashtext('tocsin.credentials'))

-- name: remove_emulators
-- Emulators stand in only while nothing real is configured.
delete from credentials where source = 'emulator'

-- name: has_real
select exists (select from credentials where source <> 'emulator')

-- name: clear_default
-- Before `put`, because the unique index on the default is checked row by row.
update credentials set is_default = false
where provider = %(provider)s and is_default and provider_id <> %(provider_id)s

-- name: put
-- The first of a provider becomes its default. A row of another provider, or one that the settings declare while
-- somebody else writes, is left alone: no row comes back.
insert into credentials (provider_id, provider, is_default, environment, source, settings, secrets)
values (%(provider_id)s, %(provider)s,
        not exists (select from credentials c where c.provider = %(provider)s and c.is_default),
        %(environment)s, %(source)s, %(settings)s::jsonb, %(secrets)s)
on conflict (provider_id) do update
  set is_default = credentials.is_default or excluded.is_default,
      environment = excluded.environment, source = excluded.source, settings = excluded.settings,
      secrets = excluded.secrets, version = nextval('credential_versions'), updated_at = now()
  where credentials.provider = excluded.provider
    and (credentials.source <> 'settings' or excluded.source = 'settings')
returning version

-- name: set_pace
-- A credential with a quota; what was sent lately goes on to count.
insert into credential_paces as p (credential, per_second, ramp_seconds)
select provider_id, (settings #>> '{way,quota_per_minute}')::float8 / 60,
       coalesce((settings #>> '{way,ramp_up_seconds}')::float8, 60)
from credentials where provider_id = %(provider_id)s and (settings #>> '{way,quota_per_minute}')::float8 > 0
on conflict (credential) do update set per_second = excluded.per_second, ramp_seconds = excluded.ramp_seconds

-- name: drop_pace
delete from credential_paces
where credential = %(provider_id)s and not exists (
  select from credentials where provider_id = %(provider_id)s and (settings #>> '{way,quota_per_minute}')::float8 > 0)

-- name: switch
update credentials set enabled = %(enabled)s, updated_at = now()
where (%(provider_id)s::text is not null and provider_id = %(provider_id)s)
   or (%(app)s::text is not null
       and %(app)s in (settings ->> 'bundle_id', settings ->> 'project_id', settings ->> 'app_id'))
returning provider_id

-- name: resume
delete from pauses where credential = %(provider_id)s

-- name: revive
-- Devices that were refused while the credential may have been wrong.
update devices d set state = 'active', failing_reason = '', updated_at = now()
from credential_routes r
where r.credential = %(provider_id)s and r.provider = d.provider and r.provider_id = d.provider_id
  and d.state = 'failing'

-- name: remove
delete from credentials where provider_id = %(provider_id)s and source = any(%(sources)s) returning provider

-- name: source
select source from credentials where provider_id = %(provider_id)s

-- name: promote
-- The oldest becomes the default where there is none.
update credentials set is_default = true
where provider_id = (select c.provider_id from credentials c where c.provider = %(provider)s
                     order by c.created_at, c.provider_id limit 1)
  and not exists (select from credentials c where c.provider = %(provider)s and c.is_default)

-- name: declared_ids
select provider_id from credentials where source = 'settings'

-- name: load
select provider_id, provider, environment, source, is_default, version,
       extract(epoch from created_at)::float8 as created_at, settings::text, secrets
from credentials order by provider_id

-- name: list
select c.provider_id, c.provider, c.is_default, c.environment, c.source, c.enabled, c.settings::text,
       extract(epoch from c.created_at)::float8 as created_at, extract(epoch from c.updated_at)::float8 as updated_at,
       coalesce((select jsonb_agg(jsonb_build_object(
                          'scope', p.scope, 'kind', p.kind, 'reason', p.reason,
                          'since', extract(epoch from p.since)::bigint,
                          'next_probe_at', extract(epoch from p.next_probe_at)::bigint) order by p.scope)
                 from pauses p where p.credential = c.provider_id), '[]')::text as pauses
from credentials c order by c.provider, c.provider_id

-- name: emulated
select provider from credentials where source = 'emulator'
