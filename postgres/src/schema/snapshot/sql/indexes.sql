-- Indexes. The definition begins after the table's name: neither a new name of the index nor one of
-- the table makes it another index.
select
    c.oid::int8,
    n.nspname as schema,
    c.relname as name,
    i.indrelid::int8 as parent,
    i.indisunique as is_unique,
    t.relkind = 'p' as partitioned,
    pg_catalog.substr(
        pg_catalog.pg_get_indexdef(c.oid),
        pg_catalog.length(pg_catalog.concat(
            'CREATE ', case when i.indisunique then 'UNIQUE ' end, 'INDEX ', pg_catalog.quote_ident(c.relname), ' ON ',
            case when c.relkind = 'I' then 'ONLY ' end,
            pg_catalog.quote_ident(tn.nspname), '.', pg_catalog.quote_ident(t.relname)
        )) + 2
    ) as definition,
    c.reloptions as options,
    (
        select k.oid::int8
        from pg_catalog.pg_constraint k
        where k.conindid = c.oid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
    ) as constraint,
    (
        select h.inhparent::int8 from pg_catalog.pg_inherits h where h.inhrelid = c.oid and c.relispartition
    ) as attached_to,
    i.indisclustered as clustered,
    i.indisreplident as replica_identity,
    i.indisvalid as valid,
    (
        select pg_catalog.json_agg(
            pg_catalog.json_build_object('column', a.attnum, 'target', a.attstattarget) order by a.attnum
        )
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attstattarget >= 0
    ) as statistics,
    b.spcname as tablespace
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_class t on t.oid = i.indrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
left join pg_catalog.pg_tablespace b on b.oid = c.reltablespace
where n.oid = any ($1) and t.relpersistence <> 't' and i.indislive
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid in (c.oid, t.oid) and e.deptype = 'e'
  )
