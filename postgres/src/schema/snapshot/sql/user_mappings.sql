-- User mappings, by way of the view that hides the options from those who may not see them.
select
    m.umid::int8 as oid,
    case when m.umuser = 0 then 'public' else m.usename end as name,
    m.umuser = 0 as for_public,
    m.srvname as server,
    m.umoptions as options
from pg_catalog.pg_user_mappings m
