-- Who does not begin in the role "origin": database and role of each such setting, empty for all.
select
    coalesce(d.datname, '')::text as database,
    coalesce(r.rolname, '')::text as role,
    split_part(given.setting, '=', 2) as value
from pg_db_role_setting s
left join pg_database d on d.oid = s.setdatabase
left join pg_roles r on r.oid = s.setrole
cross join unnest(s.setconfig) given (setting)
where given.setting like 'session_replication_role=%'
  and given.setting <> 'session_replication_role=origin'
  and (s.setdatabase = 0 or d.datname = current_database())
order by 1, 2
