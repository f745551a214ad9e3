-- What the database says of itself.

-- name: server_version
select current_setting('server_version');

-- name: read_queue
-- One row off the index: the same cost with ten batches or ten million.
select id from batches limit 1;
