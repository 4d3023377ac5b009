-- Columns with their declared type and the type below all domains.
with recursive used as (
    select distinct a.atttypid as oid
    from pg_catalog.pg_attribute a
    where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
), chain (oid, below) as (
    select u.oid, u.oid from used u
    union
    select k.oid, d.typbasetype
    from chain k
    join pg_catalog.pg_type d on d.oid = k.below and d.typtype = 'd'
)
select
    a.attrelid,
    a.attnum,
    a.attname,
    t.oid as type_oid,
    tn.nspname as type_schema,
    t.typname as type_name,
    t.typtype::text as type_kind,
    t.typcategory::text as type_category,
    case when t.typlen = -1 then t.typelem else 0::oid end as type_element,
    b.oid as base_oid,
    bn.nspname as base_schema,
    b.typname as base_name,
    b.typtype::text as base_kind,
    b.typcategory::text as base_category,
    case when b.typlen = -1 then b.typelem else 0::oid end as base_element,
    a.atttypmod,
    coalesce(l.collisdeterministic, true) as deterministic_collation,
    a.attnotnull,
    a.atthasdef,
    a.attgenerated::text as attgenerated,
    a.attidentity::text
from pg_catalog.pg_attribute a
join pg_catalog.pg_type t on t.oid = a.atttypid
join pg_catalog.pg_namespace tn on tn.oid = t.typnamespace
join chain k on k.oid = t.oid
join pg_catalog.pg_type b on b.oid = k.below and b.typtype <> 'd'
join pg_catalog.pg_namespace bn on bn.oid = b.typnamespace
left join pg_catalog.pg_collation l on l.oid = a.attcollation
where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
