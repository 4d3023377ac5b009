//! Partitioned tables: leaf by leaf, rows that move between leaves included.

use pgtrail_tests::Link;

const SCHEMA: &str = "
    create table p (id int, region text, v int, primary key (id, region)) partition by list (region);
    create table p_north partition of p for values in ('north') partition by range (id);
    create table p_north_1 partition of p_north for values from (0) to (100);
    create table p_north_2 partition of p_north for values from (100) to (1000);
    create table p_south partition of p for values in ('south');
    create table p_rest partition of p default;
    create table bare (a int, b text) partition by hash (a);
    create table bare_0 partition of bare for values with (modulus 2, remainder 0);
    create table bare_1 partition of bare for values with (modulus 2, remainder 1);
";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_all_levels_and_between_them() {
    let rows = "
        insert into p select n, (array['north', 'south', 'west'])[n % 3 + 1], n from generate_series(0, 299) n;
        insert into bare select n % 10, 'x' from generate_series(1, 100) n;
    ";
    let mut link = Link::builder().await.both(SCHEMA).await.at_source(rows).await.start().await;
    link.settle().await;
    link.apply(
        "update p set v = v + 1 where id % 2 = 0; update p set region = 'south' where id < 30",
    )
    .await;
    link.apply("update p set id = id + 500 where region = 'north' and id < 60; delete from p where v > 250")
        .await;
    link.apply("update bare set a = a + 1, b = 'y' where a < 3; delete from bare where a = 7")
        .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_table_becomes_a_leaf_of_the_same_name() {
    // The leaves' names are what arrives; at the destination the leaf may stand alone.
    let mut link = Link::builder()
        .await
        .at_source(
            "create table p (id int primary key, v text) partition by range (id);
             create table p1 partition of p for values from (0) to (100);
             create table p2 partition of p for values from (100) to (200);
             insert into p select n, 'x' from generate_series(0, 150) n",
        )
        .await
        .at_destination(
            "create table p1 (id int primary key, v text);
             create table p2 (v text, id int primary key)",
        )
        .await
        .start()
        .await;
    link.settle().await;
    link.apply(
        "update p set id = id + 100 where id between 51 and 90; delete from p where id % 7 = 0",
    )
    .await;
    link.finish().await;
}
