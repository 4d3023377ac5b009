alter table since12.tree add column extra int generated always as (a + 2) stored;
alter table since12.generated drop column c;
alter table since12.referring drop constraint refers;
