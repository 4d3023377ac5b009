-- Every replica identity that init changed, and what teardown will do about it.
select
    coalesce(n.nspname::text || '.' || c.relname, mine.schema_name || '.' || mine.table_name) as name,
    case mine.previous
        when 'n' then 'nothing'
        when 'i' then coalesce('using index ' || mine.previous_index, 'nothing')
        else 'default'
    end as previous,
    case
        when c.oid is null then 'the table is gone'
        when c.relreplident <> mine.given then 'it was changed again since init'
        when exists (select from pgtrail.replica_identity other
                     where other.relation = mine.relation and other.pipeline <> mine.pipeline)
        then 'another pipeline relies on it'
    end as stays
from pgtrail.replica_identity mine
left join pg_catalog.pg_class c on c.oid = mine.relation
left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where mine.pipeline = $1::text
order by 1
