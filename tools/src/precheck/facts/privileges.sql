-- What the role may do with each of the tables.
select
    c.oid,
    has_schema_privilege(c.relnamespace, 'usage') as uses_schema,
    has_table_privilege(c.oid, 'select') as may_select,
    has_table_privilege(c.oid, 'insert') as may_insert,
    has_table_privilege(c.oid, 'update') as may_update,
    has_table_privilege(c.oid, 'delete') as may_delete,
    has_table_privilege(c.oid, 'truncate') as may_truncate,
    pg_has_role(c.relowner, 'usage') as owns,
    pg_get_userbyid(c.relowner)::text as owner,
    row_security_active(c.oid) as row_security
from pg_class c
where c.oid = any ($1)
