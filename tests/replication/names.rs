//! Names that need quoting, and tables of unusual width.

use std::fmt::Write as _;

use pgtrail_tests::Link;

#[tokio::test(flavor = "multi_thread")]
async fn w12_quoted_and_non_ascii_names() {
    let long = "é".repeat(31);
    let schema = format!(
        "create schema \"Sales; drop\"; create schema \"schéma 🐘\";
         create table \"Sales; drop\".\"t\"\"quote\" (\"Id\" int primary key, \"a b\" text, \"c\"\"d\" int, \"select\" int);
         create table \"schéma 🐘\".\"new\nline\" (\"ключ\" int primary key, \"列\" text);
         create table public.\"{long}\" (id int primary key, \"{long}\" text);
         create table public.\"with.dot\" (\"$1\" int, \"?\" text, \"back\\slash\" text);
         create type public.\"Mood 2\" as enum ('a''b', 'c\"d');
         create table public.\"User\" (\"order\" \"Mood 2\" primary key, \"list\" \"Mood 2\"[]);"
    );
    let rows = format!(
        "insert into \"Sales; drop\".\"t\"\"quote\" select n, 'x', n, n from generate_series(1, 10) n;
         insert into \"schéma 🐘\".\"new\nline\" values (1, 'π');
         insert into \"{long}\" values (1, 'π');
         insert into \"with.dot\" values (1, '?', '\\'), (1, '?', '\\');
         insert into \"User\" values ('a''b', '{{c\\\"d}}');"
    );
    let mut link = Link::builder().await.both(&schema).await.at_source(&rows).await.start().await;
    link.settle().await;
    link.apply(&format!(
        "update \"Sales; drop\".\"t\"\"quote\" set \"a b\" = 'y', \"select\" = 0 where \"Id\" < 5;
         update \"Sales; drop\".\"t\"\"quote\" set \"Id\" = -\"Id\" where \"Id\" = 9;
         insert into \"schéma 🐘\".\"new\nline\" values (2, null);
         update \"{long}\" set \"{long}\" = 'ω';
         delete from \"with.dot\" where ctid = '(0,1)';
         insert into \"with.dot\" values (2, '%s', E'\\t');
         update \"User\" set \"list\" = '{{}}';
         truncate \"schéma 🐘\".\"new\nline\";
         insert into \"User\" values ('c\"d', null)"
    ))
    .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w12_sixteen_hundred_columns() {
    let mut schema = String::from("create table wide (id int primary key");
    for n in 1..1600 {
        write!(schema, ", c{n} smallint").expect("text");
    }
    schema.push(')');
    let mut link = Link::builder().await.both(&schema).await.start().await;
    link.apply("insert into wide (id, c1, c1599) select n, n, -n from generate_series(1, 20) n")
        .await;
    link.apply("update wide set c800 = 1, c1 = null where id < 10; delete from wide where id = 15")
        .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selected_tables_only() {
    let schema = "
        create schema sales; create schema other;
        create table sales.a (id int primary key);
        create table sales.tmp (id int primary key);
        create table other.b (id int primary key);
        create table public.c (id int primary key);
    ";
    let mut link = Link::builder()
        .await
        .both(schema)
        .await
        .at_source("insert into sales.tmp values (1); insert into public.c values (1); insert into sales.a values (1)")
        .await
        .configured(|pipeline| {
            pipeline
                .line("objects", "schemas = [\"sales\"]")
                .line("objects", "tables = [\"other.b\"]")
                .line("objects", "exclude = [\"sales.tmp\"]")
        })
        .start()
        .await;
    link.source
        .exec(
            "begin; insert into public.c values (2); insert into sales.tmp values (2); commit;
             insert into sales.a values (2); insert into other.b values (3)",
        )
        .await;
    let selected = ["sales.a".to_owned(), "other.b".to_owned()];
    link.settle_tables(&selected, pgtrail_tests::link::SETTLE_WITHIN).await;
    for table in ["sales.tmp", "public.c"] {
        assert_eq!(link.destination.text(&format!("select count(*) from {table}")).await, "0");
    }
    link.stop().await;
}
