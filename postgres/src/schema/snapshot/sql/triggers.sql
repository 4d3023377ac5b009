-- Triggers. A copy that a partition has of its parent's trigger is told for its enabled state only.
select
    g.oid::int8,
    g.tgname as name,
    g.tgrelid::int8 as parent,
    pg_catalog.pg_get_triggerdef(g.oid) as definition,
    g.tgenabled as enabled,
    nullif(g.tgparentid, 0)::int8 as copy_of
from pg_catalog.pg_trigger g
join pg_catalog.pg_class c on c.oid = g.tgrelid
where c.relnamespace = any ($1) and not g.tgisinternal and c.relpersistence <> 't'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass and e.objid = g.oid and e.deptype = 'e'
  )
