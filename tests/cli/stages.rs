//! `stages`: every subset does its part, ends by itself where there is an end, is continued after a
//! kill, and leaves nothing at the source that is not needed any more.

use std::time::Duration;

use pgtrail_tests::process::failpoints_binary;
use pgtrail_tests::{
    Cluster, Database, Pipeline, PipelineBuilder, assert_equal, pair, wait_equal, wait_until,
};

use crate::setup::traces;

const WITHIN: Duration = Duration::from_secs(60);

const SCHEMA: &str = "
create table a (id int primary key, v text);
create table b (id int, v text);
create index b_v on b (v);
create view pairs as select a.id from a join b on a.id = b.id";

const ROWS: &str = "
insert into a select n, repeat('x', 100) from generate_series(1, 5000) n;
insert into b select id, v from a";

async fn source_and_destination(with_tables: bool) -> (Database, Database) {
    let (source, destination) = pair().fresh_databases().await;
    source.exec(SCHEMA).await;
    source.exec(ROWS).await;
    if with_tables {
        destination.exec(SCHEMA).await;
    }
    (source, destination)
}

fn with_stages(source: &Database, destination: &Database, stages: &str) -> PipelineBuilder {
    Pipeline::builder(source, destination).top(&format!("stages = {stages}"))
}

/// Writes a row into both tables in each transaction until it is dropped.
struct Writer(tokio::task::JoinHandle<()>);

impl Writer {
    async fn start(source: &Database) -> Writer {
        let session = source.connect().await;
        Writer(tokio::spawn(async move {
            for id in 100_000.. {
                let sql = format!(
                    "begin; insert into a values ({id}, 'new'); insert into b values ({id}, 'new'); \
                     update b set v = v || '!' where id = {}; commit",
                    id % 5000 + 1
                );
                session.exec(&sql).await;
            }
        }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whole transactions only: each of the writer's is in both tables or in none.
async fn assert_consistent(destination: &Database) {
    let torn = "select count(*) from (select id from a except select id from b) x";
    assert_eq!(destination.text(torn).await, "0");
    let torn = "select count(*) from (select id from b except select id from a) x";
    assert_eq!(destination.text(torn).await, "0");
    let old = "select count(*) from a where id <= 5000";
    assert_eq!(destination.text(old).await, "5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_alone_needs_no_replication_at_all() {
    let cluster =
        Cluster::builder().setting("wal_level", "minimal").setting("max_wal_senders", "0").start();
    let source = cluster.create_database("only_schema").await;
    let (_, destination) = pair().fresh_databases().await;
    source.exec(SCHEMA).await;
    source.exec(ROWS).await;
    source.exec("create table keyless (x int); create role reads login").await;
    let before = traces(&source).await;
    let as_reads = source.as_user("reads", None);
    let pipeline = with_stages(&as_reads, &destination, "[\"schema\"]").build();
    pipeline.run(&["precheck"]).await;
    let exit = pipeline.run(&["init", "--dry-run"]).await;
    assert!(!exit.stdout.contains("source:"), "{}", exit.stdout);
    pipeline.init().await;
    assert_eq!(traces(&source).await, before, "init makes nothing there");
    pipeline.run(&["run"]).await.expect_stderr("everything is done");
    assert_eq!(destination.text("select count(*) from a").await, "0");
    assert_eq!(
        destination.text("select count(*) from pg_indexes where indexname = 'b_v'").await,
        "1"
    );
    assert_eq!(destination.text("select count(*) from pairs").await, "0");
    assert_eq!(traces(&source).await, before);
    pipeline.run(&["run"]).await.expect_stderr("everything is done");
    pipeline.run(&["init"]).await.expect_stderr("is set up already");
    pipeline.run(&["schema", "diff"]).await;
    pipeline.teardown().await;
    assert_eq!(traces(&source).await, before);
    assert_eq!(destination.text("select count(*) from a").await, "0", "the schema stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_cut_short_is_continued() {
    let (source, destination) = source_and_destination(false).await;
    let pipeline = with_stages(&source, &destination, "[\"schema\"]").build();
    pipeline.init().await;
    let mut reader = pipeline.reader();
    reader.wait(WITHIN).await.expect(0);
    for _ in 0..3 {
        let mut applier = pipeline.applier();
        applier.allow("");
        wait_until("the applier to begin", WITHIN, async || {
            let stage = "select count(*) from pgtrail.checkpoint where schema_stage is not null";
            destination.text(stage).await == "1"
        })
        .await;
        applier.kill();
    }
    pipeline.applier().wait(WITHIN).await.expect(0);
    pipeline.run(&["schema", "diff"]).await;
    pipeline.run(&["run"]).await.expect_stderr("everything is done");
    pipeline.teardown().await;
}

/// One consistent state of the source, whatever is written meanwhile, and nothing left there.
async fn copies(stages: &str, with_tables: bool) {
    let (source, destination) = source_and_destination(with_tables).await;
    let before = traces(&source).await;
    let mut pipeline = with_stages(&source, &destination, stages).build();
    pipeline.init().await;
    assert_ne!(traces(&source).await, before);
    let writer = Writer::start(&source).await;
    wait_until("some transactions", WITHIN, async || {
        source.text("select count(*) > 20 from a where id >= 100000").await == "t"
    })
    .await;
    let at_start = source.connect().await.number("select max(id) from a").await;
    pipeline.run(&["run"]).await.expect_stderr("everything is done");
    assert_consistent(&destination).await;
    let there = destination.connect().await.number("select max(id) from a").await;
    assert!(there >= at_start, "{there} is before the copy");
    assert_eq!(traces(&source).await, before, "nothing stays at the source");
    let kept = destination.text("select count(*) from pgtrail.checkpoint").await;
    assert_eq!(kept, "1", "what was done is known until teardown");

    pipeline.run(&["run"]).await.expect_stderr("everything is done");
    let now = destination.connect().await.number("select max(id) from a").await;
    assert_eq!(now, there, "what came later is not part of it");
    pipeline.run(&["init"]).await.expect_stderr("is set up already");
    pipeline.try_run(&["run", "--stop-at", "now"]).await.expect(2).expect_stderr("changes");
    drop(writer);
    let nowhere = source.at_port(1);
    pipeline.readdress(&nowhere, &destination);
    pipeline.run(&["run"]).await.expect_stderr("everything is done");
    pipeline.readdress(&source, &destination);
    pipeline.teardown().await;
    assert_eq!(traces(&source).await, before);
    assert!(!pipeline.log_dir().exists());
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_alone_is_one_state_of_the_source() {
    copies("[\"copy\"]", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_and_copy_are_one_state_of_the_source() {
    copies("[\"copy\", \"schema\"]", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_and_applier_on_their_own_end_when_their_part_is_done() {
    let (source, destination) = source_and_destination(false).await;
    let before = traces(&source).await;
    let pipeline = with_stages(&source, &destination, "[\"schema\", \"copy\"]").build();
    pipeline.init().await;
    let writer = Writer::start(&source).await;
    let mut applier = pipeline.applier();
    pipeline.reader().wait(WITHIN).await.expect(0);
    assert_eq!(traces(&source).await, before, "the log has it all: nothing stays at the source");
    applier.wait(WITHIN).await.expect(0);
    assert_consistent(&destination).await;
    pipeline.reader().wait(WITHIN).await.expect(0);
    pipeline.applier().wait(WITHIN).await.expect(0);
    drop(writer);
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_is_continued_by_the_next_run() {
    let (source, destination) = source_and_destination(false).await;
    let before = traces(&source).await;
    let pipeline = with_stages(&source, &destination, "[\"schema\", \"copy\"]").build();
    pipeline.init().await;
    let writer = Writer::start(&source).await;
    for place in [
        "select count(*) > 0 from pgtrail.checkpoint where schema_stage is not null",
        "select count(*) > 0 from pgtrail.base_load",
        "select count(*) > 0 from pgtrail.base_load where done",
        "select count(*) > 0 from pgtrail.checkpoint where schema_stage = 'complete'",
    ] {
        let mut run = pipeline.spawn(&["run"]);
        run.allow("");
        wait_until(place, WITHIN, async || destination.text(place).await == "t").await;
        run.kill();
    }
    let mut run = pipeline.spawn(&["run"]);
    // Processes of the killed run may be on their way out yet.
    run.allow("");
    run.wait(WITHIN).await.expect(0).expect_stderr("everything is done");
    assert_consistent(&destination).await;
    assert_eq!(traces(&source).await, before);
    drop(writer);
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_cut_short_is_continued() {
    let Some(binary) = failpoints_binary() else {
        println!("skipped: no pgtrail-failpoints beside the tests; \"make build-tests\" makes it");
        return;
    };
    let places = [
        "reader::copy::before_conclusion",
        "reader::copy::after_conclusion",
        "release::before_source",
        "release::after_source",
    ];
    for failpoint in places {
        let (source, destination) = source_and_destination(true).await;
        let before = traces(&source).await;
        let pipeline = with_stages(&source, &destination, "[\"copy\"]").binary(&binary).build();
        pipeline.init().await;
        let writer = Writer::start(&source).await;
        let mut reader = pipeline.spawn_failing(&["reader"], (failpoint, "1*panic"));
        let exit = reader.wait(WITHIN).await;
        assert_ne!(exit.code, Some(0), "{failpoint} is not reached");
        pipeline.run(&["run"]).await.expect_stderr("everything is done");
        assert_consistent(&destination).await;
        assert_eq!(traces(&source).await, before, "after {failpoint}");
        drop(writer);
        pipeline.teardown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_and_changes_begin_at_the_slot() {
    let (source, destination) = source_and_destination(false).await;
    let pipeline = with_stages(&source, &destination, "[\"schema\", \"changes\"]").build();
    pipeline.init().await;
    source.exec("insert into a values (900001, 'after init')").await;
    pipeline.run_to_now().await;
    assert_eq!(destination.text("select string_agg(id::text, ',') from a").await, "900001");
    assert_eq!(destination.text("select count(*) from b").await, "0", "no row is copied");
    source.exec("truncate a, b; insert into b values (1, 'x'); update b set v = 'y'").await;
    pipeline.run_to_now().await;
    assert_equal(&source, &destination).await;
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_an_empty_destination_becomes_a_live_copy() {
    let (source, destination) = source_and_destination(false).await;
    let pipeline = Pipeline::builder(&source, &destination).without("stages").build();
    pipeline.init().await;
    let mut run = pipeline.spawn(&["run"]);
    wait_equal(&source, &destination, WITHIN).await;
    source.exec("insert into a values (900001, 'later'); delete from b where id = 3").await;
    wait_equal(&source, &destination, WITHIN).await;
    run.terminate();
    run.wait(WITHIN).await.expect(0);
    pipeline.run(&["schema", "diff"]).await;
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pipeline_is_brought_to_its_end_by_taking_changes_out() {
    let (source, destination) = source_and_destination(false).await;
    let before = traces(&source).await;
    let pipeline =
        with_stages(&source, &destination, "[\"schema\", \"copy\", \"changes\"]").build();
    pipeline.init().await;
    pipeline.run_to_now().await;
    source.exec("insert into a values (900001, 'later'); delete from b where id = 3").await;
    let config = std::fs::read_to_string(pipeline.config_file()).expect("read");
    let config = config.replace(", \"changes\"]", "]");
    std::fs::write(pipeline.config_file(), config).expect("write");
    pipeline.run(&["run"]).await.expect_stderr("everything is done");
    assert_equal(&source, &destination).await;
    assert_eq!(traces(&source).await, before, "nothing stays at the source");
    pipeline.teardown().await;
}
