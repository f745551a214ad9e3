-- What the engine does not keep: who claimed which batch when. Lets a run tell an explained second attempt from another.
create table chaos_claims (
  batch_id bigint not null,
  push_id  uuid not null,
  attempt  integer not null,
  worker   text not null,
  at       timestamptz not null default clock_timestamp()
);

create function chaos_note_claim() returns trigger language plpgsql as $$
begin
  insert into chaos_claims (batch_id, push_id, attempt, worker)
  values (new.id, new.push_id, new.attempt, current_setting('application_name'));
  return null;
end
$$;

create trigger chaos_claims after update on batches for each row
when (new.attempt > old.attempt) execute function chaos_note_claim();
