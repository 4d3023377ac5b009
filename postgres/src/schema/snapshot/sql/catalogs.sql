-- The catalogs' own numbers.
select c.oid, c.relname
from pg_catalog.pg_class c
where c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace and c.relkind = 'r'
