//! `P1`, `P2`: reader and applier end at each failpoint in turn: before and after every durable
//! step. Needs the binary built with failpoints, which `make test` and `make test-faults` provide.
//!
//! The list of failpoints is read from the sources, so that a new one is tried without being
//! entered anywhere.

use std::collections::VecDeque;
use std::path::Path;

use pgtrail_tests::pair::fresh_name;
use pgtrail_tests::process::failpoints_binary;
use pgtrail_tests::{LedgerOptions, Link, Process, pair, wait_until};

use super::WITHIN;

/// Names of all failpoints in these crates.
fn failpoints(crates: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace");
    let mut found = Vec::new();
    for name in crates {
        for path in pgtrail_tests::oracle::listing(&root.join(name).join("src")).into_keys() {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for part in text.split("fail_point").skip(1) {
                let argument = part.trim_start_matches('!').strip_prefix('(').map(str::trim_start);
                let name = argument.and_then(|rest| rest.strip_prefix('"')?.split('"').next());
                found.extend(name.map(str::to_owned));
            }
        }
    }
    found.sort();
    found.dedup();
    assert!(!found.is_empty(), "no failpoints in {crates:?}");
    found
}

fn binary() -> Option<std::path::PathBuf> {
    let found = failpoints_binary();
    if found.is_none() {
        println!("skipped: no pgtrail-failpoints beside the tests; \"make build-tests\" makes it");
    }
    found
}

/// Processes that get a second chance to pass a failpoint.
const TRIES: u32 = 8;

/// Lets a process with an armed failpoint run until it hits it; whether it did.
async fn hits(mut process: Process, failpoint: &str, settled: impl AsyncFn() -> bool) -> bool {
    let word = format!("failpoint {failpoint}");
    let mut hit = false;
    wait_until(&format!("{failpoint} or the end"), WITHIN, async || {
        hit = process.stderr().contains(&word);
        hit || !process.is_running() || settled().await
    })
    .await;
    hit = hit || process.stderr().contains(&word);
    process.kill();
    hit
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_every_failpoint_of_the_copy() {
    let Some(binary) = binary() else { return };
    let mut missed = Vec::new();
    let all = failpoints(&["reader", "applier", "log"]);
    let of_copy = |name: &&String| name.contains("base") && !name.contains("rebase");
    let of_copy: Vec<&String> = all.iter().filter(of_copy).collect();
    for failpoint in of_copy {
        let name = fresh_name();
        let source = pair().source.create_database(&name).await;
        let destination = pair().destination.create_database(&name).await;
        let schema = "create table a (id int primary key, v text); create table b (v text)";
        let builder = Link::between(&source, &destination).both(schema).await;
        let rows = "insert into a select n, repeat('x', 100) from generate_series(1, 3000) n;
                    insert into b select v from a";
        let builder = builder.at_source(rows).await;
        let mut link = builder.configured(|pipeline| pipeline.binary(&binary)).start().await;
        link.allow_all();
        link.reader.kill();
        link.applier.kill();
        let done = async || {
            let tables = ["public.a".to_owned(), "public.b".to_owned()];
            pgtrail_tests::differences(&source, &destination, &tables).await.is_empty()
        };
        let arm = (failpoint.as_str(), "1*panic");
        let hit = if failpoint.starts_with("applier") {
            link.reader = link.pipeline.reader();
            link.reader.allow("");
            hits(link.pipeline.spawn_failing(&["applier"], arm), failpoint, done).await
        } else {
            link.applier = link.pipeline.applier();
            link.applier.allow("");
            hits(link.pipeline.spawn_failing(&["reader"], arm), failpoint, done).await
        };
        if !hit {
            missed.push(failpoint.clone());
        }
        link.reader.kill();
        link.applier.kill();
        link.restart();
        link.allow_all();
        link.apply("insert into a values (100000, 'after')").await;
        link.finish().await;
    }
    assert!(missed.is_empty(), "not reached: {missed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_every_failpoint_of_a_resync() {
    let Some(binary) = binary() else { return };
    let (source, destination) = pair().fresh_databases().await;
    let schema = "create table a (id int primary key, v text); create table b (id int primary key)";
    let builder = Link::between(&source, &destination).both(schema).await;
    let rows = "insert into a select n, repeat('x', 100) from generate_series(1, 3000) n;
                insert into b select generate_series(1, 10)";
    let builder = builder.at_source(rows).await;
    let mut link = builder.configured(|pipeline| pipeline.binary(&binary)).start().await;
    link.settle().await;
    let of_resync: Vec<String> =
        failpoints(&["applier"]).into_iter().filter(|name| name.contains("rebase")).collect();
    assert!(of_resync.len() > 3, "{of_resync:?}");
    for (n, failpoint) in of_resync.into_iter().enumerate() {
        link.applier.allow("");
        link.applier.kill();
        destination.exec("delete from a where id % 2 = 0; insert into a values (-1, 'no')").await;
        let armed = link.pipeline.spawn_failing(&["applier"], (failpoint.as_str(), "1*panic"));
        link.pipeline.run(&["resync", "public.a"]).await;
        let hit = hits(armed, &failpoint, async || false).await;
        assert!(hit, "{failpoint} was not reached");
        let change = format!(
            "insert into a values (10000 + {n}, 'after'); insert into b values (100 + {n})"
        );
        source.exec(&change).await;
        link.applier = link.pipeline.applier();
        link.settle().await;
    }
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_every_failpoint_of_the_stream() {
    let Some(binary) = binary() else { return };
    let (source, destination) = pair().fresh_databases().await;
    let options = LedgerOptions {
        bulk_percent: 10,
        seed: pgtrail_tests::seed("failpoints"),
        ..LedgerOptions::default()
    };
    let ledger = pgtrail_tests::Ledger::create(&source, &destination, options).await;
    source
        .exec(&format!("alter database {} set logical_decoding_work_mem = '64kB'", source.name))
        .await;
    let mut link = Link::between(&source, &destination)
        .configured(|pipeline| pipeline.binary(&binary).line("log", "keep = \"1s\""))
        .start()
        .await;
    link.settle().await;
    let poller = ledger.poll();
    let load = ledger.start();
    let all = failpoints(&["reader", "applier", "log"]);
    // A resync, and a copy without the stage "changes", have their own tests.
    let of_copy = |name: &str| name.contains("base") || name.contains("conclusion");
    let of_stream: Vec<&String> = all.iter().filter(|name| !of_copy(name)).collect();
    let mut missed = Vec::new();
    // First not at the first chance: in the middle of work. Then those that come once in a process,
    // or not in every one: a purge needs something to purge.
    let mut of_stream: VecDeque<(&String, u32)> =
        of_stream.into_iter().map(|name| (name, 0)).collect();
    while let Some((failpoint, tries)) = of_stream.pop_front() {
        let action = if tries == 0 { "2*off->1*panic" } else { "1*panic" };
        let arm = (failpoint.as_str(), action);
        let goal = load.committed() + if tries == 0 { 400 } else { 1500 };
        let enough = async || load.committed() > goal;
        let hit = if failpoint.starts_with("applier") {
            link.applier.allow("");
            link.applier.kill();
            let hit = hits(link.pipeline.spawn_failing(&["applier"], arm), failpoint, enough).await;
            link.applier = link.pipeline.applier();
            hit
        } else {
            link.reader.allow("");
            link.reader.kill();
            let hit = hits(link.pipeline.spawn_failing(&["reader"], arm), failpoint, enough).await;
            link.reader = link.pipeline.reader();
            hit
        };
        link.allow_all();
        match hit {
            true => {}
            false if tries == TRIES => missed.push(failpoint.clone()),
            false => of_stream.push_back((failpoint, tries + 1)),
        }
    }
    assert!(missed.is_empty(), "not reached: {missed:?}");
    load.stop().await;
    ledger.verify(WITHIN).await;
    poller.finish().await;
    link.stop().await;
    link.pipeline.run(&["log", "check"]).await;
}
