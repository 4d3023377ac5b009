select
    (select count(*) from pg_replication_slots) as used_slots,
    (select count(*) from pg_stat_replication) as used_senders,
    (select count(*) from pg_replication_slots where slot_type = 'physical') as physical_slots
