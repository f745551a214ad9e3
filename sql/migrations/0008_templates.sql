-- Named payload templates, and what a push that names one says: kept with the push, so that a change of the template
-- does not change what was accepted.
create table templates (
  name          text collate "C" primary key,
  notification  json not null,                  -- not jsonb: number spelling and key order survive
  localizations json not null default '{}',
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now()
);

alter table pushes add content bytea;           -- null: the request itself says it
