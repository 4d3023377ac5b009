-- Text search parsers.
select
    p.oid::int8,
    n.nspname as schema,
    p.prsname as name,
    p.prsstart as start,
    p.prstoken as token,
    p.prsend as "end",
    nullif(p.prsheadline::oid, 0)::pg_catalog.regproc as headline,
    p.prslextype as lextypes
from pg_catalog.pg_ts_parser p
join pg_catalog.pg_namespace n on n.oid = p.prsnamespace
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_ts_parser'::pg_catalog.regclass and e.objid = p.oid and e.deptype = 'e'
  )
