-- Further users of a device, VoIP tokens of their own standing, and names that stand for a part of a provider.

-- A device's main user is user_id; these are the others that are logged in on it. The list is the truth, and is
-- written with the device, so that a registration without accounts costs what it did.
alter table devices
  add accounts            text[] collate "C" not null default '{}',
  add voip_state          text not null default 'active' check (voip_state in ('active', 'failing', 'dead')),
  add voip_failing_reason text not null default '';

-- Which devices a user is a further user of: the index of the lists, kept by the triggers below.
create table device_accounts (
  user_id   text collate "C" not null,
  device_id uuid not null references devices on delete cascade,
  primary key (user_id, device_id)
);

create index device_accounts_device on device_accounts (device_id);

create function index_accounts() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' then
    delete from device_accounts where device_id = new.id and user_id <> all (new.accounts);
  end if;
  insert into device_accounts (user_id, device_id) select name, new.id from unnest(new.accounts) name
  on conflict do nothing;
  return null;
end
$$;

create trigger devices_accounts_made after insert on devices
  for each row when (new.accounts <> '{}') execute function index_accounts();
create trigger devices_accounts_changed after update of accounts on devices
  for each row when (new.accounts is distinct from old.accounts) execute function index_accounts();

-- A device's users, the main one first: those of `op` add, remove or set. Who is there keeps the place.
create function changed_users(present text[], op text, given text[]) returns text[]
language sql immutable parallel safe
return array(
  select name from unnest(present) with ordinality p (name, n)
  where name <> '' and case op when 'add' then true when 'remove' then name <> all (given) else name = any (given) end
  order by n
) || array(
  select name from unnest(given) with ordinality g (name, n)
  where op <> 'remove' and name <> all (present)
  order by n
);

-- A device with a VoIP token alone has it as its token too (token_kind `voip`): so every device has a token.
update devices d set voip_token = ''
where d.voip_token <> '' and (d.provider <> 'apns' or exists (
  select from devices o
  where o.voip_token = d.voip_token and o.provider = d.provider and o.provider_id = d.provider_id
    and (o.registered_at, o.id) > (d.registered_at, d.id)));
create unique index devices_voip on devices (voip_token, provider, provider_id) where voip_token <> '';

-- Whether a device is of one of these providers; null: of any. Three names stand for a part of APNs' devices.
create function provider_is(names text[], provider text, environment text, voip_token text) returns boolean
language sql immutable parallel safe
return names is null or provider = any (names) or provider = 'apns' and (
  environment = 'sandbox' and 'apns_internal' = any (names)
  or voip_token <> '' and ('apns_voip' = any (names)
                           or environment = 'sandbox' and 'apns_internal_voip' = any (names)));

-- Sync tokens that were issued to a user before this time are not taken any more.
create table sync_token_limits (
  user_id       text collate "C" primary key,
  issued_before timestamptz not null
);
