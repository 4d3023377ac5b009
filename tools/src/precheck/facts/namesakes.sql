-- What has the name of a table and is none.
select
    n.nspname::text as schema,
    c.relname::text as name,
    case c.relkind
        when 'v' then 'a view' when 'm' then 'a materialized view' when 'S' then 'a sequence'
        when 'c' then 'a type' when 'f' then 'a foreign table' else 'an index' end as kind
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join unnest($1::text[], $2::text[]) wanted (schema, name) on wanted.schema = n.nspname and wanted.name = c.relname
where c.relkind not in ('r', 'p', 't')
