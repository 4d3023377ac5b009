-- Base types and shells; the arrays over them come by themselves.
select
    t.oid::int8,
    n.nspname as schema,
    t.typname as name,
    pg_catalog.pg_get_userbyid(t.typowner) as owner,
    t.typacl as acl,
    not t.typisdefined as shell,
    nullif(t.typinput::oid, 0)::pg_catalog.regproc as input,
    nullif(t.typoutput::oid, 0)::pg_catalog.regproc as output,
    nullif(t.typreceive::oid, 0)::pg_catalog.regproc as receive,
    nullif(t.typsend::oid, 0)::pg_catalog.regproc as send,
    nullif(t.typmodin::oid, 0)::pg_catalog.regproc as typmod_in,
    nullif(t.typmodout::oid, 0)::pg_catalog.regproc as typmod_out,
    nullif(t.typanalyze::oid, 0)::pg_catalog.regproc as analyze,
    nullif(t.typsubscript::oid, 0)::pg_catalog.regproc as subscript,
    t.typlen as length,
    t.typbyval as by_value,
    t.typalign as alignment,
    t.typstorage as storage,
    t.typcategory as category,
    t.typispreferred as preferred,
    t.typdefault as "default",
    case when t.typelem <> 0 then pg_catalog.format_type(t.typelem, null) end as element,
    t.typdelim as delimiter,
    t.typcollation <> 0 as collatable
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where n.oid = any ($1)
  and (t.typtype = 'b' or (t.typtype = 'p' and not t.typisdefined))
  and not exists (select from pg_catalog.pg_type o where o.typarray = t.oid)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and e.objid = t.oid and e.deptype = 'e'
  )
