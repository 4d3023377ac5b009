-- Enums.
select
    t.oid::int8,
    n.nspname as schema,
    t.typname as name,
    pg_catalog.pg_get_userbyid(t.typowner) as owner,
    t.typacl as acl,
    coalesce(
        (
            select pg_catalog.json_agg(
                pg_catalog.json_build_object('oid', v.oid::int8, 'label', v.enumlabel) order by v.enumsortorder
            )
            from pg_catalog.pg_enum v
            where v.enumtypid = t.oid
        ),
        '[]'
    ) as labels
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where n.oid = any ($1) and t.typtype = 'e'
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and e.objid = t.oid and e.deptype = 'e'
  )
