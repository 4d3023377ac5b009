//! `S`, `F`: the slot and the publication, changed behind our back. Each is a halt of its own.

use std::process::Command;

use pgtrail_tests::{Cluster, Link, Stop, wait_until};

use super::{TABLE, WITHIN, small, small_own};

/// The stable code in what a process said.
fn code_of(stderr: &str) -> String {
    let at = stderr.find("PGT-").unwrap_or_else(|| panic!("no code in:\n{stderr}"));
    stderr[at..].chars().take(8).collect()
}

/// The code must have its page, and the message a remedy.
fn assert_explained(stderr: &str) -> String {
    let code = code_of(stderr);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors/");
    assert!(std::path::Path::new(page).join(format!("{code}.md")).exists(), "no page for {code}");
    assert!(stderr.to_lowercase().contains("hint"), "no hint in:\n{stderr}");
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_a_dropped_slot_halts_and_is_not_made_again() {
    let mut link = small().await;
    let slot = link.pipeline.slot();
    link.reader.terminate();
    link.reader.wait(WITHIN).await.expect(0);
    link.source.exec(&format!("select pg_drop_replication_slot('{slot}')")).await;
    link.source.exec("insert into t values (3, 'lost to the slot')").await;
    link.reader = link.pipeline.reader();
    let stderr = link.reader_halts(3).await;
    assert_explained(&stderr);
    let slots = format!("select count(*) from pg_replication_slots where slot_name = '{slot}'");
    assert_eq!(link.source.text(&slots).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_an_advanced_slot_is_refused_at_start() {
    let mut link = small().await;
    link.reader.terminate();
    link.reader.wait(WITHIN).await.expect(0);
    link.source.exec("insert into t values (3, 'skipped')").await;
    link.source
        .exec(&format!(
            "select pg_replication_slot_advance('{}', pg_current_wal_insert_lsn())",
            link.pipeline.slot()
        ))
        .await;
    link.reader = link.pipeline.reader();
    let stderr = link.reader_halts(3).await;
    assert_explained(&stderr);
    assert_eq!(link.destination.text("select count(*) from t").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_a_slot_dropped_and_made_again_is_refused() {
    let mut link = small().await;
    let slot = link.pipeline.slot();
    link.reader.terminate();
    link.reader.wait(WITHIN).await.expect(0);
    link.source.exec(&format!("select pg_drop_replication_slot('{slot}')")).await;
    link.source.exec("insert into t values (3, 'before the new slot')").await;
    link.source
        .exec(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"))
        .await;
    link.reader = link.pipeline.reader();
    let stderr = link.reader_halts(3).await;
    assert_explained(&stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_an_invalidated_slot_halts_at_once() {
    let source = Cluster::builder()
        .setting("max_slot_wal_keep_size", "'16MB'")
        .setting("max_wal_size", "'64MB'")
        .setting("wal_keep_size", "0")
        .start();
    let destination = Cluster::builder().start();
    let (from, to) = (source.create_database("d").await, destination.create_database("d").await);
    let mut link = Link::between(&from, &to)
        .configured(|builder| builder.line("precheck", "accept = [\"wal-retention\"]"))
        .both(TABLE)
        .await
        .start()
        .await;
    link.apply("insert into t values (1, 'a')").await;
    link.reader.terminate();
    link.reader.wait(WITHIN).await.expect(0);
    let lost = "select wal_status = 'lost' from pg_replication_slots where slot_type = 'logical'";
    wait_until("the slot to be lost", WITHIN, async || {
        from.exec("create table flood as select repeat(md5(n::text), 30) v from generate_series(1, 20000) n;
                   drop table flood; select pg_switch_wal(); checkpoint").await;
        from.text(lost).await == "t"
    })
    .await;
    link.reader = link.pipeline.reader();
    let begun = std::time::Instant::now();
    let stderr = link.reader_halts(3).await;
    assert!(begun.elapsed().as_secs() < 15, "no retries for what cannot heal");
    assert_explained(&stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_dropped_publication_halts_the_running_reader() {
    let mut link = small().await;
    link.source.exec(&format!("drop publication {}", link.pipeline.slot())).await;
    link.source.exec("insert into t values (3, 'c')").await;
    let stderr = link.reader_halts(3).await;
    assert_explained(&stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_dropped_publication_halts_on_18_too_where_the_server_skips() {
    let Some(builder) = Cluster::of_major(18) else {
        return pgtrail_tests::Install::missing(18);
    };
    let source = builder.start();
    let from = source.create_database("d").await;
    let to =
        pgtrail_tests::pair().destination.create_database(&pgtrail_tests::pair::fresh_name()).await;
    let mut link = Link::between(&from, &to).both(TABLE).await.start().await;
    link.apply("insert into t values (1, 'a')").await;
    link.source.exec(&format!("drop publication {}", link.pipeline.slot())).await;
    link.source.exec("insert into t values (3, 'c')").await;
    let stderr = link.reader_halts(3).await;
    assert_explained(&stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_another_cluster_at_the_same_address_is_refused() {
    let (_pair, mut link) = small_own().await;
    link.stop().await;
    // Another source with objects of the same names.
    let other = Cluster::builder().start();
    let impostor = other.create_database("d").await;
    let slot = link.pipeline.slot();
    impostor.exec(&format!("{TABLE}; create publication {slot} for table t")).await;
    impostor
        .exec(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"))
        .await;
    link.pipeline.readdress(&impostor, &link.destination.clone());
    link.reader = link.pipeline.reader();
    let stderr = link.reader_halts(3).await;
    assert_explained(&stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_a_source_restored_to_before_the_logs_end_is_refused() {
    let (pair, mut link) = small_own().await;
    link.stop().await;
    pair.source.stop(Stop::Fast);
    let data = pair.source.data_dir().to_path_buf();
    let saved = data.with_file_name("saved");
    copy_cluster(&data, &saved);
    pair.source.start();
    link.restart();
    link.allow_all();
    link.apply("insert into t select n, repeat('x', 500) from generate_series(10, 20000) n").await;
    link.stop().await;
    pair.source.stop(Stop::Fast);
    std::fs::remove_dir_all(&data).expect("remove");
    std::fs::rename(&saved, &data).expect("restore");
    pair.source.start();
    // The server would accept the start and skip whatever comes before the old position.
    link.source.exec("insert into t values (5, 'would be skipped')").await;
    link.restart();
    let stderr = link.reader_halts(3).await;
    assert_explained(&stderr);
}

fn copy_cluster(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("run cp");
    assert!(copied.success(), "copy the data directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_the_slot_moves_while_only_other_databases_write() {
    let (pair, link) = small_own().await;
    let other = pair.source.create_database("other").await;
    let session = other.connect().await;
    session.exec("create table busy (v text)").await;
    for _ in 0..3 {
        session
            .exec("insert into busy select repeat('x', 1000) from generate_series(1, 5000)")
            .await;
        let lsn = session.text("select pg_current_wal_flush_lsn()").await;
        link.pipeline.wait_confirmed(&lsn, WITHIN).await;
    }
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g5_nothing_is_confirmed_before_it_is_durable() {
    let (ledger, mut link) = super::ledger("g5", pgtrail_tests::LedgerOptions::default()).await;
    let load = ledger.start();
    for round in 0..40 {
        if round % 10 == 9 {
            link.reader.allow("");
            link.reader.kill();
            link.reader = link.pipeline.reader();
        }
        // In this order: what is confirmed now must be durable by then.
        let confirmed: u64 = parse(&link.pipeline.confirmed_lsn().await);
        let durable: u64 = parse(&link.pipeline.durable_lsn().await);
        assert!(confirmed <= durable, "confirmed {confirmed:X}, durable {durable:X}");
    }
    load.stop().await;
    ledger.verify(WITHIN).await;
    link.stop().await;
}

fn parse(lsn: &str) -> u64 {
    let (high, low) = lsn.split_once('/').expect("an LSN");
    let half = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
    (half(high) << 32) | half(low)
}

#[tokio::test(flavor = "multi_thread")]
async fn f5_messages_that_any_role_can_send_have_no_effect() {
    let mut link = small().await;
    link.source
        .exec(
            "select pg_logical_emit_message(true, 'pgtrail', 'drop table t');
             select pg_logical_emit_message(false, 'pgtrail', 'drop table t');
             select pg_logical_emit_message(true, 'other', repeat('x', 1000000))",
        )
        .await;
    link.apply("insert into t values (3, 'c')").await;
    link.finish().await;
}
