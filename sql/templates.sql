-- name: put
insert into templates as t (name, notification, localizations)
values (%(name)s, %(notification)s::json, %(localizations)s::json)
on conflict (name) do update
set notification = excluded.notification, localizations = excluded.localizations, updated_at = now()

-- name: find
select name, notification::text, localizations::text, extract(epoch from created_at)::bigint as created_at,
       extract(epoch from updated_at)::bigint as updated_at
from templates where name = %(name)s

-- name: page
select name, notification::text, localizations::text, extract(epoch from created_at)::bigint as created_at,
       extract(epoch from updated_at)::bigint as updated_at
from templates where name > %(cursor)s collate "C" order by name limit %(limit)s

-- name: remove
delete from templates where name = %(name)s
