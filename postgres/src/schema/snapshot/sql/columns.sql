-- Columns of tables and views. What is as the type has it is left out, and so is what is not there.
select
    a.attrelid::int8 as relation,
    a.attnum,
    a.attname as name,
    pg_catalog.format_type(a.atttypid, a.atttypmod) as data_type,
    case when a.attcollation <> t.typcollation then (
        select pg_catalog.format('%I.%I', ln.nspname, l.collname)
        from pg_catalog.pg_collation l
        join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace
        where l.oid = a.attcollation
    ) end as collation,
    case when a.attstorage <> t.typstorage then a.attstorage end as storage,
    nullif(a.attcompression, '') as compression,
    nullif(a.attgenerated, '') as generated,
    case when a.attgenerated <> '' then pg_catalog.pg_get_expr(g.adbin, g.adrelid) end as expression,
    nullif(a.attidentity, '') as identity,
    nullif(a.attnotnull, false) as not_null,
    k.conname as not_null_name,
    nullif(k.connoinherit, false) as not_null_no_inherit,
    nullif(not k.convalidated, false) as not_null_unchecked,
    nullif(not k.conislocal, false) as not_null_inherited,
    pg_catalog.obj_description(k.oid, 'pg_constraint') as not_null_comment,
    case when a.attstattarget >= 0 then a.attstattarget end as statistics,
    -- pg_attver is a number that the server (15.20 and its kin) keeps there for itself.
    case when a.attoptions is not null then
        nullif(array(select o from pg_catalog.unnest(a.attoptions) o where o !~ '^pg_attver='), '{}')
    end as options,
    a.attfdwoptions as foreign_options,
    nullif(not a.attislocal, false) as inherited,
    a.attacl as acl
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_attrdef g on a.atthasdef and g.adrelid = a.attrelid and g.adnum = a.attnum
left join pg_catalog.pg_constraint k on k.contype = 'n' and k.conrelid = a.attrelid and k.conkey = array[a.attnum]
where c.relnamespace = any ($1) and c.relkind in ('r', 'p', 'f', 'v', 'm')
  and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
