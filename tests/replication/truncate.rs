//! TRUNCATE: the same tables, in one statement, and nothing else.

use pgtrail_tests::Link;

const SCHEMA: &str = "
    create table parent (id int primary key);
    create table child (id int primary key, parent int references parent);
    create table grandchild (id serial primary key, child int references child);
    create table alone (id int primary key);
";
const ROWS: &str = "
    insert into parent select generate_series(1, 10);
    insert into child select n, n from generate_series(1, 10) n;
    insert into grandchild (child) select n from generate_series(1, 10) n;
    insert into alone select generate_series(1, 10);
";

#[tokio::test(flavor = "multi_thread")]
async fn w7_several_tables_with_foreign_keys() {
    let mut link = Link::builder().await.both(SCHEMA).await.at_source(ROWS).await.start().await;
    link.settle().await;
    link.apply("truncate grandchild").await;
    link.apply("truncate parent, child, grandchild restart identity").await;
    link.apply(ROWS.replace("insert into alone select generate_series(1, 10);", "").as_str()).await;
    link.apply("truncate parent cascade").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_in_the_middle_of_a_transaction() {
    let mut link = Link::builder().await.both(SCHEMA).await.at_source(ROWS).await.start().await;
    link.settle().await;
    link.apply(
        "begin;
         insert into alone values (100);
         update alone set id = 101 where id = 1;
         truncate alone;
         insert into alone values (1), (2), (3);
         delete from alone where id = 2;
         savepoint s; truncate alone; rollback to s;
         commit",
    )
    .await;
    assert_eq!(link.destination.text("select count(*) from alone").await, "2");
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_cascade_never_reaches_a_table_outside_the_selection() {
    let outside = "create table outside (id int primary key, parent int references parent);";
    let mut link = Link::builder()
        .await
        .both("create table parent (id int primary key)")
        .await
        .at_destination(outside)
        .await
        .at_source("insert into parent values (1), (2)")
        .await
        .start()
        .await;
    link.settle().await;
    link.destination.exec("insert into outside values (1, 1)").await;
    link.source.exec("truncate parent cascade").await;
    let stderr = link.applier_halts(3).await;
    assert!(stderr.contains("parent"), "the table is named:\n{stderr}");
    assert_eq!(link.destination.text("select count(*) from outside").await, "1");
    assert_eq!(link.destination.text("select count(*) from parent").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_partitions_one_or_all() {
    let schema = "
        create table p (id int, v text, primary key (id)) partition by range (id);
        create table p1 partition of p for values from (0) to (100);
        create table p2 partition of p for values from (100) to (200);
    ";
    let rows = "insert into p select n, 'x' from generate_series(0, 199) n";
    let mut link = Link::builder().await.both(schema).await.at_source(rows).await.start().await;
    link.settle().await;
    link.apply("truncate p1").await;
    assert_eq!(link.destination.text("select count(*) from p").await, "100");
    link.apply("truncate p; insert into p values (5, 'y')").await;
    link.finish().await;
}
