-- All comments on what users made, those on columns with the column's number.
select d.classoid, d.objoid, d.objsubid, d.description
from pg_catalog.pg_description d
where d.objoid >= 16384 or (d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and d.objoid = 2200)
