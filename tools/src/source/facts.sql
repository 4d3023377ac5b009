select
    current_setting('wal_level') as wal_level,
    pg_is_in_recovery() as in_recovery,
    current_setting('max_replication_slots')::int4 as max_slots,
    (select count(*) from pg_replication_slots) as used_slots,
    current_setting('max_wal_senders')::int4 as max_senders,
    (select count(*) from pg_stat_replication) as used_senders,
    current_user::text as role,
    r.rolsuper as is_superuser,
    -- Managed services give replication through a role of their own.
    r.rolsuper or r.rolreplication or exists (
        select from pg_roles granted
        where granted.rolname in ('rds_replication', 'rds_superuser', 'polar_superuser', 'azure_pg_admin')
          and pg_has_role(current_user, granted.oid, 'member')) as may_replicate,
    has_database_privilege(current_database(), 'create') as may_create
from pg_roles r
where r.rolname = current_user
