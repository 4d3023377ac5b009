-- The extension each of the types belongs to; an array's is its element's.
select t.oid as type, e.extname::text as extension
from pg_type t
join pg_depend d
    on d.classid = 'pg_type'::regclass
    and d.objid = case when t.typcategory = 'A' and t.typelem <> 0 then t.typelem else t.oid end
join pg_extension e on e.oid = d.refobjid
where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e' and t.oid = any ($1)
