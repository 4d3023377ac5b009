-- Settings as a new session of this role would begin with; ours are pinned. PolarDB adds its own.
select name, coalesce(reset_val, setting) as value
from pg_settings
where name in (
    'wal_level', 'max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size', 'wal_sender_timeout',
    'logical_decoding_work_mem', 'lc_monetary', 'session_replication_role', 'data_directory',
    'synchronized_standby_slots', 'idle_replication_slot_timeout'
) or name like 'polar%'
