-- What else holds rows or large values, and is not a table that can be replicated.
select
    case when c.relkind = 'm' then 'materialized view' else 'temporary table' end as kind,
    n.nspname::text as schema,
    c.relname::text as name
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'm' or (c.relkind in ('r', 'p') and c.relpersistence = 't')
order by 1, 2, 3
