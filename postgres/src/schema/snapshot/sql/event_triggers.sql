-- Event triggers; pgtrail's own are none of the schema.
select
    v.oid::int8,
    v.evtname as name,
    pg_catalog.pg_get_userbyid(v.evtowner) as owner,
    v.evtevent as event,
    v.evttags as tags,
    v.evtfoid::pg_catalog.regproc as function,
    v.evtenabled as enabled
from pg_catalog.pg_event_trigger v
join pg_catalog.pg_proc f on f.oid = v.evtfoid
join pg_catalog.pg_namespace n on n.oid = f.pronamespace
where n.nspname <> 'pgtrail'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass and e.objid = v.oid and e.deptype = 'e'
  )
