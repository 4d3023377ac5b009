-- Text search templates.
select
    t.oid::int8,
    n.nspname as schema,
    t.tmplname as name,
    nullif(t.tmplinit::oid, 0)::pg_catalog.regproc as init,
    t.tmpllexize as lexize
from pg_catalog.pg_ts_template t
join pg_catalog.pg_namespace n on n.oid = t.tmplnamespace
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_ts_template'::pg_catalog.regclass and e.objid = t.oid and e.deptype = 'e'
  )
