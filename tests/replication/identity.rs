//! What identifies a row: primary key, another unique index, all columns, or nothing at all.

use pgtrail_tests::Link;

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_identity() {
    let schema = "
        create table by_key (a int, b text, c int, primary key (b, a));
        create table by_index (a int not null, b text, u int not null);
        create unique index by_index_u on by_index (u);
        alter table by_index replica identity using index by_index_u;
        create table by_all (id int primary key, b text, c float8);
        alter table by_all replica identity full;
        create table by_nothing (a int, b text);
    ";
    let rows = "
        insert into by_key select n, 'k' || n % 5, n from generate_series(1, 100) n;
        insert into by_index select n, 'x', -n from generate_series(1, 100) n;
        insert into by_all select n, null, n / 10.0 from generate_series(1, 100) n;
        insert into by_nothing select n % 10, nullif('t' || n % 3, 't0') from generate_series(1, 100) n;
    ";
    let mut link = Link::builder().await.both(schema).await.at_source(rows).await.start().await;
    link.settle().await;
    link.apply(
        "update by_key set c = c + 1 where a % 2 = 0;
         update by_index set b = 'y' where a % 3 = 0;
         update by_all set b = 'z', c = c * 3 where id % 4 = 0;
         update by_nothing set b = 'changed' where a = 3;",
    )
    .await;
    link.apply(
        "update by_key set a = a + 1000, b = b || '!' where a <= 10;
         update by_index set u = u - 1000, a = a + 1 where a <= 10;
         update by_all set id = id + 1000 where id <= 10;
         update by_nothing set a = null where a = 4;",
    )
    .await;
    link.apply(
        "delete from by_key where a between 20 and 40;
         delete from by_index where a between 20 and 40;
         delete from by_all where id between 20 and 40;
         delete from by_nothing where a in (5, 6) or b is null;",
    )
    .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_of_three_equal_rows_without_a_key_one_goes() {
    let schema = "create table t (a int, b json, c point, d xml, e text)";
    let rows = "
        insert into t select 1, '{\"a\":  1}', '(1,2)', '<a/>', null from generate_series(1, 3);
        insert into t select 2, null, null, null, '' from generate_series(1, 3);
        insert into t select n, null, null, null, 'filler' from generate_series(10, 2000) n;
    ";
    let mut link = Link::builder().await.both(schema).await.at_source(rows).await.start().await;
    link.settle().await;
    link.apply("delete from t where ctid = (select min(ctid) from t where a = 1)").await;
    link.apply("update t set e = 'one of them' where ctid = (select max(ctid) from t where a = 2)")
        .await;
    // Two of the equal rows in one statement, among many others.
    link.apply(
        "begin;
         delete from t where ctid in (select ctid from t where a = 2 and e = '' limit 2);
         insert into t values (1, '{\"a\":  1}', '(1,2)', '<a/>', null);
         update t set e = e || '!' where a between 100 and 900;
         delete from t where a between 500 and 600;
         commit",
    )
    .await;
    assert_eq!(link.destination.text("select count(*) from t where a = 1").await, "3");
    assert_eq!(link.destination.text("select count(*) from t where a = 2").await, "1");
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keyless_tables_of_all_sorts() {
    let schema = "create table doubles (x float8); create table nulls (a int, b text)";
    let rows = "
        insert into doubles values (0.1), (0.30000000000000004), ('-0'), ('0'), ('NaN'), ('NaN');
        insert into nulls values (null, null), (null, null), (1, null);
    ";
    let mut link = Link::builder().await.both(schema).await.at_source(rows).await.start().await;
    link.settle().await;
    link.apply(
        "delete from doubles where ctid in (select min(ctid) from doubles where x = 'NaN');
         update doubles set x = 7 where x::text = '-0';
         delete from nulls where ctid = (select min(ctid) from nulls)",
    )
    .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e6_chains_and_swaps_of_unique_values() {
    let schema = "
        create table chain (id int primary key, u int unique);
        create table swapped (id int primary key, u int, unique (u) deferrable initially deferred);
    ";
    // In descending order, so that the source itself can count them up one by one.
    let rows = "
        insert into chain select n, n from generate_series(50, 1, -1) n;
        insert into swapped select n, n from generate_series(1, 50) n;
    ";
    let mut link = Link::builder().await.both(schema).await.at_source(rows).await.start().await;
    link.settle().await;
    link.apply("update chain set id = id + 1, u = u + 1").await;
    link.apply("update swapped set u = 51 - u").await;
    // Freed by one row and taken by another, in either order.
    link.apply(
        "begin;
         delete from chain where id = 10;
         insert into chain values (100, 10);
         update chain set u = 1000 where id = 11;
         update chain set u = 11 where id = 12;
         delete from chain where id = 100;
         insert into chain values (10, 10);
         commit",
    )
    .await;
    link.apply(
        "begin;
         update swapped set u = u + 100 where id = 1;
         update swapped set u = 50 where id = 2;
         update swapped set u = 49 where id = 1;
         commit",
    )
    .await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_to_the_same_rows_end_as_the_last() {
    let schema = "create table t (id int primary key, n int, v text)";
    let mut link = Link::builder().await.both(schema).await.start().await;
    link.apply(
        "do $$ begin
             for i in 1..300 loop
                 insert into t values (i, 0, 'a');
                 update t set n = n + 1 where id = i;
                 if i % 3 = 0 then delete from t where id = i; end if;
                 if i % 6 = 0 then insert into t values (i, 100, 'again'); end if;
                 if i % 12 = 0 then update t set id = id + 10000 where id = i; end if;
             end loop;
         end $$",
    )
    .await;
    link.apply("update t set v = v || n; delete from t where n = 100 and id < 10000").await;
    link.finish().await;
}
