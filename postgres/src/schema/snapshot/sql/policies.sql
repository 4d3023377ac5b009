-- Row level security policies. Role 0 is public.
select
    p.oid::int8,
    p.polname as name,
    p.polrelid::int8 as parent,
    p.polpermissive as permissive,
    p.polcmd as command,
    array(
        select case when r.oid = 0 then null else pg_catalog.pg_get_userbyid(r.oid) end
        from pg_catalog.unnest(p.polroles) r (oid)
        order by 1
    ) as roles,
    pg_catalog.pg_get_expr(p.polqual, p.polrelid) as using_expression,
    pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as check_expression
from pg_catalog.pg_policy p
join pg_catalog.pg_class c on c.oid = p.polrelid
where c.relnamespace = any ($1)
