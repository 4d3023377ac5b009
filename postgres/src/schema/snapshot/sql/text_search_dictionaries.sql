-- Text search dictionaries.
select
    d.oid::int8,
    n.nspname as schema,
    d.dictname as name,
    pg_catalog.pg_get_userbyid(d.dictowner) as owner,
    pg_catalog.format('%I.%I', tn.nspname, t.tmplname) as template,
    d.dictinitoption as options
from pg_catalog.pg_ts_dict d
join pg_catalog.pg_namespace n on n.oid = d.dictnamespace
join pg_catalog.pg_ts_template t on t.oid = d.dicttemplate
join pg_catalog.pg_namespace tn on tn.oid = t.tmplnamespace
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_ts_dict'::pg_catalog.regclass and e.objid = d.oid and e.deptype = 'e'
  )
