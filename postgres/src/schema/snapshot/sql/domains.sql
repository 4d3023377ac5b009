-- Domains; their checks are constraints, a not-null constraint (18) is part of the domain.
select
    t.oid::int8,
    n.nspname as schema,
    t.typname as name,
    pg_catalog.pg_get_userbyid(t.typowner) as owner,
    t.typacl as acl,
    pg_catalog.format_type(t.typbasetype, t.typtypmod) as base,
    case when t.typcollation <> b.typcollation then (
        select pg_catalog.format('%I.%I', ln.nspname, l.collname)
        from pg_catalog.pg_collation l
        join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace
        where l.oid = t.typcollation
    ) end as collation,
    coalesce(pg_catalog.pg_get_expr(t.typdefaultbin, 0), pg_catalog.quote_literal(t.typdefault)) as "default",
    t.typnotnull as not_null,
    (
        select k.conname from pg_catalog.pg_constraint k where k.contypid = t.oid and k.contype = 'n'
    ) as not_null_name
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
join pg_catalog.pg_type b on b.oid = t.typbasetype
where n.oid = any ($1) and t.typtype = 'd'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and e.objid = t.oid and e.deptype = 'e'
  )
