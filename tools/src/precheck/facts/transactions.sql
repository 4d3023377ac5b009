-- Whose end a new slot waits for. The locks show everybody's; the age only to those who may see it.
select
    l.pid,
    l.transactionid::text as xid,
    extract(epoch from clock_timestamp() - a.xact_start)::int8 as age_seconds,
    a.usename::text as role,
    null::text as gid
from pg_locks l
left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'transactionid' and l.granted and l.mode = 'ExclusiveLock'
  and l.pid is not null and l.pid <> pg_backend_pid()
union all
select
    null, p.transaction::text, extract(epoch from clock_timestamp() - p.prepared)::int8, p.owner::text, p.gid
from pg_prepared_xacts p
order by 3 desc nulls last
