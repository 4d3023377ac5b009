select
    coalesce(sum(pg_table_size(c.oid)), 0)::int8 as tables,
    coalesce(sum(pg_indexes_size(c.oid)), 0)::int8 as indexes
from pg_class c
where c.oid = any ($1)
