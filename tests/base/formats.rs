//! Which tables and columns a base holds, in which format, and that the rows survive it.

use pgtrail_log::CopyFormat;
use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::selection::{Pattern, TablePattern};
use pgtrail_tests::{Cluster, pair};
use pgtrail_tools::compare::compare;

use crate::copies::Copies;

#[tokio::test]
async fn only_what_a_publication_publishes_is_copied() {
    let copies = Copies::new(
        "create table plain (id int); \
         create unlogged table unlogged (id int); \
         create view viewed as select 1 as id; \
         create materialized view materialized as select 1 as id; \
         create table parted (id int) partition by range (id); \
         create table parted_1 partition of parted for values from (0) to (10); \
         create table parted_2 partition of parted for values from (10) to (20); \
         create table parent (id int); create table child () inherits (parent); \
         insert into parted select generate_series(0, 19); \
         insert into parent values (1); insert into child values (2), (3); \
         create schema pgtrail; create table pgtrail.own (id int); \
         create schema \"Über uns\"; create table \"Über uns\".\"t \"\"1\"\"\" (\"ä b\" int);",
    )
    .await;
    copies.complete().await;
    let expected = ["child", "parent", "parted_1", "parted_2", "plain", "t \"1\""];
    assert_eq!(copies.copied(), expected);
    let rows = |name: &str| copies.base(name).expect("copied").rows;
    assert_eq!((rows("parent"), rows("child"), rows("parted_1")), (1, 2, 10));
}

#[tokio::test]
async fn the_selection_narrows_the_set() {
    let mut copies = Copies::new(
        "create schema s; create table s.a (id int); create table s.b (id int); \
         create table c (id int);",
    )
    .await;
    copies.config.selection.schemas = vec![Pattern::literal("s")];
    copies.config.selection.exclude = vec![TablePattern::literal("s", "b")];
    copies.complete().await;
    assert_eq!(copies.copied(), ["a"]);
}

#[tokio::test]
async fn an_empty_set_is_complete() {
    let copies = Copies::new("select 1").await;
    copies.complete().await;
    assert!(copies.copied().is_empty());
}

/// Tables of every kind of type; each is loaded again and compared.
const TYPES: &str = "
    create type mood as enum ('sad', 'it''s \"ok\"', 'größer');
    create domain positive as numeric check (value > 0);
    create domain moods as mood[];
    create type pair as (a int, b text);
    create type nested as (p pair, m mood, d positive);
    create type floatrange as range (subtype = float8);
    create table numbers (a int2, b int4, c int8, d numeric, e float4, f float8, g numeric(10, 2));
    insert into numbers values
        (-32768, 2147483647, -9223372036854775808, 'NaN', 'Infinity', '-0', 1.10),
        (null, null, null, 1e-1000, 1e-45, 0.1, null);
    create table texts (a text, b varchar(5), c char(5), d name, e \"char\", f bytea, g xml, h json);
    insert into texts values
        (E'tab\\t newline\\n back\\\\slash \\\\. \\\\N', 'äöü', 'x ', 'n', 'c', '\\x00ff', '<a/>',
         '{\"a\":  1, \"a\": 2}'),
        ('', '', '', '', '', '', '', 'null'), (null, null, null, null, null, null, null, null);
    create table times (a date, b time, c timetz, d timestamp, e timestamptz, f interval);
    insert into times values
        ('infinity', '24:00', '12:00+14', '4713-01-01 BC', '294276-12-31', '1 mon -1 day 00:00:01'),
        ('0044-03-15 BC', '00:00', '00:00-12:30', '-infinity', 'infinity', '-178000000 years');
    create table bits (a bit(3), b varbit, c bit varying(9), d bool, e uuid, f inet, g cidr,
        h macaddr, i macaddr8, j pg_lsn, k oid, l xid, m tid, n txid_snapshot);
    insert into bits values (b'101', b'', b'110011001', true,
        '00000000-0000-0000-0000-000000000001', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03',
        '08:00:2b:01:02:03:04:05', '16/B374D848', 4294967295, '7', '(1,2)', '10:20:10,14');
    create table shapes (a point, b line, c lseg, d box, e path, f polygon, g circle, h tsvector,
        i tsquery, j jsonb, k jsonpath);
    insert into shapes values ('(1,2)', '{1,2,3}', '[(0,0),(1,1)]', '((0,0),(1,1))',
        '[(0,0),(1,1)]', '((0,0),(1,1))', '<(0,0),1>', 'a:1A b', 'a & b:*', '{\"a\": [1, null]}',
        '$.a[*]');
    create table made (a mood, b mood[], c positive, d moods, e pair, f nested, g nested[],
        h int4range, i floatrange, j floatrange[], k numrange, l int[][], m text[]);
    insert into made values ('sad', '{sad,größer}', 1.5, array['it''s \"ok\"']::mood[], '(1,\"a,b\")',
        '(\"(1,)\",sad,2)', '{\"(\\\"(1,x)\\\",sad,2)\"}', '[1,5)', '(0.1,)', '{\"[1,2]\",empty}',
        '(,3.14]', '[0:1][1:2]={{1,2},{3,null}}', '{\"a,b\",NULL,\"NULL\"}');
    create table registered (a regclass, b regtype, c regproc);
    insert into registered values ('pg_class', 'mood', 'now');
    create table registered_arrays (a regclass[]);
    insert into registered_arrays values ('{pg_class,pg_type}');
    create table priced (a money);
    insert into priced values ('12.34'), ('-92233720368547758.08');
    create table granted (a aclitem[]);
    insert into granted values ('{postgres=r/postgres}');
    create table empty ();
    insert into empty default values; insert into empty default values;
    create table dropped (a int, b text, c int);
    insert into dropped values (1, 'x', 2);
    alter table dropped drop b, add d int default 7;
    create table identified (a int generated always as identity, b int generated by default as identity);
    insert into identified default values;
";

#[tokio::test]
async fn all_types_survive_in_the_format_they_allow() {
    let copies = Copies::new(TYPES).await;
    copies.complete().await;
    let destination = pair().destination.create_database(&copies.source.name).await;
    let loaded = destination.connect().await;
    loaded.exec(TYPES).await;
    let mut names = Vec::new();
    for base in copies.log.bases() {
        loaded.exec(&format!("delete from {}", base.shape.name)).await;
        if base.shape.name != "identified" {
            copies.restore(&base, &loaded).await;
            names.push(("public".to_owned(), base.shape.name.clone()));
        }
    }
    let comparison =
        compare(&copies.sql, &loaded, &Mapping::identity(), &names).await.expect("compares");
    assert!(comparison.equal(), "{comparison:#?}");
    assert_eq!(comparison.tables.len(), 12);

    let text: Vec<String> = copies
        .log
        .bases()
        .into_iter()
        .filter(|base| base.format == CopyFormat::Text)
        .map(|base| base.shape.name)
        .collect();
    let sorted = std::collections::BTreeSet::from_iter(text);
    let expected = ["granted", "priced", "registered", "registered_arrays"];
    assert_eq!(Vec::from_iter(sorted), expected, "reg*, money and what has no send function");
}

#[tokio::test]
async fn generated_and_dropped_columns_are_left_out() {
    let copies = Copies::new(
        "create table t (a int, gone int, b int generated always as (a * 2) stored); \
         insert into t values (1, 1), (2, 2); alter table t drop gone; \
         create table only_generated (g int generated always as (42) stored); \
         insert into only_generated default values;",
    )
    .await;
    copies.complete().await;
    let base = copies.base("t").expect("copied");
    let names: Vec<&str> = base.shape.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["a"]);
    assert_eq!(copies.restored("t", "select sum(a) from t").await, "3");
    let other = copies.base("only_generated").expect("copied");
    assert_eq!((other.shape.columns.len(), other.rows), (0, 1));
}

#[tokio::test]
async fn blocks_are_bounded_and_large_rows_stand_alone() {
    let copies = Copies::new(
        "create table t (id int, v text); alter table t alter v set storage external; \
         insert into t select g, repeat('x', 300000) from generate_series(1, 10) g; \
         insert into t values (11, repeat('y', 5000000)); \
         insert into t select g, 'z' from generate_series(12, 1000) g;",
    )
    .await;
    copies.complete().await;
    let base = copies.base("t").expect("copied");
    assert_eq!(base.rows, 1000);
    // Three of the wide rows to a block, the remaining one, the large one, the small ones.
    assert_eq!(base.blocks, 6);
    let sums = copies.restored("t", "select sum(id) || '/' || sum(length(v)) from t").await;
    assert_eq!(sums, "500500/8000989");
}

#[tokio::test]
async fn w10_other_server_encodings_arrive_as_utf8() {
    let cluster = Cluster::builder().initdb("--encoding=LATIN1").start();
    let copies = Copies::at(
        &cluster,
        "create table t (a text, m money); insert into t values (U&'\\00e4\\00df', 1)",
    )
    .await;
    copies.complete().await;
    assert_eq!(copies.base("t").expect("copied").format, CopyFormat::Text);
    let length = copies.restored("t", "select octet_length(convert_to(a, 'UTF8')) from t").await;
    assert_eq!(length, "4");
}

#[tokio::test]
async fn every_supported_major_can_be_copied() {
    for major in [10, 11, 12, 13, 14, 16, 17, 18] {
        let Some(cluster) = Cluster::of_major(major) else {
            pgtrail_tests::Install::missing(major);
            continue;
        };
        let cluster = cluster.start();
        let copies = Copies::at(
            &cluster,
            "create type mood as enum ('sad'); create table a (id int primary key, m mood[]); \
             insert into a select g, '{sad}' from generate_series(1, 1000) g; \
             create table b (r regtype); insert into b values ('int4'); \
             create table parted (id int) partition by list (id); \
             create table parted_1 partition of parted for values in (1); \
             insert into parted values (1)",
        )
        .await;
        copies.complete().await;
        assert_eq!(copies.copied(), ["a", "b", "parted_1"], "PostgreSQL {major}");
        assert_eq!(copies.base("a").expect("copied").format, CopyFormat::Binary);
        assert_eq!(copies.base("b").expect("copied").format, CopyFormat::Text);
    }
}
