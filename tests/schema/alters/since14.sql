alter table since14.t alter column b set compression default, add column c int;
create or replace function since14.standard(n int) returns int language sql begin atomic select count(*) + n + 1 from since14.t; end;
