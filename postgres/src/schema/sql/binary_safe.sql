-- For each type asked for: whether everything it is made of may travel in binary.
with recursive reach (requested, oid) as (
    select q.oid, q.oid from pg_catalog.unnest($1) q (oid)
    union
    select r.requested, part.oid
    from reach r
    join pg_catalog.pg_type t on t.oid = r.oid
    cross join lateral (
        select t.typbasetype where t.typtype = 'd'
        union all
        select t.typelem where t.typlen = -1 and t.typelem <> 0
        union all
        select a.atttypid
        from pg_catalog.pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        union all
        select g.rngsubtype from pg_catalog.pg_range g where t.typtype = 'r' and g.rngtypid = t.oid
        union all
        select g.rngtypid from pg_catalog.pg_range g where t.typtype = 'm' and g.rngmultitypid = t.oid
    ) part (oid)
)
select
    r.requested,
    pg_catalog.bool_and(
        t.typsend::oid <> 0
        and t.typreceive::oid <> 0
        and t.typtype <> 'p'
        -- reg* send the oid of something in their own database; money means what lc_monetary says;
        -- an empty vector is refused by its own receive function; the rest have one only to refuse.
        and not (
            n.nspname = 'pg_catalog'
            and (
                t.typname like 'reg%'
                or t.typname in (
                    'money', 'int2vector', 'oidvector', 'pg_node_tree', 'pg_ndistinct', 'pg_dependencies', 'pg_mcv_list',
                    'pg_brin_bloom_summary', 'pg_brin_minmax_multi_summary'
                )
            )
        )
    ) as safe
from reach r
join pg_catalog.pg_type t on t.oid = r.oid
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
group by r.requested
