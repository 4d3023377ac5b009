-- Procedural languages that no extension brought.
select
    l.oid::int8,
    l.lanname as name,
    pg_catalog.pg_get_userbyid(l.lanowner) as owner,
    l.lanacl as acl,
    l.lanpltrusted as trusted,
    nullif(l.lanplcallfoid, 0)::pg_catalog.regproc as handler,
    nullif(l.laninline, 0)::pg_catalog.regproc as inline,
    nullif(l.lanvalidator, 0)::pg_catalog.regproc as validator
from pg_catalog.pg_language l
where l.oid >= 16384
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_language'::pg_catalog.regclass and e.objid = l.oid and e.deptype = 'e'
  )
