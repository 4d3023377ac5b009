-- Deferrable unique, primary key and exclusion constraints, one row a column, with the operator that
-- says that two rows collide. A session with role replica does not enforce them.
select
    c.conname,
    k.attnum,
    s.nspname,
    o.oprname,
    i.indpred is null as whole
from pg_catalog.pg_constraint c
join pg_catalog.pg_index i on i.indexrelid = c.conindid
cross join lateral unnest(i.indkey::int2[], i.indclass::oid[], c.conexclop)
    with ordinality as k(attnum, opclass, exclusion, n)
join pg_catalog.pg_opclass l on l.oid = k.opclass
left join pg_catalog.pg_amop p
    on p.amopfamily = l.opcfamily
    and p.amoplefttype = l.opcintype
    and p.amoprighttype = l.opcintype
    and p.amopstrategy = 3
left join pg_catalog.pg_operator o on o.oid = coalesce(k.exclusion, p.amopopr)
left join pg_catalog.pg_namespace s on s.oid = o.oprnamespace
where c.conrelid = $1 and c.contype in ('u', 'p', 'x') and c.condeferrable
order by c.conname, k.n
