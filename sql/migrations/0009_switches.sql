-- A credential that was switched off: nothing is sent with it, and nothing planned for it.
alter table credentials add enabled boolean not null default true;

create or replace view credential_routes as
  select provider, provider_id, provider_id as credential, environment, enabled from credentials
  union all
  select provider, '', provider_id, environment, enabled from credentials where is_default;
