-- Members of operator classes and, loose, of families: operators first, then support functions.
select
    case d.refclassid when 'pg_catalog.pg_opclass'::pg_catalog.regclass then 'class' else 'family' end as holder,
    d.refobjid::int8 as oid,
    pg_catalog.format(
        'operator %s %I.%s(%s, %s)%s',
        o.amopstrategy, pn.nspname, p.oprname,
        pg_catalog.format_type(o.amoplefttype, null), pg_catalog.format_type(o.amoprighttype, null),
        (
            select pg_catalog.format(' for order by %I.%I', sn.nspname, s.opfname)
            from pg_catalog.pg_opfamily s
            join pg_catalog.pg_namespace sn on sn.oid = s.opfnamespace
            where s.oid = o.amopsortfamily
        )
    ) as member,
    1 as rank,
    o.amopstrategy as number
from pg_catalog.pg_amop o
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_amop'::pg_catalog.regclass and d.objid = o.oid
    and d.refclassid in ('pg_catalog.pg_opclass'::pg_catalog.regclass, 'pg_catalog.pg_opfamily'::pg_catalog.regclass)
    and d.deptype in ('i', 'a') and d.refobjid >= 16384
join pg_catalog.pg_operator p on p.oid = o.amopopr
join pg_catalog.pg_namespace pn on pn.oid = p.oprnamespace
where not (
    d.refclassid = 'pg_catalog.pg_opfamily'::pg_catalog.regclass and d.refobjid = o.amopsortfamily
    and o.amopfamily <> o.amopsortfamily
)
union all
select
    case d.refclassid when 'pg_catalog.pg_opclass'::pg_catalog.regclass then 'class' else 'family' end,
    d.refobjid::int8,
    pg_catalog.format(
        'function %s (%s, %s) %s',
        o.amprocnum,
        pg_catalog.format_type(o.amproclefttype, null), pg_catalog.format_type(o.amprocrighttype, null),
        o.amproc::pg_catalog.regprocedure
    ),
    2,
    o.amprocnum
from pg_catalog.pg_amproc o
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_amproc'::pg_catalog.regclass and d.objid = o.oid
    and d.refclassid in ('pg_catalog.pg_opclass'::pg_catalog.regclass, 'pg_catalog.pg_opfamily'::pg_catalog.regclass)
    and d.deptype in ('i', 'a') and d.refobjid >= 16384
order by rank, number, member
