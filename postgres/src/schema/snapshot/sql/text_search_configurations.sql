-- Text search configurations with what each token type is looked up in.
select
    c.oid::int8,
    n.nspname as schema,
    c.cfgname as name,
    pg_catalog.pg_get_userbyid(c.cfgowner) as owner,
    pg_catalog.format('%I.%I', pn.nspname, p.prsname) as parser,
    coalesce(
        (
            select pg_catalog.json_agg(
                pg_catalog.json_build_object('token', m.alias, 'dictionaries', m.dictionaries) order by m.token
            )
            from (
                select
                    m.maptokentype as token,
                    (
                        select k.alias
                        from pg_catalog.ts_token_type(c.cfgparser) k
                        where k.tokid = m.maptokentype
                    ) as alias,
                    pg_catalog.array_agg(pg_catalog.format('%I.%I', dn.nspname, d.dictname) order by m.mapseqno)
                        as dictionaries
                from pg_catalog.pg_ts_config_map m
                join pg_catalog.pg_ts_dict d on d.oid = m.mapdict
                join pg_catalog.pg_namespace dn on dn.oid = d.dictnamespace
                where m.mapcfg = c.oid
                group by m.maptokentype
            ) m
        ),
        '[]'
    ) as mappings
from pg_catalog.pg_ts_config c
join pg_catalog.pg_namespace n on n.oid = c.cfgnamespace
join pg_catalog.pg_ts_parser p on p.oid = c.cfgparser
join pg_catalog.pg_namespace pn on pn.oid = p.prsnamespace
where n.oid = any ($1)
  and not exists (
      select from pg_catalog.pg_depend e
      where e.classid = 'pg_catalog.pg_ts_config'::pg_catalog.regclass and e.objid = c.oid and e.deptype = 'e'
  )
