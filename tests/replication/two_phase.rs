//! Transactions in two phases: they arrive whole at COMMIT PREPARED, or not at all.

use pgtrail_tests::pair::fresh_name;
use pgtrail_tests::{Link, LinkBuilder, Pair};

const SCHEMA: &str =
    "create table t (id int primary key, v text); create table other (id int primary key)";

/// Servers of their own: a prepared transaction that a failing test leaves behind would keep every
/// other test from creating its slot.
async fn own_pair() -> (Pair, LinkBuilder) {
    let pair = Pair::start();
    let name = fresh_name();
    let source = pair.source.create_database(&name).await;
    let destination = pair.destination.create_database(&name).await;
    let builder = Link::between(&source, &destination).both(SCHEMA).await;
    (pair, builder)
}

fn prepared(name: &str, from: u32, to: u32) -> String {
    format!(
        "begin; insert into t select n, '{name}' || repeat('x', 100) from generate_series({from}, {to}) n;
         prepare transaction '{name}'"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn w4_prepared_committed_and_rolled_back() {
    let (_pair, builder) = own_pair().await;
    let mut link = builder.start().await;
    let name = &link.pipeline.name.clone();
    let ids = [format!("{name}_a"), format!("{name}_b"), format!("{name}_c")];
    link.source.exec(&prepared(&ids[0], 1, 10)).await;
    link.source.exec(&prepared(&ids[1], 11, 3000)).await;
    link.source.exec(&prepared(&ids[2], 3001, 3010)).await;
    link.apply("insert into other values (1)").await;
    link.apply(&format!("rollback prepared '{}'", ids[1])).await;
    link.apply(&format!("commit prepared '{}'", ids[2])).await;
    link.source.exec("insert into other values (2)").await;
    link.apply(&format!("commit prepared '{}'", ids[0])).await;
    assert_eq!(link.destination.text("select count(*) from t").await, "20");
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_rows_prepared_before_a_restart_arrive_at_commit() {
    let (_pair, builder) = own_pair().await;
    let mut link = builder.start().await;
    let id = format!("{}_across", link.pipeline.name);
    link.source.exec(&prepared(&id, 1, 500)).await;
    // Confirmed well past the PREPARE, then both processes go.
    link.apply("insert into other values (1)").await;
    let lsn = link.source.text("select pg_current_wal_lsn()").await;
    link.source.exec("insert into other values (2)").await;
    link.pipeline.wait_confirmed(&lsn, pgtrail_tests::link::SETTLE_WITHIN).await;
    link.stop().await;
    link.restart();
    link.apply("insert into other values (3)").await;
    link.apply(&format!("commit prepared '{id}'")).await;
    assert_eq!(link.destination.text("select count(*) from t").await, "500");
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_prepared_before_the_copy_and_committed_after_it() {
    let (_pair, builder) = own_pair().await;
    let name = builder.source().name.clone();
    // Creating a slot waits for transactions that run, prepared ones included, so this one is
    // prepared while the copy is under way: before the applier starts, after the slot exists.
    let pipeline =
        pgtrail_tests::Pipeline::builder(builder.source(), builder.destination()).build();
    builder.source().exec("insert into t values (100000, 'old')").await;
    pipeline.init().await;
    builder.source().exec(&prepared(&format!("{name}_early"), 1, 50)).await;
    let (reader, applier) = (pipeline.reader(), pipeline.applier());
    let mut link = Link {
        source: builder.source().clone(),
        destination: builder.destination().clone(),
        pipeline,
        reader,
        applier,
    };
    link.settle().await;
    link.source.exec("insert into other values (1)").await;
    link.apply(&format!("commit prepared '{name}_early'")).await;
    assert_eq!(link.destination.text("select count(*) from t").await, "51");
    link.finish().await;
}
