-- Composite types that are no table's row type.
select
    t.oid::int8,
    n.nspname as schema,
    t.typname as name,
    pg_catalog.pg_get_userbyid(t.typowner) as owner,
    t.typacl as acl,
    coalesce(
        (
            select pg_catalog.json_agg(
                pg_catalog.json_build_object(
                    'attnum', a.attnum,
                    'name', a.attname,
                    'data_type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                    'collation', case when a.attcollation <> y.typcollation then
                        (
        select pg_catalog.format('%I.%I', ln.nspname, l.collname)
        from pg_catalog.pg_collation l
        join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace
        where l.oid = a.attcollation
    )
                    end,
                    'comment', pg_catalog.col_description(c.oid, a.attnum)
                ) order by a.attnum
            )
            from pg_catalog.pg_attribute a
            join pg_catalog.pg_type y on y.oid = a.atttypid
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        ),
        '[]'
    ) as attributes
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
join pg_catalog.pg_class c on c.oid = t.typrelid and c.relkind = 'c'
where n.oid = any ($1) and t.typtype = 'c'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and e.objid = t.oid and e.deptype = 'e'
  )
