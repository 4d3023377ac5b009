-- Operators; shells, named by another and never defined, are none.
select
    o.oid::int8,
    n.nspname as schema,
    o.oprname as name,
    pg_catalog.pg_get_userbyid(o.oprowner) as owner,
    case when o.oprleft <> 0 then pg_catalog.format_type(o.oprleft, null) end as "left",
    case when o.oprright <> 0 then pg_catalog.format_type(o.oprright, null) end as "right",
    o.oprcode as function,
    (
        select pg_catalog.format('operator(%I.%s)', pn.nspname, p.oprname)
        from pg_catalog.pg_operator p
        join pg_catalog.pg_namespace pn on pn.oid = p.oprnamespace
        where p.oid = o.oprcom
    ) as commutator,
    (
        select pg_catalog.format('operator(%I.%s)', pn.nspname, p.oprname)
        from pg_catalog.pg_operator p
        join pg_catalog.pg_namespace pn on pn.oid = p.oprnamespace
        where p.oid = o.oprnegate
    ) as negator,
    nullif(o.oprrest::oid, 0)::pg_catalog.regproc as "restrict",
    nullif(o.oprjoin::oid, 0)::pg_catalog.regproc as "join",
    o.oprcanhash as hashes,
    o.oprcanmerge as merges
from pg_catalog.pg_operator o
join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
where n.oid = any ($1) and o.oprcode::oid <> 0
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass and e.objid = o.oid and e.deptype = 'e'
  )
