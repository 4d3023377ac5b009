//! Tables whose columns stand differently on the two sides.

use pgtrail_tests::Link;

#[tokio::test(flavor = "multi_thread")]
async fn w8_another_order_and_dropped_columns_on_either_side() {
    let mut link = Link::builder()
        .await
        .at_source(
            "create table t (gone_1 int, id int primary key, a text, gone_2 text, b int[], c numeric);
             alter table t drop gone_1, drop gone_2;
             create table bare (gone int, a int, b text);
             alter table bare drop gone",
        )
        .await
        .at_destination(
            "create table t (c numeric, gone_3 int, b int[], gone_4 bigint, a text, id int primary key);
             alter table t drop gone_3, drop gone_4;
             create table bare (b text, gone int, a int);
             alter table bare drop gone",
        )
        .await
        .at_source(
            "insert into t select n, 'a' || n, array[n, null], n / 3.0 from generate_series(1, 50) n;
             insert into bare select n % 5, 'x' from generate_series(1, 50) n",
        )
        .await
        .start()
        .await;
    link.settle().await;
    link.apply(
        "insert into t values (100, 'new', '{{1,2},{3,4}}', 'NaN');
         update t set b = b || 7, c = c + 1 where id % 2 = 0 and id <> 100;
         update t set id = id + 1000 where id < 5;
         delete from t where id = 30;
         update bare set b = 'y' where a = 1;
         delete from bare where a = 2",
    )
    .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_wider_at_the_destination() {
    let mut link = Link::builder()
        .await
        .at_source("create table t (id int primary key, a int, b varchar(5), c real, d text, e int[])")
        .await
        .at_destination(
            "create table t (id bigint primary key, a bigint, b text, c float8, d varchar(10), e bigint[])",
        )
        .await
        .at_source("insert into t select n, n, 'b' || n, n / 4.0, 'd', array[n] from generate_series(1, 20) n")
        .await
        .start()
        .await;
    link.settle().await;
    link.apply(
        "insert into t values (100, -5, 'abcde', 0.5, 'exactly 10', '{{1},{2}}');
         update t set a = a * 2, c = c + 1 where id < 10;
         update t set id = id + 1000 where id = 3;
         delete from t where id = 4",
    )
    .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_value_too_long_for_the_destination_halts_and_is_not_cut() {
    let mut link = Link::builder()
        .await
        .at_source("create table t (id int primary key, v text)")
        .await
        .at_destination("create table t (id int primary key, v varchar(3))")
        .await
        .start()
        .await;
    link.apply("insert into t values (1, 'abc')").await;
    link.source.exec("insert into t values (2, 'abcd')").await;
    let stderr = link.applier_halts(3).await;
    assert!(stderr.contains("22001"), "the server's word for it:\n{stderr}");
    assert!(!stderr.contains("abcd"), "no column values in messages:\n{stderr}");
    assert_eq!(link.destination.text("select count(*) from t").await, "1");
}
