-- Operator families.
select
    f.oid::int8,
    n.nspname as schema,
    f.opfname as name,
    pg_catalog.pg_get_userbyid(f.opfowner) as owner,
    m.amname as method
from pg_catalog.pg_opfamily f
join pg_catalog.pg_namespace n on n.oid = f.opfnamespace
join pg_catalog.pg_am m on m.oid = f.opfmethod
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_opfamily'::pg_catalog.regclass and e.objid = f.oid and e.deptype = 'e'
  )
