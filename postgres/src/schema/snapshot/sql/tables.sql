-- Tables: ordinary, partitioned and foreign. Columns come by themselves.
select
    c.oid::int8,
    n.nspname as schema,
    c.relname as name,
    pg_catalog.pg_get_userbyid(c.relowner) as owner,
    c.relacl as acl,
    c.relkind as variety,
    c.relpersistence = 'u' as unlogged,
    m.amname as access_method,
    c.reloptions as options,
    t.reloptions as toast_options,
    case when c.reloftype <> 0 then pg_catalog.format_type(c.reloftype, null) end as of_type,
    nullif(
        array(
            select h.inhparent::int8
            from pg_catalog.pg_inherits h
            where h.inhrelid = c.oid
            order by h.inhseqno
        ),
        '{}'
    ) as parents,
    pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_bound,
    case when c.relkind = 'p' then pg_catalog.pg_get_partkeydef(c.oid) end as partition_key,
    c.relreplident as replica_identity,
    c.relrowsecurity as row_security,
    c.relforcerowsecurity as force_row_security,
    s.srvname as server,
    f.ftoptions as foreign_options,
    b.spcname as tablespace
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_am m on m.oid = c.relam
left join pg_catalog.pg_class t on t.oid = c.reltoastrelid
left join pg_catalog.pg_foreign_table f on f.ftrelid = c.oid
left join pg_catalog.pg_foreign_server s on s.oid = f.ftserver
left join pg_catalog.pg_tablespace b on b.oid = c.reltablespace
where n.oid = any ($1) and c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = c.oid and e.deptype = 'e'
  )
