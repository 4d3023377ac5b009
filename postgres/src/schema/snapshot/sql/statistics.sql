-- Extended statistics objects. The definition begins after the object's name.
select
    s.oid::int8,
    n.nspname as schema,
    s.stxname as name,
    pg_catalog.pg_get_userbyid(s.stxowner) as owner,
    s.stxrelid::int8 as parent,
    pg_catalog.substr(
        pg_catalog.pg_get_statisticsobjdef(s.oid),
        pg_catalog.length(pg_catalog.concat(
            'CREATE STATISTICS ', pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(s.stxname)
        )) + 1
    ) as definition,
    case when s.stxstattarget >= 0 then s.stxstattarget end as target
from pg_catalog.pg_statistic_ext s
join pg_catalog.pg_namespace n on n.oid = s.stxnamespace
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass and e.objid = s.oid and e.deptype = 'e'
  )
