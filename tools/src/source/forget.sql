-- Plain DROPs, without CASCADE: what someone else put into the schema keeps it. The destination's
-- tables of another pipeline may live in the same schema.
do $$
begin
    if not exists (select from pgtrail.pipeline)
       -- Another pipeline's role may have made them.
       and (select pg_catalog.bool_and(pg_catalog.pg_has_role(c.relowner, 'usage'))
            from pg_catalog.pg_class c
            where c.oid in ('pgtrail.replica_identity'::pg_catalog.regclass, 'pgtrail.pipeline'::pg_catalog.regclass))
    then
        drop table pgtrail.replica_identity;
        drop table pgtrail.pipeline;
    end if;
    -- Who may not create schemas was given this one, and keeps it.
    if pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')
       and not exists (select from pg_catalog.pg_class c
                   where c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = 'pgtrail'))
       and not exists (select from pg_catalog.pg_proc p
                       where p.pronamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = 'pgtrail'))
    then
        drop schema pgtrail;
    end if;
end
$$
