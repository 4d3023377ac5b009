-- Views and materialized views.
select
    c.oid::int8,
    n.nspname as schema,
    c.relname as name,
    pg_catalog.pg_get_userbyid(c.relowner) as owner,
    c.relacl as acl,
    c.relkind = 'm' as materialized,
    pg_catalog.pg_get_viewdef(c.oid) as definition,
    c.relispopulated as populated,
    m.amname as access_method,
    c.reloptions as options,
    t.reloptions as toast_options,
    b.spcname as tablespace
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_am m on m.oid = c.relam
left join pg_catalog.pg_class t on t.oid = c.reltoastrelid
left join pg_catalog.pg_tablespace b on b.oid = c.reltablespace
where n.oid = any ($1) and c.relkind in ('v', 'm') and c.relpersistence <> 't'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = c.oid and e.deptype = 'e'
  )
