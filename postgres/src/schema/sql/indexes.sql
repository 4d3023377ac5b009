-- Indexes that refuse rows: unique ones and those of exclusion constraints. One that is being
-- dropped concurrently (not live) refuses nothing any more; one whose build failed still may.
select
    i.indrelid,
    i.indexrelid,
    c.relname,
    (i.indkey::int2[])[0:i.indnkeyatts - 1] as columns,
    i.indisprimary,
    i.indisreplident,
    not i.indimmediate as deferrable,
    i.indpred is not null as partial,
    i.indnullsnotdistinct as nulls_not_distinct,
    i.indisvalid,
    i.indisunique,
    i.indisexclusion,
    -- Nothing but built-in operator classes under deterministic collations.
    not exists (
        select
        from pg_catalog.unnest(i.indcollation::oid[]) u (oid)
        join pg_catalog.pg_collation l on l.oid = u.oid
        where not l.collisdeterministic
    ) and not exists (
        select from pg_catalog.unnest(i.indclass::oid[]) u (oid) where u.oid >= 16384
    ) as plain
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indrelid = any ($1) and i.indislive and (i.indisunique or i.indisexclusion)
order by i.indrelid, not i.indisprimary, c.relname
