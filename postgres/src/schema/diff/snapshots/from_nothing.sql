set search_path = pg_catalog, pg_temp;
set standard_conforming_strings = on;
set check_function_bodies = 'off';
set default_tablespace = '';

-- before the rows
create schema if not exists "shop";
create type "shop"."state" as enum ('new', 'paid');
CREATE OR REPLACE FUNCTION shop.code()
 RETURNS text
 LANGUAGE sql
AS $function$select 'x'$function$;
create table "shop"."customers" (
    "id" integer not null,
    "name" text not null
);
create sequence "shop"."customers_id_seq" as integer start with 1 increment by 1 minvalue 1 maxvalue 2147483647 cache 1 no cycle owned by "shop"."customers"."id";
create table "shop"."orders" (
    "id" integer not null,
    "customer" integer,
    "state" shop.state,
    "total" numeric(10,2),
    "note" text,
    constraint "orders_total_check" CHECK ((total >= (0)::numeric))
) partition by RANGE (id);
alter table "shop"."orders" alter column "id" add generated always as identity (sequence name "shop"."orders_id_seq" start with 1 increment by 1 minvalue 1 maxvalue 2147483647 cache 1 no cycle);
create table "shop"."orders_1" (
    "id" integer not null,
    "customer" integer,
    "state" shop.state,
    "total" numeric(10,2),
    "note" text,
    constraint "orders_total_check" CHECK ((total >= (0)::numeric))
);
alter table "shop"."orders" attach partition "shop"."orders_1" FOR VALUES FROM (0) TO (1000);
alter table only "shop"."customers" alter column "id" set default nextval('shop.customers_id_seq'::regclass);
alter table only "shop"."customers" alter column "name" set default shop.code();
alter table only "shop"."orders" alter column "state" set default 'new'::shop.state;
alter table only "shop"."orders_1" alter column "state" set default 'new'::shop.state;

-- keys and indexes
alter table only "shop"."customers" add constraint "customers_pkey" PRIMARY KEY (id);
alter table only "shop"."orders" add constraint "orders_pkey" PRIMARY KEY (id);
alter table only "shop"."orders_1" add constraint "orders_1_pkey" PRIMARY KEY (id);
create index "by_state" on only "shop"."orders" USING btree (state) WHERE (total > (10)::numeric);
create index "orders_1_state_idx" on "shop"."orders_1" USING btree (state) WHERE (total > (10)::numeric);
alter index "shop"."orders_pkey" attach partition "shop"."orders_1_pkey";
alter index "shop"."by_state" attach partition "shop"."orders_1_state_idx";

-- foreign keys
alter table "shop"."orders" add constraint "orders_customer_fkey" FOREIGN KEY (customer) REFERENCES shop.customers(id);

-- after the rows
CREATE OR REPLACE FUNCTION shop.audit()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$begin return new; end$function$;
create or replace view "shop"."paid" ("id", "name", "total") as SELECT o.id,
    c.name,
    o.total
   FROM (shop.orders o
     JOIN shop.customers c ON ((c.id = o.customer)))
  WHERE (o.state = 'paid'::shop.state);
CREATE TRIGGER audited AFTER INSERT ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.audit();
comment on table "shop"."customers" is 'who buys';
alter schema "shop" owner to "postgres";
alter type "shop"."state" owner to "postgres";
alter function "shop"."code"() owner to "postgres";
alter function "shop"."audit"() owner to "postgres";
alter table "shop"."customers" owner to "postgres";
alter table "shop"."orders" owner to "postgres";
alter table "shop"."orders_1" owner to "postgres";
alter view "shop"."paid" owner to "postgres";
grant select on table "shop"."customers" to "schema_reader";
