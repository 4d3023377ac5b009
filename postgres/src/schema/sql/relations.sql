-- What pg_class knows of the tables asked for.
select
    c.oid,
    n.nspname,
    c.relname,
    c.relkind::text,
    c.relpersistence::text,
    c.relispartition,
    array(
        select h.inhparent
        from pg_catalog.pg_inherits h
        where h.inhrelid = c.oid
        order by h.inhseqno
    ) as parents,
    c.relreplident::text,
    c.relrowsecurity,
    c.relforcerowsecurity,
    c.reltype,
    coalesce(t.typarray, 0::oid) as row_array_type,
    c.reltuples,
    c.relpages
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_type t on t.oid = c.reltype
where c.oid = any ($1)
order by n.nspname, c.relname, c.oid
