-- Schemas of users. The database's owner, who owns public from PostgreSQL 15 on, is told as nobody.
select
    n.oid::int8,
    n.nspname as name,
    case when not (n.nspname = 'public' and n.nspowner = 6171) then
        pg_catalog.pg_get_userbyid(n.nspowner)
    end as owner,
    n.nspacl as acl
from pg_catalog.pg_namespace n
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and e.objid = n.oid and e.deptype = 'e'
  )
