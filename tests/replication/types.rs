//! Values of every built-in type, and of types made from them, by base copy and by stream.
//!
//! The same tables are sent once in binary and once as text: a column of a `reg*` type anywhere
//! in the selection makes the whole stream text, because such values are oids of the source.

use std::fmt::Write as _;

use pgtrail_tests::{Cluster, Link, pair};

/// A type and values of it, as SQL literals without the cast.
type Samples = (&'static str, &'static [&'static str]);

const SCALARS: &[Samples] = &[
    ("smallint", &["-32768", "0", "32767"]),
    ("integer", &["-2147483648", "0", "2147483647"]),
    ("bigint", &["-9223372036854775808", "0", "9223372036854775807"]),
    (
        "numeric",
        &[
            "NaN",
            "0",
            "-0.00000000000000000000000000000001",
            "1e300",
            "1.10",
            "99999999999999.9900",
        ],
    ),
    ("numeric(12,4)", &["0", "-12345678.1234", "NaN"]),
    ("real", &["NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1"]),
    (
        "double precision",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "5e-324",
            "1.7976931348623157e308",
            "0.30000000000000004",
        ],
    ),
    ("money", &["-92233720368547758.08", "0", "12.34"]),
    ("boolean", &["true", "false"]),
    ("text", &["", " ", "it''s \"quoted\"\\", "\n\t", "žluťoučký 🐘 ﷽", "\\N", "NULL", "{}"]),
    ("varchar(5)", &["", "abcde", "žluťo"]),
    ("character(5)", &["", "a", "abcde"]),
    ("\"char\"", &["a", "", "\\377"]),
    ("name", &["", "pg_class"]),
    ("bytea", &["", "\\x00", "\\x00ff5c27", "\\xdeadbeef"]),
    ("date", &["infinity", "-infinity", "4713-01-01 BC", "2000-02-29", "5874897-12-31"]),
    ("time", &["00:00:00", "24:00:00", "23:59:59.999999"]),
    ("timetz", &["00:00:00+15:59", "23:59:59.999999-15:59"]),
    ("time(2)", &["23:59:59.12"]),
    (
        "timestamp",
        &["infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"],
    ),
    (
        "timestamptz",
        &["infinity", "-infinity", "4713-01-02 00:00:00+00 BC", "2026-03-29 02:30:00+01"],
    ),
    ("timestamptz(0)", &["2026-10-25 02:30:00+02"]),
    (
        "interval",
        &["0", "-178000000 years", "1 year -2 mons +3 days -04:05:06.789", "-1 month +1 day"],
    ),
    ("interval day to second(3)", &["3 days 04:05:06.789"]),
    ("uuid", &["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("inet", &["192.168.1.5/24", "::1", "2001:db8::/32", "0.0.0.0/0"]),
    ("cidr", &["10.0.0.0/8", "2001:db8::/32"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("bit(5)", &["00000", "10101"]),
    ("bit", &["0", "1"]),
    ("bit varying", &["", "1", "101010101010101010101"]),
    ("bit varying(3)", &["", "101"]),
    ("json", &["{\"a\": 1,  \"a\":2}", "null", "[1, 2.50, \"\\u00e9\"]"]),
    ("jsonb", &["{\"b\": [1, null, {\"c\": \"d\"}]}", "null", "1e400", "\"\""]),
    ("jsonpath", &["$.a[*] ? (@ > 1)"]),
    ("point", &["(1,2)", "(NaN,-0)", "(1e308,Infinity)"]),
    ("line", &["{1,2,3}"]),
    ("lseg", &["[(0,0),(1,1)]"]),
    ("box", &["(1,1),(0,0)"]),
    ("path", &["[(0,0),(1,1)]", "((0,0),(1,1))"]),
    ("polygon", &["((0,0),(1,1),(1,0))"]),
    ("circle", &["<(0,0),5>"]),
    ("tsvector", &["", "''a'':1A ''fat'':2B,4C"]),
    ("tsquery", &["''fat'' & !''rat'' <-> ''cat'':AB"]),
    ("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
    ("oid", &["0", "4294967295"]),
    ("tid", &["(0,1)", "(4294967295,65535)"]),
    ("xid", &["0", "4294967295"]),
    ("cid", &["7"]),
    ("oidvector", &["", "1 2 3"]),
    ("int2vector", &["1 -2 3"]),
    ("txid_snapshot", &["10:20:10,14,15"]),
    ("int4range", &["empty", "[1,5)", "(,)", "(,5)"]),
    ("int8range", &["[1,9223372036854775806]"]),
    ("numrange", &["(1.50,2.5]", "[NaN,NaN]"]),
    ("tsrange", &["[2026-01-01,infinity)"]),
    ("tstzrange", &["[2026-01-01 00:00+00,2026-02-01 00:00+00]"]),
    ("daterange", &["[2026-01-01,2026-02-01)"]),
];

/// From PostgreSQL 13.
const SCALARS_13: &[Samples] =
    &[("xid8", &["0", "18446744073709551615"]), ("pg_snapshot", &["10:20:10,14,15"])];

/// From PostgreSQL 14.
const SCALARS_14: &[Samples] = &[
    ("numeric", &["Infinity", "-Infinity"]),
    ("int4multirange", &["{}", "{[1,3),[5,7)}"]),
    ("nummultirange", &["{[1.5,2.5],(3,)}"]),
    ("tstzmultirange", &["{[2026-01-01 00:00+00,2026-02-01 00:00+00)}"]),
    ("datemultirange[]", &["{\"{[2026-01-01,2026-02-01)}\",NULL}"]),
];

const COMPOUNDS: &[Samples] = &[
    ("integer[]", &["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1][-3:-2]={{1,2},{3,4}}"]),
    ("text[]", &["{}", "{\"\",NULL,\"NULL\",\"a\\\\b\\\"c\",\"{}\",\"ž,🐘\"}"]),
    ("numeric(6,2)[]", &["{1.10,NaN,NULL}"]),
    ("bytea[]", &["{\"\\\\x00ff\",NULL,\"\\\\x\"}"]),
    ("bit(3)[]", &["{101,NULL}"]),
    ("varchar(3)[]", &["{abc,NULL,\"\"}"]),
    ("timestamptz[]", &["{infinity,\"2026-03-29 02:30:00+01\"}"]),
    ("jsonb[]", &["{\"{\\\"a\\\": 1}\",NULL}"]),
    ("box[]", &["{(1,1),(0,0);(2,2),(1,1)}"]),
    ("int4range[]", &["{\"[1,5)\",empty,NULL}"]),
    ("mood", &["sad", "it''s, \"complicated\"", "🙂"]),
    ("mood[]", &["{sad,NULL,🙂}"]),
    ("pair", &["(1,a)", "(,)", "(2,\"x \"\"y\"\", (z)\")"]),
    ("pair[]", &["{\"(1,a)\",NULL}"]),
    ("nested", &["(\"{\"\"(1,a)\"\"}\",sad,\"[1,5)\")", "(,,)"]),
    ("small", &["1", "99"]),
    ("small[]", &["{1,NULL}"]),
    ("small_list", &["{1,2}"]),
    ("moods", &["{sad}"]),
    ("varied", &["abcd"]),
    ("float_range", &["[0.1,0.30000000000000004)", "empty"]),
    ("small_range", &["[1,5]"]),
];

const COMPOUND_TYPES: &str = "
    create type mood as enum ('sad', 'it''s, \"complicated\"', '🙂');
    create type pair as (a int, \"B b\" text);
    create type nested as (list pair[], feeling mood, span int4range);
    create domain small as int check (value between 1 and 99);
    create domain small_list as int[] check (array_length(value, 1) < 5);
    create domain moods as mood[];
    create domain varied as varchar(5);
    create type float_range as range (subtype = float8);
    create type small_range as range (subtype = small);
";

/// All samples that a server of this major version has, one entry a table.
fn samples(major: u32) -> Vec<Samples> {
    let mut all = [SCALARS, COMPOUNDS].concat();
    if major >= 13 {
        all.extend(SCALARS_13);
    }
    if major >= 14 {
        all.extend(SCALARS_14);
    }
    all
}

fn literal(value: &str, type_name: &str) -> String {
    // The samples already double their single quotes.
    format!("'{value}'::{type_name}")
}

fn schema(samples: &[Samples]) -> String {
    let mut sql = COMPOUND_TYPES.to_owned();
    for (n, (type_name, _)) in samples.iter().enumerate() {
        writeln!(
            sql,
            "create table keyed_{n} (id int primary key, v {type_name}, list {type_name}[]);
             create table bare_{n} (v {type_name});"
        )
        .expect("text");
    }
    // Arrays of arrays are spelt as one array type.
    sql.replace("[][]", "[]")
}

/// One transaction that inserts each value in each way a value can travel, `offset` keeping the
/// keys of base and stream apart.
fn inserts(samples: &[Samples], offset: usize) -> String {
    let mut sql = String::from("begin;\n");
    for (n, (type_name, values)) in samples.iter().enumerate() {
        for (k, value) in values.iter().enumerate() {
            let v = literal(value, type_name);
            let list = match type_name.ends_with("[]") {
                true => v.clone(),
                false => format!("array[{v}, null::{type_name}]"),
            };
            writeln!(
                sql,
                "insert into keyed_{n} values ({}, {v}, {list});
                 insert into bare_{n} values ({v}), ({v});",
                offset + k
            )
            .expect("text");
        }
        writeln!(
            sql,
            "insert into keyed_{n} values ({}); insert into bare_{n} values (null);",
            offset + 50
        )
        .expect("text");
    }
    sql.push_str("commit;");
    sql
}

/// Each row takes its neighbour's value, one becomes null, one goes; rows of the tables without a
/// key are found by the text of all columns.
fn changes(samples: &[Samples]) -> String {
    let mut sql = String::new();
    for (n, _) in samples.iter().enumerate() {
        writeln!(
            sql,
            "begin;
             update keyed_{n} k set v = s.v, list = s.list from keyed_{n} s
              where s.id = case when k.id % 100 = 50 then 100 else k.id + 1 end;
             update keyed_{n} set v = null where id = 0;
             delete from keyed_{n} where id = 150;
             delete from bare_{n} where ctid in (select min(ctid) from bare_{n} group by v::text);
             update bare_{n} set v = null where ctid = (select max(ctid) from bare_{n});
             commit;"
        )
        .expect("text");
    }
    sql
}

async fn every_type(link: &mut Link, samples: &[Samples]) {
    link.settle().await;
    link.apply(&inserts(samples, 100)).await;
    link.apply(&changes(samples)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w9_every_type_in_binary() {
    let samples = samples(pair().source.major());
    let builder = Link::builder().await.both(&schema(&samples)).await;
    let mut link = builder.at_source(&inserts(&samples, 0)).await.start().await;
    every_type(&mut link, &samples).await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w9_every_type_as_text() {
    let samples = samples(pair().source.major());
    let builder = Link::builder().await.both(&schema(&samples)).await;
    // The oid of a table is another one on the other side; its name is not.
    let builder = builder.both("create table named (id int primary key, c regclass)").await;
    let rows = "insert into named values (1, 'keyed_1'), (2, 'pg_class'), (3, null)";
    let builder = builder.at_source(&inserts(&samples, 0)).await.at_source(rows).await;
    let mut link = builder.start().await;
    every_type(&mut link, &samples).await;
    link.apply("insert into named values (4, 'keyed_2'), (5, 'pg_type')").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w9_extension_types_whose_oids_differ() {
    let source = pair().source.create_database(&pgtrail_tests::pair::fresh_name()).await;
    let destination = pair().destination.create_database(&source.name).await;
    // Other objects first, so that no oid is the same.
    destination.exec("create type one as (a int); create type two as enum ('x')").await;
    let schema = "create extension hstore; create extension citext; create type mood as enum ('a', 'b');
                  create table t (id int primary key, h hstore, c citext, m mood, ms mood[], hs hstore[])";
    let mut link = Link::between(&source, &destination)
        .both(schema)
        .await
        .at_source(
            "insert into t values (1, 'a=>1, b=>NULL', 'MiXed', 'b', '{a,NULL}', '{\"a=>1\"}')",
        )
        .await
        .start()
        .await;
    link.settle().await;
    link.apply(
        "insert into t select id + 1, h, c, m, ms, hs from t;
         update t set c = 'other', h = h || 'c=>\"x y\"', m = 'a' where id = 2",
    )
    .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_a_type_without_send_function_turns_the_stream_to_text() {
    let schema = "create table t (id int primary key, a int)";
    let mut link = Link::builder().await.both(schema).await.start().await;
    link.allow_all();
    link.apply("insert into t values (1, 1)").await;
    // The array's send function fails because its element has none: the stream breaks (42883).
    link.destination.exec("alter table t add acl aclitem[]").await;
    link.source.exec("alter table t add acl aclitem[]").await;
    link.apply("insert into t values (2, 2, '{postgres=r/postgres}'), (3, 3, null)").await;
    link.apply("update t set a = a + 1, acl = '{=r/postgres}'").await;
    link.finish().await;
}

/// Arrays and row types carry the oids of their elements, which a destination before 14 insists on.
/// What it would refuse, or take for another type, halts by name.
#[tokio::test(flavor = "multi_thread")]
async fn f1_element_oids_of_the_source_are_not_written_to_an_older_destination() {
    let Some(old) = Cluster::of_major(12) else {
        pgtrail_tests::Install::missing(12);
        return;
    };
    let old = old.start();
    let source = pair().source.create_database(&pgtrail_tests::pair::fresh_name()).await;
    let destination = old.create_database("d").await;
    destination.exec("create type one as (a int); create type two as enum ('x')").await;
    let types = "create type mood as enum ('a', 'b')";
    let table = "create table t (id int primary key, ms mood[])";
    let builder = Link::between(&source, &destination)
        .configured(|builder| builder.line("precheck", "accept = [\"user-type-arrays\"]"));
    let mut link = builder.both(types).await.both(table).await.start().await;
    link.source.exec("insert into t values (1, '{a,b}')").await;
    let stderr = link.applier_halts(3).await;
    assert!(stderr.contains("public.t"), "the table is named:\n{stderr}");
    assert_eq!(destination.text("select count(*) from t").await, "0");
}
