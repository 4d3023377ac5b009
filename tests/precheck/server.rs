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

/// Either end of every version that is here, asked everything.
#[tokio::test]
async fn every_version_answers_every_question() {
    let schema = "create table t (id int primary key, n numeric(5, 2), v varchar(5)); \
                  create table p (id int, at date) partition by range (at); \
                  create table p1 partition of p for values from ('2020-01-01') to ('2030-01-01'); \
                  create sequence s; create index on t (lower(v))";
    for major in [11, 12, 18] {
        let Some(builder) = Cluster::of_major(major) else {
            Install::missing(major);
            continue;
        };
        let cluster = builder.start();
        let old = cluster.create_database("other").await;
        let (source, destination) = pair().fresh_databases().await;
        for database in [&old, &source, &destination] {
            database.exec(schema).await;
        }
        for (from, to) in [(&old, &destination), (&source, &old)] {
            let pipeline = Pipeline::builder(from, to).build();
            let seen = look(&pipeline, &[]).await;
            assert_eq!(seen.troubles(), Vec::<&str>::new(), "{major}");
            pipeline.init().await;
            pipeline.run_to_now().await;
            pipeline.teardown().await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_can_be_listened_to() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let cluster = Cluster::builder()
        .setting("listen_addresses", "'*'")
        .setting("ssl", "on")
        .file("server.crt", cert.pem(), 0o600)
        .file("server.key", signing_key.serialize_pem(), 0o600)
        .hba("local all all trust\nhost all all all trust")
        .start();
    let (_, destination) = pair().fresh_databases().await;
    let local = cluster.create_database("a").await;
    let only = ["--only", "tls"];
    let pipeline = Pipeline::builder(&local, &destination).build();
    let seen = look(&pipeline, &only).await;
    assert_eq!(seen.item("tls", "source")["found"], "encrypted");
    assert_eq!(seen.item("tls", "default")["result"], "pass", "it does not leave this machine");

    let Some(address) = own_address() else {
        println!("skipped: this machine has no address but its loopback's");
        return;
    };
    let remote = pgtrail_tests::Database { host: address, ..local };
    for (sslmode, result) in [("disable", "notice"), ("prefer", "pass")] {
        let pipeline = Pipeline::builder(&remote, &destination).env("PGSSLMODE", sslmode).build();
        let seen = look(&pipeline, &only).await;
        assert_eq!(seen.item("tls", "source")["result"], result, "{sslmode}");
    }
}

/// What others would call this machine. Nothing is sent.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}
