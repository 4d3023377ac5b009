-- What needs what. Pinned objects, the system's own, need no entry.
select d.classid, d.objid, d.refclassid, d.refobjid, d.refobjsubid, d.deptype
from pg_catalog.pg_depend d
where d.objid >= 16384
  and (d.refobjid >= 16384 or d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass)
