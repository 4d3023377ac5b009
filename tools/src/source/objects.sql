-- pgtrail's own tables at a source. Shared by all pipelines that read this database; every row
-- carries the pipeline.
do $$
begin
    -- A role that may not create schemas can be given this one.
    if not exists (select from pg_catalog.pg_namespace where nspname = 'pgtrail') then
        create schema pgtrail;
    end if;
end
$$;

create table if not exists pgtrail.pipeline (
    name text primary key,
    slot text not null,
    publication text not null,
    -- Of the log that belongs to the slot; null while init is at work, so that one cut short is
    -- recognised.
    incarnation text,
    -- How far the log has been, as its reader noted. A log that ends before is an older copy.
    log_end pg_lsn,
    -- Somebody else made the publication, and teardown leaves it.
    publication_given boolean not null default false,
    created_at timestamptz not null default pg_catalog.now()
);

-- What a table's replica identity was before init changed it. Several pipelines may rely on the
-- same change: each has a row then, and the last to go puts it back.
create table if not exists pgtrail.replica_identity (
    pipeline text not null references pgtrail.pipeline (name) on delete cascade,
    relation oid not null,
    schema_name text not null,
    table_name text not null,
    previous "char" not null,
    previous_index text,
    given "char" not null,
    primary key (pipeline, relation)
);
