-- Default privileges.
select
    d.oid::int8,
    '' as name,
    pg_catalog.pg_get_userbyid(d.defaclrole) as role,
    (select n.nspname from pg_catalog.pg_namespace n where n.oid = d.defaclnamespace) as in_schema,
    d.defaclobjtype as object_type,
    d.defaclacl as privileges
from pg_catalog.pg_default_acl d
where d.defaclnamespace = 0 or d.defaclnamespace = any ($1)
