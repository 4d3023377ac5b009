-- Users' triggers, and internal ones that someone made fire under role replica.
select g.tgrelid, g.tgname, g.tgenabled::text, g.tgtype, g.tgisinternal
from pg_catalog.pg_trigger g
where g.tgrelid = any ($1) and (not g.tgisinternal or g.tgenabled in ('A', 'R'))
order by g.tgrelid, g.tgname
