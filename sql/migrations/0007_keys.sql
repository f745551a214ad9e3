-- What a key of the API may do beside its methods, and for how long; and the end of keys that apps were given.

alter table api_keys
  add credentials  text[] collate "C" not null default '{}',  -- none: every one, as with methods
  add addresses    text[] not null default '{}',              -- networks, in the form that Python's ipaddress has
  add rate         float8 not null default 0 check (rate >= 0),  -- calls a second; 0: as many as come
  add burst        integer not null default 0 check (burst >= 0),
  add expires_at   timestamptz,
  add last_used_at timestamptz;

-- Device keys that were issued to a user before this time are not taken any more; the user '' stands for everyone.
create table device_key_limits (
  user_id       text collate "C" primary key,
  issued_before timestamptz not null
);
