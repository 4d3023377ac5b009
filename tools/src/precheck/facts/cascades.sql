-- Foreign keys that change or delete the rows that refer to a changed or deleted one.
select n.nspname::text as schema, c.relname::text as name, k.conname::text as constraint
from pg_constraint k
join pg_class c on c.oid = k.conrelid
join pg_namespace n on n.oid = c.relnamespace
where k.contype = 'f' and k.conrelid = any ($1) and not c.relispartition
  and (k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd'))
order by 1, 2, 3
