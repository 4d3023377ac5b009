//! Settings and the state of the servers.

use std::time::Duration;

use pgtrail_tests::{Cluster, Database, Install, Pipeline, Stop, pair, wait_until};

use crate::look::{databases, look, set, shows};

/// An item of a source with these settings: seen, mended by its first remedy, passed.
async fn setting(id: &str, settings: &[(&str, &str)], found: (&str, &str), restart: bool) {
    let mut builder = Cluster::builder();
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    let cluster = builder.start();
    let source = cluster.create_database("a").await;
    let (_, destination) = pair().fresh_databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", id]).await;
    seen.expect(id, found.0, found.1);
    let (place, sql) = seen.remedies(id).remove(0);
    assert_eq!(place, "source");
    set(&cluster, &sql, restart).await;
    look(&pipeline, &["--only", id]).await.expect(id, "pass", "");
}

#[tokio::test]
async fn wal_level() {
    setting("wal-level", &[("wal_level", "replica")], ("failure", "\"replica\""), true).await;
}

#[tokio::test]
async fn replication_slots() {
    let cluster = Cluster::builder().setting("max_replication_slots", "1").start();
    let source = cluster.create_database("full").await;
    source.exec("select pg_create_physical_replication_slot('taken')").await;
    let (_, destination) = pair().fresh_databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let only = ["--only", "replication-slots"];
    let seen = look(&pipeline, &only).await;
    seen.expect("replication-slots", "failure", "all 1");
    set(&cluster, &seen.remedies("replication-slots")[0].1, true).await;
    look(&pipeline, &only).await.expect("replication-slots", "pass", "1 of 2");
}

#[tokio::test]
async fn wal_senders_and_the_replication_connection() {
    let cluster = Cluster::builder().setting("max_wal_senders", "0").start();
    let source = cluster.create_database("none").await;
    let (_, destination) = pair().fresh_databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("wal-senders", "failure", "all 0");
    seen.expect("replication-connection", "failure", "refuses");
    set(&cluster, &seen.remedies("wal-senders")[0].1, true).await;
    let seen = look(&pipeline, &[]).await;
    seen.expect("wal-senders", "pass", "").expect("replication-connection", "pass", "");
}

#[tokio::test]
async fn wal_retention() {
    let little = [("max_slot_wal_keep_size", "64MB")];
    setting("wal-retention", &little, ("warning", "64 MB"), false).await;
    let more = [("max_slot_wal_keep_size", "10GB")];
    setting("wal-retention", &more, ("notice", "10 GB"), false).await;
}

#[tokio::test]
async fn timeouts_and_memory() {
    setting("wal-sender-timeout", &[("wal_sender_timeout", "0")], ("notice", "off"), false).await;
    let short = [("wal_sender_timeout", "'2s'")];
    setting("wal-sender-timeout", &short, ("notice", "2000 ms"), false).await;
    let little = [("logical_decoding_work_mem", "'1MB'")];
    setting("decoding-memory", &little, ("notice", "1.0 MB"), false).await;
}

#[tokio::test]
async fn slots_that_survive_a_switchover() {
    shows("slot-failover", "", "", ("notice", "do not survive")).await;
    let Some(builder) = Cluster::of_major(18) else { return Install::missing(18) };
    let cluster = builder.start();
    let source = cluster.create_database("a").await;
    let (_, destination) = pair().fresh_databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let only = ["--only", "slot-failover"];
    look(&pipeline, &only).await.expect("slot-failover", "pass", "for failover");
    source.exec("select pg_create_physical_replication_slot('standby')").await;
    let seen = look(&pipeline, &only).await;
    seen.expect("slot-failover", "notice", "synchronized_standby_slots is empty");
    let sql = seen.remedies("slot-failover")[0].1.replace("SLOT_OF_THE_STANDBY", "standby");
    set(&cluster, &sql, false).await;
    let passes = async || {
        let seen = look(&pipeline, &only).await;
        seen.item("slot-failover", "source")["result"] == "pass"
    };
    wait_until("the setting to take effect", Duration::from_secs(30), passes).await;
}

#[tokio::test]
async fn a_standby_is_no_end() {
    let cluster = Cluster::builder().start();
    let standby = cluster.create_database("a").await;
    cluster.stop(Stop::Fast);
    std::fs::write(cluster.data_dir().join("standby.signal"), "").expect("write");
    cluster.start();
    let (source, _) = databases().await;
    let pipeline = Pipeline::builder(&source, &standby).build();
    let only = ["--only", "primary"];
    look(&pipeline, &only).await.expect(
        "primary",
        "failure",
        "destination \"default\" is a standby",
    );
    let pipeline = Pipeline::builder(&standby, &source).build();
    look(&pipeline, &only).await.expect("primary", "failure", "the source is a standby");
}

#[tokio::test]
async fn the_source_is_no_destination() {
    let (source, _) = databases().await;
    let pipeline = Pipeline::builder(&source, &source).build();
    let seen = look(&pipeline, &["--only", "same-database"]).await;
    seen.expect("same-database", "failure", "the source itself");
}

/// Held open until dropped.
async fn writing(database: &Database, sql: &str) -> pgtrail_tests::Sql {
    let session = database.connect().await;
    session.exec(&format!("begin; {sql}")).await;
    session
}

#[tokio::test]
async fn transactions_that_the_slot_waits_for() {
    let cluster = Cluster::builder().start();
    let source = cluster.create_database("a").await;
    source.exec("create table t (id int primary key)").await;
    let (_, destination) = pair().fresh_databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let session = writing(&source, "insert into t values (1)").await;
    let pid = session.text("select pg_backend_pid()").await;
    let prepared = writing(&source, "insert into t values (2)").await;
    prepared.exec("prepare transaction 'it''s'").await;

    let seen = look(&pipeline, &[]).await;
    seen.expect("open-transactions", "notice", &format!("pid {pid} of postgres (xid "));
    seen.expect("prepared-transactions", "notice", "'it's'");
    for id in ["open-transactions", "prepared-transactions"] {
        seen.mend(id, &source, &destination).await;
    }
    let calm = async || {
        let seen = look(&pipeline, &[]).await;
        let result = |id: &str| seen.item(id, "source")["result"].clone();
        result("open-transactions") == "pass" && result("prepared-transactions") == "pass"
    };
    wait_until("both to end", Duration::from_secs(30), calm).await;
}

#[tokio::test]
async fn replication_role_settings() {
    crate::look::mends(
        "replication-role-settings",
        "do $$ begin execute format('alter database %I set session_replication_role = replica', \
         current_database()); end $$",
        "",
        ("notice", "database t"),
    )
    .await;
}
