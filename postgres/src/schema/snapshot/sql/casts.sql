-- Casts.
select
    k.oid::int8,
    '' as name,
    pg_catalog.format_type(k.castsource, null) as source,
    pg_catalog.format_type(k.casttarget, null) as target,
    nullif(k.castfunc, 0)::pg_catalog.regprocedure as function,
    k.castcontext as context,
    k.castmethod as method
from pg_catalog.pg_cast k
where k.oid >= 16384
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_cast'::pg_catalog.regclass and e.objid = k.oid and e.deptype in ('e', 'i')
  )
