select d.objid as relation, e.extname::text as extension
from pg_depend d
join pg_extension e on e.oid = d.refobjid
where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
  and d.objid = any ($1)
