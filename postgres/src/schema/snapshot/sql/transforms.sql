-- Transforms.
select
    r.oid::int8,
    '' as name,
    pg_catalog.format_type(r.trftype, null) as data_type,
    l.lanname as language,
    nullif(r.trffromsql::oid, 0)::pg_catalog.regprocedure as from_sql,
    nullif(r.trftosql::oid, 0)::pg_catalog.regprocedure as to_sql
from pg_catalog.pg_transform r
join pg_catalog.pg_language l on l.oid = r.trflang
where r.oid >= 16384
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_transform'::pg_catalog.regclass and e.objid = r.oid and e.deptype = 'e'
  )
