-- What either server says of itself and of the role. Columns that older catalogs lack come by way of
-- jsonb: null there.
select
    current_user::text as role,
    current_database()::text as database,
    r.rolsuper as is_superuser,
    r.rolbypassrls as bypasses_row_security,
    r.rolcreaterole as may_create_roles,
    -- Managed services give replication through a role of their own.
    r.rolsuper or r.rolreplication or exists (
        select from pg_roles granted
        where granted.rolname in ('rds_replication', 'rds_superuser', 'polar_superuser', 'azure_pg_admin')
          and pg_has_role(current_user, granted.oid, 'member')) as may_replicate,
    has_database_privilege(current_database(), 'create') as may_create,
    own.oid is not null as has_own_schema,
    coalesce(has_schema_privilege(own.oid, 'create') and has_schema_privilege(own.oid, 'usage'), false)
        and not exists (
            select from pg_class c
            where c.relnamespace = own.oid and c.relkind = 'r'
              and not (has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                       and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete'))
        ) as may_use_own_schema,
    pg_is_in_recovery() as in_recovery,
    pg_encoding_to_char(d.encoding)::text as encoding,
    d.datcollate::text as collate,
    d.datctype::text as ctype,
    coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') as collation_provider,
    coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') as icu_locale,
    to_jsonb(d) ->> 'datcollversion' as collation_version
from pg_roles r
join pg_database d on d.datname = current_database()
left join pg_namespace own on own.nspname = 'pgtrail'
where r.rolname = current_user
