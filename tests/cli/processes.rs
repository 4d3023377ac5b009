//! Running processes: control sockets, second instances, clean stops, supervision.

use std::time::Duration;

use pgtrail_tests::{Database, Pipeline, pair, wait_equal, wait_for};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

async fn databases() -> (Database, Database) {
    let (source, destination) = pair().fresh_databases().await;
    for database in [&source, &destination] {
        database.exec("create table t (id int primary key, note text)").await;
    }
    source.exec("insert into t select n, 'row ' || n from generate_series(1, 100) n").await;
    (source, destination)
}

/// Waits until `status` says this of the process at `pointer`.
async fn wait_state(pipeline: &Pipeline, pointer: &str, state: &str) -> Value {
    wait_for(&format!("{pointer} to be {state}"), SOON, async || {
        let status = pipeline.status().await;
        let found = status.pointer(pointer)?.get("state")? == state;
        found.then_some(status)
    })
    .await
}

#[tokio::test]
async fn p6_a_second_reader_or_applier_is_refused() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    let mut reader = pipeline.reader();
    let mut applier = pipeline.applier();
    wait_state(&pipeline, "/reader", "streaming").await;
    wait_state(&pipeline, "/appliers/0", "applying").await;
    for command in ["reader", "applier"] {
        let exit = pipeline.try_run(&[command]).await.expect(3);
        assert!(exit.stderr.contains("runs already, as process"), "{}", exit.stderr);
        assert!(exit.stderr.contains("PGT-0501"), "{}", exit.stderr);
    }
    pipeline.try_run(&["teardown", "--yes"]).await.expect(3).expect_stderr("PGT-0501");
    for process in [&mut reader, &mut applier] {
        process.terminate();
        process.wait(SOON).await.expect(0);
    }
    pipeline.teardown().await;
}

#[tokio::test]
async fn p8_sigterm_is_a_clean_stop_of_all() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    let mut run = pipeline.spawn(&["run"]);
    wait_state(&pipeline, "/appliers/0", "applying").await;
    run.terminate();
    run.wait(SOON).await.expect(0);
    let status = pipeline.status().await;
    assert_eq!(status["reader"]["state"], "not running");
    assert_eq!(status["appliers"][0]["state"], "not running");
    assert_eq!(status["appliers"][0]["initial_loaded"], true);
    pipeline.teardown().await;
}

#[tokio::test]
async fn run_starts_again_what_was_killed() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    let mut run = pipeline.spawn(&["run"]);
    run.allow("");
    for pointer in ["/reader", "/appliers/0"] {
        let state = if pointer == "/reader" { "streaming" } else { "applying" };
        let status = wait_state(&pipeline, pointer, state).await;
        let pid = status.pointer(pointer).expect("a process")["pid"].as_i64().expect("a pid");
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
        wait_for("another process in its place", SOON, async || {
            let status = pipeline.status().await;
            let now = status.pointer(pointer)?.get("pid")?.as_i64()?;
            (now != i64::from(pid.as_raw_nonzero().get())).then_some(())
        })
        .await;
    }
    source.exec("update t set note = note || '!'").await;
    wait_equal(&source, &destination, SOON).await;
    run.terminate();
    run.wait(SOON).await.expect(0);
    pipeline.teardown().await;
}

#[tokio::test]
async fn processes_stop_when_the_run_that_started_them_is_killed() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    let mut run = pipeline.spawn(&["run"]);
    run.allow("");
    wait_state(&pipeline, "/appliers/0", "applying").await;
    // It alone: its children must notice by themselves.
    run.signal(rustix::process::Signal::KILL);
    wait_state(&pipeline, "/reader", "not running").await;
    wait_state(&pipeline, "/appliers/0", "not running").await;
    pipeline.run_to_now().await;
    pipeline.teardown().await;
}

#[tokio::test]
async fn o9_a_halted_applier_is_told_by_exit_code_and_status_while_the_reader_goes_on() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    let mut run = pipeline.spawn(&["run"]);
    run.allow("");
    wait_state(&pipeline, "/appliers/0", "applying").await;
    destination.exec("insert into t values (1000, 'in the way')").await;
    source.exec("insert into t values (1000, 'conflict')").await;
    let status = wait_state(&pipeline, "/appliers/0", "halted").await;
    let halted = &status["appliers"][0]["halted"];
    assert!(halted["code"].as_str().is_some_and(|code| code.starts_with("PGT-04")), "{halted}");
    assert_eq!(halted["exit_code"], 3);
    assert_eq!(status["reader"]["state"], "streaming");
    let shown = pipeline.run(&["status"]).await.stdout;
    assert!(shown.contains("applier default: halted"), "{shown}");
    assert!(shown.contains("hint: "), "{shown}");
    run.terminate();
    run.wait(SOON).await.expect(3);

    destination.exec("delete from t where id = 1000").await;
    pipeline.run_to_now().await;
    wait_equal(&source, &destination, SOON).await;
    pipeline.teardown().await;
}

#[tokio::test]
async fn with_a_place_to_stop_at_a_halt_ends_the_run() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    pipeline.run_to_now().await;
    destination.exec("insert into t values (1000, 'in the way')").await;
    source.exec("insert into t values (1000, 'conflict')").await;
    let exit = pipeline.try_run(&["run", "--stop-at", "now"]).await.expect(3);
    assert!(exit.stderr.contains("PGT-04"), "{}", exit.stderr);
    pipeline.teardown().await;
}

#[tokio::test]
async fn reader_and_applier_stop_where_they_are_told() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    pipeline.run(&["reader", "--stop-at", "now"]).await;
    pipeline.run(&["applier", "--stop-at", "now"]).await;
    wait_equal(&source, &destination, SOON).await;
    source.exec("delete from t where id <= 10").await;
    let lsn = source.text("select pg_current_wal_insert_lsn()::text").await;
    let mut reader = pipeline.spawn(&["reader", "--stop-at", &lsn]);
    pipeline.run(&["applier", "--stop-at", &lsn]).await;
    reader.wait(SOON).await.expect(0);
    wait_equal(&source, &destination, SOON).await;
    pipeline.teardown().await;
}
