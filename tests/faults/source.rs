//! `C`, `S`: the source server's own ways: restarts with a transaction open, roles that change.

use pgtrail_tests::{Cluster, Link, Stop, wait_until};

use super::{TABLE, WITHIN};

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_streamed_transaction_open_across_idle_confirmations_and_restarts() {
    let source = Cluster::builder().setting("logical_decoding_work_mem", "'64kB'").start();
    let destination = Cluster::builder().start();
    let (from, to) = (source.create_database("d").await, destination.create_database("d").await);
    let mut link = Link::between(&from, &to).both(TABLE).await.start().await;
    link.allow_all();
    link.apply("insert into t values (1, 'a')").await;
    let open = from.connect().await;
    open.exec("begin; insert into t select n, repeat('x', 200) from generate_series(10, 1500) n")
        .await;
    // Idle confirmations go past the open transaction's rows.
    let other = source.create_database("other").await;
    other.exec("create table busy as select generate_series(1, 10000)").await;
    let lsn = other.text("select pg_current_wal_flush_lsn()").await;
    link.pipeline.wait_confirmed(&lsn, WITHIN).await;
    link.reader.kill();
    link.reader = link.pipeline.reader();
    link.reader.allow("");
    link.wait_slot_used().await;
    open.exec("insert into t values (5000, 'last'); commit").await;
    link.settle().await;
    assert_eq!(to.text("select count(*) from t").await, "1493");
    // What is open when the server stops is rolled back.
    let open = from.connect().await;
    open.exec("begin; insert into t select n, repeat('x', 200) from generate_series(6000, 7500) n")
        .await;
    source.restart(Stop::Fast);
    link.apply("insert into t values (6000, 'other')").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_a_changed_password_is_retried_then_halts_without_being_shown() {
    let hba = "local all all trust\nhost all postgres all trust\nhost replication all all scram-sha-256\n\
               host all all all scram-sha-256\n";
    let source = Cluster::builder().hba(hba).start();
    let destination = Cluster::builder().start();
    let (from, to) = (source.create_database("d").await, destination.create_database("d").await);
    from.exec("create role copier superuser login password 'canary-one'").await;
    let as_copier = from.as_user("copier", Some("canary-one"));
    let builder = Link::between(&as_copier, &to).both(TABLE).await;
    let builder = builder
        .configured(|pipeline| pipeline.top("connect_retry = \"8s\"").top("error_retry = \"8s\""));
    let mut link = builder.start().await;
    link.apply("insert into t values (1, 'a')").await;
    from.exec(
        "alter role copier password 'canary-two';
         select pg_terminate_backend(pid) from pg_stat_activity where usename = 'copier'",
    )
    .await;
    link.reader.allow("");
    let exit = link.reader.wait(WITHIN).await;
    assert!(matches!(exit.code, Some(3 | 4)), "{exit:?}");
    assert!(exit.stderr.contains("28P01"), "the server's word for it:\n{}", exit.stderr);
    assert!(!exit.stderr.contains("canary"), "the password is shown:\n{}", exit.stderr);
    from.exec("alter role copier password 'canary-one'").await;
    link.reader = link.pipeline.reader();
    link.apply("insert into t values (2, 'b')").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s_a_session_terminated_by_an_administrator_is_made_again() {
    let mut link = super::small().await;
    link.allow_all();
    for round in 0..5 {
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and pid <> pg_backend_pid()";
        wait_until("sessions of ours", WITHIN, async || {
            link.source.text(kill).await != "0" && link.destination.text(kill).await != "0"
        })
        .await;
        link.apply(&format!("insert into t values ({}, 'x')", 100 + round)).await;
    }
    link.finish().await;
}
