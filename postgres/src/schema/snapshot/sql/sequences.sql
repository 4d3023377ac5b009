-- Sequences, those of identity columns included.
select
    c.oid::int8,
    n.nspname as schema,
    c.relname as name,
    pg_catalog.pg_get_userbyid(c.relowner) as owner,
    c.relacl as acl,
    pg_catalog.format_type(s.seqtypid, null) as data_type,
    s.seqstart as start,
    s.seqincrement as increment,
    s.seqmin as minimum,
    s.seqmax as maximum,
    s.seqcache as cache,
    s.seqcycle as cycle,
    c.relpersistence = 'u' as unlogged,
    o.refobjid::int8 as owner_table,
    o.refobjsubid as owner_column,
    case when o.deptype = 'i' then a.attidentity end as identity
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_sequence s on s.seqrelid = c.oid
left join pg_catalog.pg_depend o on o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and o.objid = c.oid
    and o.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and o.objsubid = 0 and o.refobjsubid > 0
    and o.deptype in ('a', 'i')
left join pg_catalog.pg_attribute a on a.attrelid = o.refobjid and a.attnum = o.refobjsubid
where n.oid = any ($1) and c.relkind = 'S' and c.relpersistence <> 't'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = c.oid and e.deptype = 'e'
  )
