-- Sequences with the table whose column owns them, and the tables whose defaults use them.
select
    s.oid,
    n.nspname::text,
    s.relname::text,
    q.seqincrement,
    q.seqmin,
    q.seqmax,
    pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_sequence_privilege(s.oid, 'select'),
    pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_sequence_privilege(s.oid, 'update'),
    owner.oid,
    owner.schema,
    owner.name,
    users.oids,
    users.schemas,
    users.names
from pg_catalog.pg_class s
join pg_catalog.pg_namespace n on n.oid = s.relnamespace
join pg_catalog.pg_sequence q on q.seqrelid = s.oid
left join lateral (
    select t.oid, tn.nspname::text as schema, t.relname::text as name
    from pg_catalog.pg_depend d
    join pg_catalog.pg_class t on t.oid = d.refobjid
    join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = s.oid
      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      and d.deptype in ('a', 'i') and d.refobjsubid > 0
    limit 1
) owner on true
cross join lateral (
    select
        coalesce(pg_catalog.array_agg(t.oid), '{}') as oids,
        coalesce(pg_catalog.array_agg(tn.nspname::text), '{}') as schemas,
        coalesce(pg_catalog.array_agg(t.relname::text), '{}') as names
    from (
        select distinct a.adrelid
        from pg_catalog.pg_depend d
        join pg_catalog.pg_attrdef a on a.oid = d.objid
        where d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
          and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = s.oid
    ) used
    join pg_catalog.pg_class t on t.oid = used.adrelid
    join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
) users
where s.relkind = 'S' and s.relpersistence <> 't'
  and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtrail')
order by 2, 3
