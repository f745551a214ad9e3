-- name: has_database
select exists (select from pg_database where datname = 'tocsin')

-- name: create_database
create database tocsin

-- name: clock
-- The difference of two clocks needs the database's with its fraction.
select extract(epoch from clock_timestamp())::float8
