-- Sequences with the table whose column owns them, and the tables whose defaults use them.
select
    n.nspname::text as schema,
    s.relname::text as name,
    (select d.refobjid
     from pg_depend d
     where d.classid = 'pg_class'::regclass and d.objid = s.oid and d.refclassid = 'pg_class'::regclass
       and d.deptype in ('a', 'i') and d.refobjsubid > 0
     limit 1) as owner,
    array(
        select distinct a.adrelid
        from pg_depend d
        join pg_attrdef a on a.oid = d.objid
        where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = s.oid
    ) as used_by
from pg_class s
join pg_namespace n on n.oid = s.relnamespace
where s.relkind = 'S' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtrail')
order by 1, 2
