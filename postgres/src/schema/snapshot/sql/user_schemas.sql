-- Schemas that can hold what users made.
select n.oid
from pg_catalog.pg_namespace n
where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtrail')
