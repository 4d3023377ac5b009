create schema golden;
create type golden.mood as enum ('sad', 'ok', 'happy');
create type golden.point3 as (x int, y int, z int);
create domain golden.positive as int check (value > 0);
create table golden.plain (id int primary key, note text, amount numeric(10, 2));
create table golden.types (
    id bigint primary key,
    flag boolean, small smallint, real real, double double precision, num numeric,
    ch char(5), vc varchar(10), bin bytea, bits bit(5), varbits bit varying(8),
    day date, at time, stamp timestamp, stamptz timestamptz, span interval,
    js json, jb jsonb, xm xml, id_uuid uuid, net inet, range int4range,
    numbers int[], words text[], mood golden.mood, moods golden.mood[],
    spot golden.point3, positive golden.positive
);
create table golden.whole ("Größe" int, "with ""quote""" text);
alter table golden.whole replica identity full;
create table golden.toasted (id int primary key, small int, big text);
alter table golden.toasted alter column big set storage external;
create table golden.child (id int primary key, parent int references golden.plain (id));
create table golden.empty ();
create table golden.done (id int primary key);
create publication golden for all tables;
