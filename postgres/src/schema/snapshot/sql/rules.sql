-- Rules but those that make a view.
select
    w.oid::int8,
    w.rulename as name,
    w.ev_class::int8 as parent,
    pg_catalog.pg_get_ruledef(w.oid) as definition,
    w.ev_enabled as enabled
from pg_catalog.pg_rewrite w
join pg_catalog.pg_class c on c.oid = w.ev_class
where c.relnamespace = any ($1) and w.ev_type <> '1' and c.relpersistence <> 't'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and e.objid = w.oid and e.deptype = 'e'
  )
