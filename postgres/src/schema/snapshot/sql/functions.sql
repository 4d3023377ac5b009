-- Functions, procedures and window functions, as PostgreSQL prints them.
select
    f.oid::int8,
    n.nspname as schema,
    f.proname as name,
    pg_catalog.pg_get_userbyid(f.proowner) as owner,
    f.proacl as acl,
    f.prokind as routine,
    pg_catalog.pg_get_function_identity_arguments(f.oid) as signature,
    pg_catalog.oidvectortypes(f.proargtypes) as types,
    pg_catalog.pg_get_function_arguments(f.oid) as arguments,
    pg_catalog.pg_get_function_result(f.oid) as result,
    pg_catalog.pg_get_functiondef(f.oid) as definition
from pg_catalog.pg_proc f
join pg_catalog.pg_namespace n on n.oid = f.pronamespace
where n.oid = any ($1) and f.prokind <> 'a'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and e.objid = f.oid and e.deptype in ('e', 'i')
  )
