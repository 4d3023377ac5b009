//! Large transactions and large values, and the memory both processes need for them.
//!
//! `PGTRAIL_LARGE_MB` scales the transactions (300 by default; 2048 is what is promised); from 1000
//! on the value of 270 MB is tried, too.

use std::time::Duration;

use pgtrail_tests::seed::number;
use pgtrail_tests::{Link, LinkBuilder, wait_for};

/// What a process may hold, beside three times the largest single message.
const RESIDENT_MAX: u64 = 300 << 20;

fn megabytes() -> u64 {
    number("PGTRAIL_LARGE_MB", 300)
}

/// Slower machines and debug servers included.
fn patience() -> Duration {
    Duration::from_secs(60 + megabytes())
}

async fn with_memory(setting: &str) -> LinkBuilder {
    let schema = "create table big (id int primary key, n int, note text)";
    let builder = Link::builder().await.both(schema).await;
    let name = builder.source().name.clone();
    builder
        .at_source(&format!("alter database {name} set logical_decoding_work_mem = '{setting}'"))
        .await
}

/// One transaction of about so many megabytes, a kilobyte a row.
async fn one_transaction(link: &Link) {
    let rows = megabytes() * 1000;
    link.source
        .exec(&format!(
            "begin;
             insert into big select n, n, repeat(md5(n::text), 30) from generate_series(1, {rows}) n;
             update big set n = -n where id % 10 = 0;
             delete from big where id % 11 = 0;
             commit"
        ))
        .await;
}

/// Both processes' peaks while `work` settles.
async fn settle_in_bounds(link: &mut Link, allowance: u64) {
    let tables = vec!["public.big".to_owned()];
    wait_for("the transaction to arrive", patience(), async || {
        assert!(link.reader.is_running() && link.applier.is_running(), "both run");
        let waiting = link.destination.text("select count(*) from big").await == "0";
        (!waiting).then_some(())
    })
    .await;
    link.settle_tables(&tables, patience()).await;
    for (what, process) in [("reader", &link.reader), ("applier", &link.applier)] {
        let (_, peak) = process.resident_bytes();
        println!("{what}: at most {} MB resident", peak >> 20);
        assert!(peak < RESIDENT_MAX + allowance, "{what} took {} MB", peak >> 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_a_large_transaction_streamed() {
    let mut link = with_memory("64kB").await.start().await;
    one_transaction(&link).await;
    settle_in_bounds(&mut link, 0).await;
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_a_large_transaction_in_one_piece() {
    let mut link = with_memory("4GB").await.start().await;
    one_transaction(&link).await;
    settle_in_bounds(&mut link, 0).await;
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_a_large_transaction_rolled_back_leaves_nothing() {
    let link = with_memory("64kB").await.start().await;
    link.source
        .exec(
            "begin;
             insert into big select n, n, repeat(md5(n::text), 30) from generate_series(1, 60000) n;
             rollback;
             insert into big values (1, 1, 'after')",
        )
        .await;
    link.finish().await;
}

/// Small rows arrive in bursts of many thousand messages. Every one of them has to be taken in.
#[tokio::test(flavor = "multi_thread")]
async fn g2_long_bursts_of_small_rows_lose_none() {
    let schema = "create table small (txn int, n int, primary key (txn, n))";
    let link = Link::builder().await.both(schema).await.start().await;
    for txn in 1..=20 {
        link.source
            .exec(&format!(
                "insert into small select {txn}, n from generate_series(1, 20000) n;
                 delete from small where txn = {txn} - 3"
            ))
            .await;
    }
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_values_of_many_megabytes() {
    let schema = "create table v (id int primary key, n int, b bytea, t text);
                  create table whole (id int primary key, b bytea);
                  alter table whole replica identity full";
    let value = |megabytes: u32| {
        format!("decode(repeat(md5('{megabytes}'), {megabytes} * 1024 * 32), 'hex')")
    };
    let rows = format!("insert into v values (1, 1, {}, null)", value(20));
    let mut link = Link::builder().await.both(schema).await.at_source(&rows).await.start().await;
    link.settle().await;
    link.apply(&format!(
        "insert into v values (2, 2, {}, repeat('é', 10 * 1024 * 1024));
         update v set n = n + 1;
         insert into whole values (1, {})",
        value(30),
        value(16)
    ))
    .await;
    link.apply(&format!("update whole set b = {}; delete from v where id = 2", value(17))).await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_a_value_of_270_megabytes() {
    if megabytes() < 1000 {
        println!("skipped: PGTRAIL_LARGE_MB is below 1000");
        return;
    }
    let schema = "create table big (id int primary key, b bytea)";
    let mut link = Link::builder().await.both(schema).await.start().await;
    // Two halves, since the text of one argument is bounded as well.
    let value = "repeat(md5(random()::text), 270 * 1024 * 32)::bytea";
    link.source.exec(&format!("insert into big values (1, {value})")).await;
    settle_in_bounds(&mut link, 3 * (280 << 20)).await;
    link.source.exec(&format!("update big set b = {value}")).await;
    link.settle_within(patience()).await;
    link.stop().await;
}
