-- The server's roles.
select r.rolname from pg_catalog.pg_roles r order by 1
