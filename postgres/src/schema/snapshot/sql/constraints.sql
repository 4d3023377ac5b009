-- Constraints of tables and domains. Not-null ones belong to the column, constraint triggers are
-- triggers, and a foreign key's copies on partitions come with the key.
select
    k.oid::int8,
    k.conname as name,
    nullif(k.conrelid, 0)::int8 as parent,
    nullif(k.contypid, 0)::int8 as domain,
    k.contype as variety,
    pg_catalog.pg_get_constraintdef(k.oid) as definition,
    k.conislocal as local,
    k.coninhcount > 0 as inherited,
    k.convalidated as validated,
    k.condeferrable as deferrable,
    k.condeferred as deferred
from pg_catalog.pg_constraint k
left join pg_catalog.pg_class c on c.oid = k.conrelid
where k.connamespace = any ($1)
  and k.contype in ('p', 'u', 'x', 'c', 'f')
  and not (k.contype = 'f' and k.conparentid <> 0)
  and coalesce(c.relpersistence <> 't', true)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and e.objid = k.oid and e.deptype = 'e'
  )
