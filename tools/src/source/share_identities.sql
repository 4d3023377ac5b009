insert into pgtrail.replica_identity
    (pipeline, relation, schema_name, table_name, previous, previous_index, given)
select distinct on (other.relation)
    $1::text, other.relation, other.schema_name, other.table_name, other.previous, other.previous_index, other.given
from pgtrail.replica_identity other
join pg_catalog.pg_class c on c.oid = other.relation and c.relreplident = other.given
where other.pipeline <> $1::text and other.relation = any ($2::oid[])
order by other.relation, other.pipeline
on conflict (pipeline, relation) do nothing
