-- Aggregates.
select
    f.oid::int8,
    n.nspname as schema,
    f.proname as name,
    pg_catalog.pg_get_userbyid(f.proowner) as owner,
    f.proacl as acl,
    pg_catalog.pg_get_function_identity_arguments(f.oid) as signature,
    pg_catalog.oidvectortypes(f.proargtypes) as types,
    pg_catalog.pg_get_function_arguments(f.oid) as arguments,
    a.aggkind as variety,
    a.aggtransfn as state_function,
    pg_catalog.format_type(a.aggtranstype, null) as state_type,
    a.aggtransspace as state_space,
    nullif(a.aggfinalfn::oid, 0)::pg_catalog.regproc as final_function,
    a.aggfinalextra as final_extra,
    a.aggfinalmodify as final_modify,
    nullif(a.aggcombinefn::oid, 0)::pg_catalog.regproc as combine_function,
    nullif(a.aggserialfn::oid, 0)::pg_catalog.regproc as serial_function,
    nullif(a.aggdeserialfn::oid, 0)::pg_catalog.regproc as deserial_function,
    a.agginitval as initial,
    nullif(a.aggmtransfn::oid, 0)::pg_catalog.regproc as moving_state_function,
    nullif(a.aggminvtransfn::oid, 0)::pg_catalog.regproc as moving_inverse_function,
    case when a.aggmtranstype <> 0 then pg_catalog.format_type(a.aggmtranstype, null) end as moving_state_type,
    a.aggmtransspace as moving_state_space,
    nullif(a.aggmfinalfn::oid, 0)::pg_catalog.regproc as moving_final_function,
    a.aggmfinalextra as moving_final_extra,
    a.aggmfinalmodify as moving_final_modify,
    a.aggminitval as moving_initial,
    (
        select pg_catalog.format('operator(%I.%s)', pn.nspname, p.oprname)
        from pg_catalog.pg_operator p
        join pg_catalog.pg_namespace pn on pn.oid = p.oprnamespace
        where p.oid = a.aggsortop
    ) as sort_operator,
    f.proparallel as parallel
from pg_catalog.pg_proc f
join pg_catalog.pg_aggregate a on a.aggfnoid = f.oid
join pg_catalog.pg_namespace n on n.oid = f.pronamespace
where n.oid = any ($1) and f.prokind = 'a'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and e.objid = f.oid and e.deptype = 'e'
  )
