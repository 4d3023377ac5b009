revoke select on privileges.t from public;
revoke grant option for update on privileges.t from schema_reader cascade;
grant delete on privileges.t to "Schema ""reader"" two";
revoke select (a) on privileges.t from "Schema ""reader"" two";
alter table privileges.v owner to postgres;
alter default privileges for role schema_owner in schema privileges revoke select on tables from schema_reader;
grant usage on schema public to public;
alter sequence privileges.s owner to postgres;
