-- Foreign servers.
select
    s.oid::int8,
    s.srvname as name,
    pg_catalog.pg_get_userbyid(s.srvowner) as owner,
    s.srvacl as acl,
    w.fdwname as wrapper,
    s.srvtype as server_type,
    s.srvversion as version,
    s.srvoptions as options
from pg_catalog.pg_foreign_server s
join pg_catalog.pg_foreign_data_wrapper w on w.oid = s.srvfdw
where not exists (
    select from pg_catalog.pg_depend e
    where e.classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass and e.objid = s.oid and e.deptype = 'e'
)
