-- Collations.
select
    l.oid::int8,
    n.nspname as schema,
    l.collname as name,
    pg_catalog.pg_get_userbyid(l.collowner) as owner,
    l.collprovider as provider,
    l.collisdeterministic as deterministic,
    l.collcollate as collate,
    l.collctype as ctype,
    l.colllocale as locale,
    l.collicurules as rules
from pg_catalog.pg_collation l
join pg_catalog.pg_namespace n on n.oid = l.collnamespace
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_collation'::pg_catalog.regclass and e.objid = l.oid and e.deptype = 'e'
  )
