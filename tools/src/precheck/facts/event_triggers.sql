select evtname::text as name, evtevent::text as event
from pg_event_trigger
where evtenabled <> 'D'
order by 1
