-- The table may have been renamed since: its names of now count. A previous index that is gone
-- cannot be chosen again.
select
    mine.relation,
    n.nspname::text as schema_name,
    c.relname::text as table_name,
    mine.previous::text as previous,
    (select mine.previous_index
     from pg_catalog.pg_index i
     join pg_catalog.pg_class ic on ic.oid = i.indexrelid
     where i.indrelid = c.oid and ic.relname = mine.previous_index) as previous_index
from pgtrail.replica_identity mine
join pg_catalog.pg_class c on c.oid = mine.relation and c.relreplident = mine.given
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where mine.pipeline = $1::text
  and not exists (select from pgtrail.replica_identity other
                  where other.relation = mine.relation and other.pipeline <> mine.pipeline)
order by 2, 3
