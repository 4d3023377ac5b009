//! One fault at a time: what each must not cost, and how each must end.
//!
//! Names begin with the row of the fault matrix they prove: `p` processes, `n` network, `d` disk,
//! `s` source, `t` destination, and `c`, `f` for what was found out about the server itself. Every
//! test that heals its fault ends with both sides equal.

mod destination;
mod disk;
mod failpoints;
mod network;
mod process;
mod retention;
mod slot;
mod source;

use std::time::Duration;

use pgtrail_tests::{Ledger, LedgerOptions, Link, LinkBuilder, Pair, pair, seed};

/// Long enough for a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

const TABLE: &str = "create table t (id int primary key, v text)";

/// A link with one small table and a few rows, settled.
async fn small() -> Link {
    let mut link = small_builder().await.start().await;
    link.settle().await;
    link
}

async fn small_builder() -> LinkBuilder {
    Link::builder()
        .await
        .both(TABLE)
        .await
        .at_source("insert into t values (1, 'a'), (2, 'b')")
        .await
}

/// As [`small`], between servers of its own, for tests that stop or hurt a server.
async fn small_own() -> (Pair, Link) {
    let pair = Pair::start();
    let source = pair.source.create_database("d").await;
    let destination = pair.destination.create_database("d").await;
    let builder = Link::between(&source, &destination).both(TABLE).await;
    let builder = builder.at_source("insert into t values (1, 'a'), (2, 'b')").await;
    let mut link = builder.start().await;
    link.settle().await;
    (pair, link)
}

/// The ledger on the shared servers with a running pipeline, loaded.
async fn ledger(test: &str, options: LedgerOptions) -> (Ledger, Link) {
    let (source, destination) = pair().fresh_databases().await;
    let options = LedgerOptions { seed: seed(test), ..options };
    let ledger = Ledger::create(&source, &destination, options).await;
    let mut link = Link::between(&source, &destination).start().await;
    link.settle().await;
    (ledger, link)
}
