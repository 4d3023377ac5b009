-- The equality operator of each key column of a unique index, by the index's own operator classes:
-- under a fixed search_path a plain "=" would not find those of extensions.
select k.attnum, s.nspname, o.oprname
from pg_catalog.pg_index i
cross join lateral unnest(i.indkey::int2[], i.indclass::oid[]) as k(attnum, opclass)
join pg_catalog.pg_opclass c on c.oid = k.opclass
join pg_catalog.pg_amop p
    on p.amopfamily = c.opcfamily
    and p.amoplefttype = c.opcintype
    and p.amoprighttype = c.opcintype
    and p.amopstrategy = 3
join pg_catalog.pg_operator o on o.oid = p.amopopr
join pg_catalog.pg_namespace s on s.oid = o.oprnamespace
where i.indexrelid = $1
