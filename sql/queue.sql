-- name: hint
-- One statement for all the channels of an interval: each commit that notifies takes a database-wide lock.
select pg_notify(w.channel, w.payload) from unnest(%(channels)s::text[], %(payloads)s::text[]) w(channel, payload)
