set search_path = pg_catalog, pg_temp;
set standard_conforming_strings = on;
set check_function_bodies = 'off';
set default_tablespace = '';

-- before the rows
drop view "shop"."paid";
drop index "shop"."by_state";
alter table "shop"."customers" rename to "buyers";
alter table "shop"."buyers" rename column "name" to "title";
alter type "shop"."state" add value 'sent' after 'paid';
alter table "shop"."orders" drop column "note", alter column "total" set data type numeric(12,2) using "total"::numeric(12,2), add column "placed" date;
create table "shop"."orders_2" (
    "id" integer not null,
    "customer" integer,
    "state" shop.state,
    "total" numeric(12,2),
    "placed" date,
    constraint "orders_total_check" CHECK ((total >= (0)::numeric))
);
alter table only "shop"."orders_2" alter column "state" set default 'new'::shop.state;
alter table only "shop"."orders_2" add constraint "orders_2_pkey" PRIMARY KEY (id);

-- keys and indexes
create index "by_state" on only "shop"."orders" USING btree (state, placed) WHERE (total > (10)::numeric);
create index "orders_1_state_placed_idx" on "shop"."orders_1" USING btree (state, placed) WHERE (total > (10)::numeric);
create index "orders_2_state_placed_idx" on "shop"."orders_2" USING btree (state, placed) WHERE (total > (10)::numeric);
alter table "shop"."orders" attach partition "shop"."orders_2" FOR VALUES FROM (1000) TO (2000);
alter index "shop"."by_state" attach partition "shop"."orders_1_state_placed_idx";
alter index "shop"."orders_pkey" attach partition "shop"."orders_2_pkey";
alter index "shop"."by_state" attach partition "shop"."orders_2_state_placed_idx";

-- after the rows
create or replace view "shop"."paid" ("id", "title", "total", "placed") as SELECT o.id,
    c.title,
    o.total,
    o.placed
   FROM (shop.orders o
     JOIN shop.buyers c ON ((c.id = o.customer)))
  WHERE (o.state = 'paid'::shop.state);
comment on table "shop"."buyers" is null;
alter view "shop"."paid" owner to "postgres";
alter table "shop"."orders_2" owner to "postgres";
