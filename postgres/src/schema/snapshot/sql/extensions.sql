-- Extensions beyond those of an empty database, with the tables whose rows are their configuration.
select
    x.oid::int8,
    x.extname as name,
    n.nspname as target_schema,
    x.extversion as version,
    x.extrelocatable as relocatable,
    coalesce(
        (
            select pg_catalog.json_agg(pg_catalog.json_build_object(
                'schema', tn.nspname, 'name', t.relname, 'condition', x.extcondition[k.place]
            ) order by k.place)
            from pg_catalog.unnest(x.extconfig) with ordinality k (oid, place)
            join pg_catalog.pg_class t on t.oid = k.oid and t.relkind in ('r', 'p')
            join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
        ),
        '[]'
    ) as configuration
from pg_catalog.pg_extension x
join pg_catalog.pg_namespace n on n.oid = x.extnamespace
where x.oid >= 16384
