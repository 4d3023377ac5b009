-- Range types. Operator class and collation are told only where they are not the subtype's own.
select
    t.oid::int8,
    n.nspname as schema,
    t.typname as name,
    pg_catalog.pg_get_userbyid(t.typowner) as owner,
    t.typacl as acl,
    pg_catalog.format_type(g.rngsubtype, null) as subtype,
    case when not p.opcdefault then
        pg_catalog.format('%I.%I', pn.nspname, p.opcname)
    end as operator_class,
    case when g.rngcollation <> s.typcollation then
        (
        select pg_catalog.format('%I.%I', ln.nspname, l.collname)
        from pg_catalog.pg_collation l
        join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace
        where l.oid = g.rngcollation
    )
    end as collation,
    nullif(g.rngcanonical::oid, 0)::pg_catalog.regproc as canonical,
    nullif(g.rngsubdiff::oid, 0)::pg_catalog.regproc as subtype_diff,
    (
        select pg_catalog.format('%I.%I', mn.nspname, m.typname)
        from pg_catalog.pg_type m
        join pg_catalog.pg_namespace mn on mn.oid = m.typnamespace
        where m.oid = g.rngmultitypid
    ) as multirange
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
join pg_catalog.pg_range g on g.rngtypid = t.oid
join pg_catalog.pg_type s on s.oid = g.rngsubtype
join pg_catalog.pg_opclass p on p.oid = g.rngsubopc
join pg_catalog.pg_namespace pn on pn.oid = p.opcnamespace
where n.oid = any ($1) and t.typtype = 'r'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and e.objid = t.oid and e.deptype = 'e'
  )
