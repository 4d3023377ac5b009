//! The comparison of two databases.

use pgtrail_postgres::mapping::Mapping;
use pgtrail_tests::{Cluster, Install, Sql, pair};
use pgtrail_tools::compare::{Comparison, TableComparison, compare};

async fn two(source: &str, destination: &str) -> (Sql, Sql) {
    let (from, to) = pair().fresh_databases().await;
    let (from, to) = (from.connect().await, to.connect().await);
    from.exec(source).await;
    to.exec(destination).await;
    (from, to)
}

async fn compared(source: &Sql, destination: &Sql, names: &[&str]) -> Comparison {
    let tables: Vec<_> =
        names.iter().map(|name| ("public".to_owned(), (*name).to_owned())).collect();
    compare(source, destination, &Mapping::identity(), &tables).await.expect("compares")
}

async fn one(source: &str, destination: &str) -> TableComparison {
    let (source, destination) = two(source, destination).await;
    compared(&source, &destination, &["t"]).await.tables.remove(0)
}

fn examples(table: &TableComparison) -> Vec<String> {
    table.differences.examples.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn column_order_dropped_columns_and_settings_do_not_matter() {
    let (source, destination) = two(
        "create table t (id int primary key, gone int, at timestamptz, f float8, b bytea); \
         alter table t drop gone; \
         insert into t values (1, '2026-01-02 03:04:05+00', 0.1, '\\x00ff'), (2, null, 'NaN', '')",
        "create table t (b bytea, f float8, id int primary key, at timestamptz, extra int); \
         insert into t (id, at, f, b) values \
             (2, null, 'NaN', ''), (1, '2026-01-02 03:04:05+00', 0.1, '\\x00ff'); \
         set timezone = 'Asia/Kolkata'; set datestyle = 'German'; set bytea_output = 'escape'; \
         set extra_float_digits = -3",
    )
    .await;
    let comparison = compared(&source, &destination, &["t"]).await;
    assert!(comparison.equal(), "{comparison:?}");
    assert_eq!(comparison.tables[0].extra_columns, ["extra"]);
    assert_eq!(comparison.tables[0].source_rows, 2);
    assert_eq!(destination.text("show timezone").await, "Asia/Kolkata", "and are left alone");
}

#[tokio::test]
async fn missing_added_and_changed_rows_are_named_by_their_key() {
    let table = one(
        "create table t (a int, b text, v text, primary key (a, b)); \
         insert into t select g, 'k', 'secret' from generate_series(1, 1000) g",
        "create table t (a int, b text, v text, primary key (a, b)); \
         insert into t select g, 'k', 'secret' from generate_series(2, 1001) g; \
         update t set v = 'other' where a = 500",
    )
    .await;
    let found = &table.differences;
    assert_eq!((found.only_source, found.only_destination, found.changed), (1, 1, 1));
    let expected =
        ["(1,k) only at the source", "(1001,k) only at the destination", "(500,k) changed"];
    assert_eq!(examples(&table), expected);
    assert!(!format!("{table:?} {table}").contains("secret"), "values are not shown");
}

#[tokio::test]
async fn tables_without_key_are_multisets_of_any_types() {
    let schema = "create table t (j json, x xml, p point);";
    let row = "('{\"a\": 1}', '<a/>', '(1,2)')";
    let table = one(
        &format!("{schema} insert into t values {row}, {row}, {row}, (null, null, null)"),
        &format!("{schema} insert into t values {row}, (null, null, null), {row}"),
    )
    .await;
    assert_eq!((table.source_rows, table.destination_rows), (4, 3));
    assert_eq!((table.differences.only_source, table.differences.only_destination), (1, 0));
    assert!(examples(&table)[0].starts_with("row "));
    let equal = one(
        &format!("{schema} insert into t values {row}, {row}, (null, null, null)"),
        &format!("{schema} insert into t values (null, null, null), {row}, {row}"),
    )
    .await;
    assert!(equal.equal(), "{equal:?}");
}

#[tokio::test]
async fn null_and_empty_and_look_alikes_differ() {
    for (left, right) in [
        ("null::text, 'b'::text", "''::text, 'b'::text"),
        ("'a,b'::text, 'c'::text", "'a'::text, 'b,c'::text"),
        ("1.0::numeric, ''::text", "1.00::numeric, ''::text"),
        ("'-0'::float8, ''::text", "'0'::float8, ''::text"),
        ("'{\"a\":1}'::json, ''::text", "'{\"a\": 1}'::json, ''::text"),
    ] {
        let table = one(
            &format!("create table t (a, b) as select {left}"),
            &format!("create table t (a, b) as select {right}"),
        )
        .await;
        assert!(!table.equal(), "{left} and {right}");
    }
}

#[tokio::test]
async fn generated_columns_are_compared() {
    let table = one(
        "create table t (id int primary key, g int generated always as (id * 2) stored); \
         insert into t values (1)",
        "create table t (id int primary key, g int generated always as (id * 3) stored); \
         insert into t values (1)",
    )
    .await;
    assert_eq!(table.differences.changed, 1);
}

#[tokio::test]
async fn what_is_missing_is_a_difference() {
    let (source, destination) = two(
        "create table t (id int, v int); create table only_here (id int)",
        "create table t (id int)",
    )
    .await;
    let comparison = compared(&source, &destination, &["t", "only_here"]).await;
    assert!(!comparison.equal());
    assert_eq!(comparison.tables[0].missing_columns, ["v"]);
    assert_eq!(comparison.tables[1].to_string(), "public.only_here: missing at the destination");
    assert_eq!(source.text("select 1").await, "1", "the sessions are in no transaction");
}

#[tokio::test]
async fn children_are_their_own_and_partitions_their_parents() {
    let parted = "create table parted (id int) partition by range (id); \
         create table parted_1 partition of parted for values from (0) to (10);";
    let (source, destination) = two(
        &format!(
            "create table t (id int); create table child () inherits (t); {parted} \
             insert into t values (1); insert into child values (2); insert into parted values (3)"
        ),
        "create table t (id int); create table child (id int); create table parted (id int); \
         create table parted_1 (id int); insert into t values (1); insert into child values (2); \
         insert into parted values (3); insert into parted_1 values (3)",
    )
    .await;
    let names = ["t", "child", "parted", "parted_1"];
    let comparison = compared(&source, &destination, &names).await;
    assert!(comparison.equal(), "{comparison:#?}");
}

const MIXED: &str = "create table t (id int primary key, v text, f float8, a float8[]); \
     insert into t select g, 'ä ' || g, g / 3.0, array[g / 7.0] from generate_series(1, 500) g;";

async fn check_mixed(other: &Cluster) {
    let here = pair().source.create_database(&pgtrail_tests::pair::fresh_name()).await;
    let there = other.create_database(&pgtrail_tests::pair::fresh_name()).await;
    let (here, there) = (here.connect().await, there.connect().await);
    here.exec(MIXED).await;
    there.exec(MIXED).await;
    let comparison = compared(&here, &there, &["t"]).await;
    assert!(comparison.equal(), "{comparison:#?}");
    there.exec("update t set v = 'ö' where id in (10, 9)").await;
    let comparison = compared(&here, &there, &["t"]).await;
    assert_eq!(comparison.tables[0].differences.changed, 2);
    let keys: Vec<&str> = comparison.tables[0]
        .differences
        .examples
        .iter()
        .map(|example| example.key.as_str())
        .collect();
    assert_eq!(keys, ["(10)", "(9)"]);
}

#[tokio::test]
async fn other_encodings_compare() {
    check_mixed(&Cluster::builder().initdb("--encoding=LATIN1").start()).await;
}

#[tokio::test]
async fn other_majors_compare() {
    for major in [10, 11, 18] {
        match Cluster::of_major(major) {
            Some(cluster) => check_mixed(&cluster.start()).await,
            None => Install::missing(major),
        }
    }
}
