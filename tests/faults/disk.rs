//! `D`: a disk under the log that fails or is full, by `strace`'s fault injection into the real
//! binary. Left out, with a word, where there is no usable `strace`.

use std::process::Command;

use pgtrail_tests::link::STOP_WITHIN;
use pgtrail_tests::{LedgerOptions, wait_until};

use super::{WITHIN, ledger};

/// Whether processes may be traced here.
fn strace_works() -> bool {
    let tried = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let works = tried.is_ok_and(|output| output.status.success());
    if !works {
        println!("skipped: strace is missing or may not trace here");
    }
    works
}

/// Runs the reader with the injection under load until it has ended by itself; whatever it ends
/// with, nothing confirmed may be missing afterwards.
async fn survives(test: &str, injections: &[&str]) {
    if !strace_works() {
        return;
    }
    let (ledger, mut link) = ledger(test, LedgerOptions::default()).await;
    let load = ledger.start();
    for injection in injections {
        link.reader.terminate();
        link.reader.wait(STOP_WITHIN).await.expect(0);
        let program = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", injection];
        let mut traced = link.pipeline.spawn_below(&program, &["reader"]);
        wait_until("the reader to end of its failing disk", WITHIN, async || !traced.is_running())
            .await;
        let exit = traced.wait(STOP_WITHIN).await;
        assert_ne!(exit.code, Some(0), "{injection}: a failed write is no success");
        assert_ne!(exit.code, Some(5), "{injection}: nothing is damaged\n{}", exit.stderr);
        let confirmed = link.pipeline.confirmed_lsn().await;
        let durable = link.pipeline.durable_lsn().await;
        let behind = format!("select '{confirmed}'::pg_lsn <= '{durable}'::pg_lsn");
        assert_eq!(link.source.text(&behind).await, "t", "{injection}: {confirmed} {durable}");
        link.reader = link.pipeline.reader();
        load.progress(50, WITHIN).await;
    }
    load.stop().await;
    ledger.verify(WITHIN).await;
    link.stop().await;
    link.pipeline.run(&["log", "check"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_a_failed_sync_ends_the_reader_and_loses_nothing() {
    survives(
        "d3",
        &[
            "inject=fdatasync:error=EIO:when=7",
            "inject=fdatasync:error=EIO:when=2",
            "inject=fsync:error=EIO:when=3",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_a_full_disk_ends_the_reader_and_loses_nothing() {
    survives(
        "d2",
        &[
            "inject=write,pwrite64:error=ENOSPC:when=400+",
            "inject=write,pwrite64,writev:error=ENOSPC:when=650+",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_killed_at_a_sync() {
    survives(
        "d4",
        &["inject=fdatasync:signal=KILL:when=5", "inject=fdatasync:signal=KILL:when=11"],
    )
    .await;
}
