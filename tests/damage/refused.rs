//! `D8`, `D9`, `S3`: logs that do not fit the slot are refused at start, each with its own code.

use std::path::Path;
use std::time::Duration;

use pgtrail_tests::oracle::copy_tree;
use pgtrail_tests::{Link, pair, scratch};

const WITHIN: Duration = Duration::from_secs(60);

async fn stopped() -> Link {
    let schema = "create table t (id int primary key, v text)";
    let mut link = Link::builder().await.both(schema).await.start().await;
    link.apply("insert into t values (1, 'a')").await;
    link.stop().await;
    link
}

/// The code with which the reader refuses to start.
async fn refusal(link: &mut Link, exit: &[i32]) -> String {
    link.reader = link.pipeline.reader();
    link.reader.allow("");
    let ended = link.reader.wait(WITHIN).await;
    let stderr = &ended.stderr;
    assert!(exit.contains(&ended.code.unwrap_or(-1)), "exit {:?}\n{stderr}", ended.code);
    assert!(stderr.to_lowercase().contains("hint"), "no remedy in:\n{stderr}");
    let at = stderr.find("PGT-").unwrap_or_else(|| panic!("no code in:\n{stderr}"));
    let code: String = stderr[at..].chars().take(8).collect();
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
    assert!(pages.join(format!("{code}.md")).exists(), "no page for {code}");
    println!("{code}: {}", stderr.lines().last().unwrap_or_default());
    code
}

async fn d8_deleted() -> (String, String) {
    let mut link = stopped().await;
    std::fs::remove_dir_all(link.pipeline.log_dir()).expect("remove");
    let code = refusal(&mut link, &[3]).await;
    (code, applier_refusal(&link).await)
}

async fn d9_older_copy() -> (String, String) {
    let mut link = stopped().await;
    let saved = scratch::dir("older");
    copy_tree(link.pipeline.log_dir(), &saved);
    link.restart();
    link.apply("insert into t values (2, 'b')").await;
    let lsn = link.source.text("select pg_current_wal_lsn()").await;
    link.pipeline.wait_confirmed(&lsn, WITHIN).await;
    link.stop().await;
    replace(link.pipeline.log_dir(), &saved);
    link.source.exec("insert into t values (3, 'c')").await;
    let code = refusal(&mut link, &[3]).await;
    assert_eq!(link.destination.text("select count(*) from t").await, "2");
    (code, applier_refusal(&link).await)
}

async fn d9_another_source() -> (String, String) {
    let other = stopped().await;
    let mut link = stopped().await;
    // The databases are different ones even on one server.
    let saved = scratch::dir("foreign");
    copy_tree(other.pipeline.log_dir(), &saved);
    replace(link.pipeline.log_dir(), &saved);
    let code = refusal(&mut link, &[3]).await;
    (code, applier_refusal(&link).await)
}

async fn s3_advanced() -> (String, String) {
    let mut link = stopped().await;
    link.source.exec("insert into t values (2, 'skipped')").await;
    let slot = link.pipeline.slot();
    let advance = format!("select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())");
    link.source.exec(&advance).await;
    let code = refusal(&mut link, &[3]).await;
    (code, applier_refusal(&link).await)
}

fn replace(log_dir: &Path, with: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::remove_dir_all(log_dir).expect("remove");
    copy_tree(with, log_dir);
    std::fs::set_permissions(log_dir, std::fs::Permissions::from_mode(0o700)).expect("mode");
}

/// With which code the applier refuses the log; empty when it does not.
async fn applier_refusal(link: &Link) -> String {
    let exit = link.pipeline.try_run(&["applier", "--stop-at", "now"]).await;
    let at = exit.stderr.find("PGT-").filter(|_| exit.code != Some(0));
    at.map_or_else(String::new, |at| exit.stderr[at..].chars().take(8).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_d9_s3_each_refused_with_its_own_code() {
    let mut told = vec![d8_deleted().await, d9_older_copy().await, d9_another_source().await];
    told.push(s3_advanced().await);
    println!("{told:?}");
    let mut readers: Vec<String> = told.into_iter().map(|(reader, _)| reader).collect();
    readers.sort();
    readers.dedup();
    assert_eq!(readers.len(), 4, "{readers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d9_an_applier_refuses_a_log_of_another_incarnation() {
    let mut link = stopped().await;
    let other = stopped().await;
    let saved = scratch::dir("foreign");
    copy_tree(other.pipeline.log_dir(), &saved);
    replace(link.pipeline.log_dir(), &saved);
    link.applier = link.pipeline.applier();
    let stderr = link.applier_halts(3).await;
    assert!(stderr.contains("PGT-"), "no code in:\n{stderr}");
    assert_eq!(link.destination.text("select count(*) from t").await, "1");
    assert_eq!(pair().source.major(), pair().destination.major());
}
