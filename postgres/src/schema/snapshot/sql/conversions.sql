-- Encoding conversions.
select
    v.oid::int8,
    n.nspname as schema,
    v.conname as name,
    pg_catalog.pg_get_userbyid(v.conowner) as owner,
    pg_catalog.pg_encoding_to_char(v.conforencoding) as from_encoding,
    pg_catalog.pg_encoding_to_char(v.contoencoding) as to_encoding,
    v.conproc as function,
    v.condefault as is_default
from pg_catalog.pg_conversion v
join pg_catalog.pg_namespace n on n.oid = v.connamespace
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_conversion'::pg_catalog.regclass and e.objid = v.oid and e.deptype = 'e'
  )
