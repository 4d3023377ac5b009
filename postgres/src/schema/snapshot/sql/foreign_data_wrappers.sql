-- Foreign data wrappers.
select
    w.oid::int8,
    w.fdwname as name,
    pg_catalog.pg_get_userbyid(w.fdwowner) as owner,
    w.fdwacl as acl,
    nullif(w.fdwhandler, 0)::pg_catalog.regproc as handler,
    nullif(w.fdwvalidator, 0)::pg_catalog.regproc as validator,
    w.fdwoptions as options
from pg_catalog.pg_foreign_data_wrapper w
where w.oid >= 16384
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass and e.objid = w.oid
        and e.deptype = 'e'
  )
