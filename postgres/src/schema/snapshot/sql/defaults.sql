-- Defaults of columns, of views too. Generated columns have theirs with the column.
select
    d.oid::int8,
    '' as name,
    d.adrelid::int8 as parent,
    d.adnum as attnum,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) as expression
from pg_catalog.pg_attrdef d
join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
join pg_catalog.pg_class c on c.oid = d.adrelid
where c.relnamespace = any ($1) and a.attgenerated = ''
