select n.nspname::text as schema, t.typname::text as name
from pg_type t
join pg_namespace n on n.oid = t.typnamespace
join unnest($1::text[], $2::text[]) wanted (schema, name) on wanted.schema = n.nspname and wanted.name = t.typname
