-- Operator classes.
select
    p.oid::int8,
    n.nspname as schema,
    p.opcname as name,
    pg_catalog.pg_get_userbyid(p.opcowner) as owner,
    m.amname as method,
    pg_catalog.format('%I.%I', fn.nspname, f.opfname) as family,
    pg_catalog.format_type(p.opcintype, null) as data_type,
    p.opcdefault as is_default,
    case when p.opckeytype <> 0 then pg_catalog.format_type(p.opckeytype, null) end as storage
from pg_catalog.pg_opclass p
join pg_catalog.pg_namespace n on n.oid = p.opcnamespace
join pg_catalog.pg_am m on m.oid = p.opcmethod
join pg_catalog.pg_opfamily f on f.oid = p.opcfamily
join pg_catalog.pg_namespace fn on fn.oid = f.opfnamespace
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_opclass'::pg_catalog.regclass and e.objid = p.oid and e.deptype = 'e'
  )
