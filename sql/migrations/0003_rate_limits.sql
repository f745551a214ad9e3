-- Rate limits of recipients: for each key and policy, when its latest sends were admitted.

-- No key is kept, which may hold a user's name: `digest` is of scope, key and policy (storage/limits.py).
-- `times` in microseconds since 1970, ascending: no more than the policy's rate, none that its interval has left behind.
-- `forget_at` moves in steps of ten minutes: a busy row keeps it, and its updates leave both indexes alone.
create table rate_limits (
  digest    bytea primary key,
  times     bigint[] not null default '{}',
  forget_at timestamptz not null
) with (fillfactor = 70);

create index rate_limits_forget on rate_limits (forget_at);
