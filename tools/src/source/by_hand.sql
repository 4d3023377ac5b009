-- What teardown would do at the source, for psql.
select pg_catalog.pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots
where slot_name = {slot};
do $pgtrail$
declare
    changed record;
begin
    if pg_catalog.to_regclass('pgtrail.pipeline') is null then
        return;
    end if;
    if exists (select from pgtrail.pipeline where name = {pipeline} and not publication_given) then
        execute pg_catalog.format('drop publication if exists %I', {publication});
    end if;
    for changed in
        {changed_identities}
    loop
        execute pg_catalog.format(
            'alter table %I.%I replica identity %s', changed.schema_name, changed.table_name,
            case
                when changed.previous = 'i' and changed.previous_index is not null
                then pg_catalog.format('using index %I', changed.previous_index)
                when changed.previous in ('i', 'n') then 'nothing'
                else 'default'
            end);
    end loop;
    delete from pgtrail.pipeline where name = {pipeline};
    execute $forget$
{forget}
$forget$;
end
$pgtrail$;
