-- Foreign keys of the tables asked for.
select k.conrelid, k.conname, k.conkey, k.confrelid, k.condeferrable
from pg_catalog.pg_constraint k
where k.contype = 'f' and k.conrelid = any ($1)
order by k.conrelid, k.conname
