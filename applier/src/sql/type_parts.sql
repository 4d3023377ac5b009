-- $1 types: they and all they are made of, each with the parts whose oids or values its binary form
-- holds. A type cannot contain itself.
with recursive reached (oid) as (
    select w.oid from unnest($1::oid[]) as w (oid)
    union
    select part.oid
    from reached
    join pg_catalog.pg_type t on t.oid = reached.oid
    cross join lateral (
        select t.typbasetype where t.typtype = 'd'
        union all
        select t.typelem where t.typlen = -1 and t.typelem <> 0
        union all
        select a.atttypid from pg_catalog.pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        union all
        select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid
    ) as part (oid)
)
select
    t.oid,
    case when t.typtype = 'd' then 'd'
         when t.typtype in ('c', 'r') then t.typtype::text
         when t.typlen = -1 and t.typelem <> 0 then 'a'
         else 'b' end as made,
    case when t.typtype = 'd' then array[t.typbasetype]
         when t.typtype = 'c' then array(
             select a.atttypid from pg_catalog.pg_attribute a
             where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
             order by a.attnum)
         when t.typtype = 'r' then array(select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid)
         when t.typlen = -1 and t.typelem <> 0 then array[t.typelem]
         else '{}' end as parts
from reached
join pg_catalog.pg_type t on t.oid = reached.oid
