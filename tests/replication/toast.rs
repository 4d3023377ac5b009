//! Values stored out of line that an update leaves alone are not sent; they must stay.

use pgtrail_tests::Link;

const SCHEMA: &str = "
    create table t (id int primary key, n int, big text, small text);
    create table whole (id int primary key, n int, big text);
    create table bare (n int, big text);
    create table keyed_by_big (big text primary key, n int);
    alter table t alter big set storage external;
    alter table whole alter big set storage external, replica identity full;
    alter table bare alter big set storage external;
";

const ROWS: &str = "
    insert into t select n, 0, repeat(md5(n::text), 700), 'x' from generate_series(1, 40) n;
    insert into whole select id, n, big from t;
    insert into bare select n, big from t;
";

async fn link() -> Link {
    Link::builder().await.both(SCHEMA).await.at_source(ROWS).await.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_unchanged_values_stay() {
    let mut link = link().await;
    link.settle().await;
    link.apply("update t set n = n + 1; update whole set n = n + 1; update bare set n = id from t where bare.big = t.big")
        .await;
    link.apply("update t set n = n + 1 where id % 3 = 0; delete from bare where n % 2 = 0").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_a_changed_key_keeps_the_unchanged_value() {
    let mut link = link().await;
    link.settle().await;
    link.apply("update t set id = id + 1000 where id <= 20").await;
    link.apply("begin; update t set id = -id; update t set n = 7 where id < -1000; commit").await;
    link.apply("update whole set id = id + 1000").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_null_and_large_take_turns() {
    let mut link = link().await;
    link.settle().await;
    link.apply("update t set big = null where id % 2 = 0").await;
    link.apply("update t set big = repeat('y', 30000) where id % 4 = 0; update t set n = 1").await;
    link.apply("update bare set big = null where n = 0; update whole set big = null, n = 3").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_several_changes_to_a_row_in_one_transaction() {
    let mut link = link().await;
    link.settle().await;
    // Folding these must not lose the value that only the first of them carries.
    link.apply(
        "begin;
         insert into t values (500, 0, repeat('z', 30000), 'a');
         update t set n = 1 where id = 500;
         update t set small = 'b' where id = 500;
         update t set id = 501 where id = 500;
         update t set n = 2 where id = 501;
         update t set big = repeat('w', 30000) where id = 1;
         update t set n = 9 where id = 1;
         update t set n = 8 where id = 2;
         update t set big = 'short', n = 10 where id = 2;
         update t set n = 3, small = null where id = 3;
         update t set n = 4 where id = 3;
         delete from t where id = 4;
         insert into t values (4, 4, repeat('v', 30000), 'again');
         update t set n = 5 where id = 4;
         commit",
    )
    .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_a_large_key() {
    let mut link = link().await;
    // Not compressible, and near the most that a key of an index may be.
    let key = "(select string_agg(md5((n * k)::text), '') from generate_series(1, 75) k)";
    link.source
        .exec(&format!("insert into keyed_by_big select {key}, n from generate_series(1, 5) n"))
        .await;
    link.settle().await;
    link.apply("update keyed_by_big set n = n * 10; delete from keyed_by_big where n = 20").await;
    link.apply("update keyed_by_big set big = md5(big) where n = 30").await;
    link.finish().await;
}
