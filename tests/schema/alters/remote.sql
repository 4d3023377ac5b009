alter server far_away options (set host 'elsewhere', drop "odd name", add port '1');
alter server far_away version '2';
alter user mapping for public server far_away options (set password 'other');
alter foreign table remote.there options (set table_name 'x');
alter foreign table remote.there alter column id options (drop column_name), add column more int;
alter foreign data wrapper no_handler options (drop debug);
drop user mapping for schema_reader server far_away;
alter extension hstore set schema public;
