-- A publication and the tables it lists, one a row. Whole: every operation that this server knows, of
-- every row and column, leaves as themselves.
select
    p.puballtables as all_tables,
    p.pubinsert and p.pubupdate and p.pubdelete
        and coalesce((to_jsonb(p) ->> 'pubtruncate')::bool, true)
        and not coalesce((to_jsonb(p) ->> 'pubviaroot')::bool, false)
        and coalesce(to_jsonb(p) ->> 'pubgencols', 'n') in ('n', 'false')
        and not exists (
            select from pg_catalog.pg_publication_rel filtered
            where filtered.prpubid = p.oid
              and (to_jsonb(filtered) ->> 'prqual' is not null or to_jsonb(filtered) ->> 'prattrs' is not null)
        ) as whole,
    r.prrelid as relation
from pg_catalog.pg_publication p
left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid
where p.pubname = $1
