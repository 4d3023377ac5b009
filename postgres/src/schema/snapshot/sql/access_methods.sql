-- Access methods.
select
    m.oid::int8,
    m.amname as name,
    m.amtype as variety,
    m.amhandler as handler
from pg_catalog.pg_am m
where m.oid >= 16384
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_am'::pg_catalog.regclass and e.objid = m.oid and e.deptype = 'e'
  )
