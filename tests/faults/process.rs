//! `P`: processes that are killed, stopped, doubled or told to end.

use std::time::Duration;

use pgtrail_tests::seed::rng;
use pgtrail_tests::{LedgerOptions, Link, Proxy, Stop, seed, wait_until};
use rand::Rng;
use rustix::process::Signal;

use super::{WITHIN, ledger, small, small_own};

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_reply_to_a_commit_is_lost() {
    let (ledger, mut link) = ledger("p3", LedgerOptions::default()).await;
    link.stop().await;
    let proxy = Proxy::start(link.destination.port);
    let through = link.destination.at_port(proxy.port());
    link.pipeline.readdress(&link.source.clone(), &through);
    link.restart();
    link.allow_all();
    link.wait_connected().await;
    let poller = ledger.poll();
    let load = ledger.start();
    let mut random = rng(seed("p3 commits"), 1);
    for round in 1..=12 {
        proxy.swallow_commit_reply(random.random_range(1..6));
        wait_until("a swallowed reply", WITHIN, async || proxy.swallowed() >= round).await;
    }
    load.stop().await;
    ledger.verify(WITHIN).await;
    poller.finish().await;
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_killed_again_and_again_while_recovering() {
    let (ledger, mut link) = ledger("p4", LedgerOptions::default()).await;
    let load = ledger.start();
    let mut random = rng(seed("p4 moments"), 1);
    for _ in 0..20 {
        let pause = Duration::from_millis(random.random_range(1..250));
        pause_for(pause).await;
        link.allow_all();
        link.reader.kill();
        link.applier.kill();
        link.restart();
    }
    link.allow_all();
    load.progress(100, WITHIN).await;
    load.stop().await;
    ledger.verify(WITHIN).await;
    link.stop().await;
    link.pipeline.run(&["log", "check"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_suspended_reader_loses_its_session_and_takes_up_again() {
    let builder = super::small_builder().await;
    let name = builder.source().name.clone();
    let builder =
        builder.at_source(&format!("alter database {name} set wal_sender_timeout = '1s'")).await;
    let mut link = builder.start().await;
    link.settle().await;
    link.allow_all();
    link.reader.signal(Signal::STOP);
    link.source.exec("insert into t select n, 'x' from generate_series(10, 2000) n").await;
    link.wait_slot_free().await;
    link.reader.signal(Signal::CONT);
    link.apply("update t set v = 'y'").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_suspended_applier_does_not_hold_the_slot() {
    let mut link = small().await;
    link.applier.signal(Signal::STOP);
    link.source
        .exec("insert into t select n, repeat('x', 100) from generate_series(10, 20000) n")
        .await;
    let lsn = link.source.text("select pg_current_wal_lsn()").await;
    link.pipeline.wait_confirmed(&lsn, WITHIN).await;
    assert_eq!(link.destination.text("select count(*) from t").await, "2");
    link.applier.signal(Signal::CONT);
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_suspended_applier_that_was_replaced_writes_nothing() {
    let options = LedgerOptions { rate: 0, ..LedgerOptions::default() };
    let (ledger, mut link) = ledger("p6", options).await;
    link.applier.terminate();
    link.applier.wait(WITHIN).await.expect(0);
    let load = ledger.start();
    load.progress(3000, WITHIN).await;
    load.stop().await;
    let lsn = link.source.text("select pg_current_wal_lsn()").await;
    link.pipeline.wait_confirmed(&lsn, WITHIN).await;
    // A reader that has stopped leaves a log that can be copied; on one machine the log directory
    // itself keeps a second applier away, so the other one works as if on another machine.
    link.reader.terminate();
    link.reader.wait(WITHIN).await.expect(0);
    let mut elsewhere = link.pipeline.clone();
    link.applier = link.pipeline.applier();
    link.applier.allow("");
    wait_until("it to be in the middle", WITHIN, async || {
        link.destination.number_of("ledger").await > 0
    })
    .await;
    link.applier.signal(Signal::STOP);
    let copy = pgtrail_tests::scratch::dir("elsewhere");
    pgtrail_tests::oracle::copy_tree(link.pipeline.log_dir(), &copy);
    elsewhere.relocate_log(&copy);
    // Its sessions end as if the network had forgotten them; its seat becomes free.
    link.destination
        .exec(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and pid <> pg_backend_pid()
                and application_name like 'pgtrail%'",
        )
        .await;
    let mut second = elsewhere.applier();
    second.allow("");
    link.destination.wait_more("ledger").await;
    link.applier.signal(Signal::CONT);
    ledger.verify(WITHIN).await;
    second.kill();
    link.applier.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_second_reader_waits_until_the_first_is_gone() {
    let (_pair, mut link) = small_own().await;
    // The slot's other user is nobody we know: a reader on another machine, say.
    link.reader.terminate();
    link.reader.wait(WITHIN).await.expect(0);
    let mut recv = pgtrail_tests::Process::spawn(
        "pg_recvlogical",
        std::process::Command::new(_pair.source.install().binary("pg_recvlogical"))
            .args(["--start", "--file=-", "--no-loop", "--option=proto_version=1"])
            .arg(format!("--option=publication_names={}", link.pipeline.slot()))
            .arg(format!("--slot={}", link.pipeline.slot()))
            .arg(format!("--dbname={}", link.source.conninfo()))
            // It confirms nothing while it stays for less than this.
            .arg("--status-interval=600"),
    );
    link.wait_slot_used().await;
    link.reader = link.pipeline.reader();
    link.reader.allow("");
    link.source.exec("insert into t values (5, 'e')").await;
    link.reader.wait_stderr("slot", WITHIN).await;
    assert!(link.reader.is_running(), "it waits");
    recv.kill();
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_sigterm_under_load_ends_both_cleanly_and_soon() {
    let (ledger, mut link) =
        ledger("p8", LedgerOptions { rate: 0, ..LedgerOptions::default() }).await;
    let poller = ledger.poll();
    let load = ledger.start();
    for _ in 0..3 {
        load.progress(300, WITHIN).await;
        link.stop().await;
        link.restart();
    }
    load.stop().await;
    ledger.verify(WITHIN).await;
    poller.finish().await;
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_sigterm_to_run_ends_its_processes() {
    let (ledger, mut link) = ledger("p8 run", LedgerOptions::default()).await;
    link.stop().await;
    let load = ledger.start();
    let mut run = link.pipeline.spawn(&["run"]);
    load.progress(300, WITHIN).await;
    run.terminate();
    run.wait(pgtrail_tests::link::STOP_WITHIN).await.expect(0);
    link.wait_slot_free().await;
    load.stop().await;
    link.pipeline.run_to_now().await;
    ledger.verify(WITHIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_run_starts_a_killed_applier_again() {
    let (ledger, mut link) = ledger("p2 run", LedgerOptions::default()).await;
    link.stop().await;
    let load = ledger.start();
    let mut run = link.pipeline.spawn(&["run"]);
    run.allow("");
    for process in ["reader", "applier"] {
        load.progress(100, WITHIN).await;
        let pid = child_of(run.pid(), process).await;
        rustix::process::kill_process(pid, Signal::KILL).expect("kill");
    }
    load.progress(200, WITHIN).await;
    load.stop().await;
    ledger.verify(WITHIN).await;
    run.terminate();
    run.wait(pgtrail_tests::link::STOP_WITHIN).await.expect(0);
}

/// The child of a supervisor whose command line has this word.
async fn child_of(parent: u32, word: &str) -> rustix::process::Pid {
    pgtrail_tests::wait_for(&format!("the {word} below run"), WITHIN, async || {
        let children = format!("/proc/{parent}/task/{parent}/children");
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
        let lists = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
        let all =
            lists.collect::<String>() + &std::fs::read_to_string(children).unwrap_or_default();
        let is = |pid: &&str| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
        };
        let found = all.split_whitespace().find(is)?.parse().ok()?;
        rustix::process::Pid::from_raw(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_the_source_crashes() {
    let (pair, mut link) = small_own().await;
    link.allow_all();
    for (round, how) in [Stop::Immediate, Stop::Kill, Stop::Fast].into_iter().enumerate() {
        link.source.exec(&format!("insert into t values ({}, 'before')", 100 + round)).await;
        pair.source.restart(how);
        link.source.exec(&format!("insert into t values ({}, 'after')", 200 + round)).await;
        link.settle().await;
    }
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_the_destination_crashes() {
    let (pair, mut link) = small_own().await;
    link.allow_all();
    for (round, how) in [Stop::Immediate, Stop::Kill, Stop::Fast].into_iter().enumerate() {
        link.source.exec(&format!("insert into t values ({}, 'before')", 100 + round)).await;
        pair.destination.restart(how);
        link.source.exec(&format!("insert into t values ({}, 'after')", 200 + round)).await;
        link.settle().await;
    }
    link.finish().await;
}

/// A moment chosen by chance is not a condition, so it is waited for by the clock.
async fn pause_for(pause: Duration) {
    let begun = std::time::Instant::now();
    wait_until("the moment", WITHIN, async || begun.elapsed() >= pause).await;
}

trait Counted {
    async fn number_of(&self, table: &str) -> i64;
    async fn wait_more(&self, table: &str);
}

impl Counted for pgtrail_tests::Database {
    async fn number_of(&self, table: &str) -> i64 {
        self.connect().await.number(&format!("select count(*) from {table}")).await
    }

    async fn wait_more(&self, table: &str) {
        let before = self.number_of(table).await;
        wait_until("more rows", WITHIN, async || self.number_of(table).await > before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_killed_between_settled_states() {
    let mut link: Link = small().await;
    link.allow_all();
    for round in 0..5 {
        link.reader.kill();
        link.source.exec(&format!("insert into t values ({}, 'r')", 100 + round)).await;
        link.reader = link.pipeline.reader();
        link.settle().await;
        link.applier.kill();
        link.source.exec(&format!("update t set v = v || 'a' where id = {}", 100 + round)).await;
        link.applier = link.pipeline.applier();
        link.settle().await;
    }
    link.finish().await;
}
