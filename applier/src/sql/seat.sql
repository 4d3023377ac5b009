-- What an applier keeps at its destination. Several pipelines may share a database: every row names its
-- pipeline and destination.
do $$
begin
    -- A role that may not create schemas can be given this one.
    if not exists (select from pg_catalog.pg_namespace where nspname = 'pgtrail') then
        create schema pgtrail;
    end if;
end
$$;

-- How far the destination is. Changed in the same transaction as the data, only by the applier whose
-- fence it carries. Source and incarnation are null until the first applier took the seat.
create table if not exists pgtrail.checkpoint (
    pipeline text not null,
    destination text not null,
    system_identifier text,
    incarnation text,
    epoch bigint not null default 0,
    commit_lsn pg_lsn not null default '0/0',
    end_lsn pg_lsn not null default '0/0',
    fence bigint not null default 0,
    -- How far the schema is made: begun, for rows, complete.
    schema_stage text,
    -- What was there before and stays as it is (on_existing = "keep").
    schema_kept text[],
    updated_at timestamptz not null default now(),
    primary key (pipeline, destination)
);

-- Tables that were copied again. Begun: the table's changes are left out; joined: they are applied again.
create table if not exists pgtrail.rebase (
    pipeline text not null,
    destination text not null,
    base_id bigint not null,
    relation text not null,
    begun_at timestamptz not null default now(),
    joined_at timestamptz,
    primary key (pipeline, destination, base_id)
);

-- How far each table's base is loaded. Changed in the same transaction as its rows. A base may be given up by
-- the reader in the middle: where its rows are then has to be known, whatever the table is called by then.
create table if not exists pgtrail.base_load (
    pipeline text not null,
    destination text not null,
    base_id bigint not null,
    relation text not null,
    source_relation bigint,
    table_schema text,
    table_name text,
    next_block bigint not null default 0,
    done boolean not null default false,
    updated_at timestamptz not null default now(),
    primary key (pipeline, destination, base_id)
);
