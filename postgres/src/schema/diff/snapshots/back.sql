-- not supported: type "shop"."state": PostgreSQL can neither drop the value of an enum nor move it
set search_path = pg_catalog, pg_temp;
set standard_conforming_strings = on;
set check_function_bodies = 'off';
set default_tablespace = '';

-- before the rows
drop view "shop"."paid";
drop table "shop"."orders_2";
drop index "shop"."by_state";
alter table "shop"."buyers" rename to "customers";
alter table "shop"."customers" rename column "title" to "name";
alter table "shop"."orders" drop column "placed", alter column "total" set data type numeric(10,2) using "total"::numeric(10,2), add column "note" text;

-- keys and indexes
create index "by_state" on only "shop"."orders" USING btree (state) WHERE (total > (10)::numeric);
create index "orders_1_state_idx" on "shop"."orders_1" USING btree (state) WHERE (total > (10)::numeric);
alter index "shop"."by_state" attach partition "shop"."orders_1_state_idx";

-- after the rows
create or replace view "shop"."paid" ("id", "name", "total") as SELECT o.id,
    c.name,
    o.total
   FROM (shop.orders o
     JOIN shop.customers c ON ((c.id = o.customer)))
  WHERE (o.state = 'paid'::shop.state);
comment on table "shop"."customers" is 'who buys';
alter view "shop"."paid" owner to "postgres";
