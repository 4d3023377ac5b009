select
    c.oid,
    n.nspname::text as schema,
    c.relname::text as name,
    c.relispartition as is_partition,
    array(select h.inhparent from pg_inherits h where h.inhrelid = c.oid order by h.inhseqno) as parents
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't'
order by 2, 3
