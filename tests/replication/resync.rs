//! Tables copied again while everything else flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgtrail_tests::{Cluster, Database, Pipeline, Process, assert_equal, pair, seed, wait_until};
use tokio::task::JoinHandle;

const WITHIN: Duration = Duration::from_secs(90);

/// Two tables whose rows are always changed together.
const SCHEMA: &str = "create table one (id int primary key, v bigint not null, pad text);
    create table two (id int primary key, v bigint not null, pad text)";

const ROWS: i32 = 20_000;

async fn filled() -> (Database, Database) {
    let (source, destination) = pair().fresh_databases().await;
    for database in [&source, &destination] {
        database.exec(SCHEMA).await;
    }
    for table in ["one", "two"] {
        let sql = format!(
            "insert into {table} select n, 0, repeat('x', 50) from generate_series(1, {ROWS}) n"
        );
        source.exec(&sql).await;
    }
    (source, destination)
}

/// What makes a destination differ without the source's doing.
async fn damage(destination: &Database) {
    destination
        .exec(
            "delete from one where id % 3 = 0; update one set v = -1 where id % 5 = 0;
             insert into one select n, -2, null from generate_series(1000001, 1000100) n",
        )
        .await;
}

/// Changes both tables in one transaction, again and again.
struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(source: &Database, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, source) = (Arc::clone(&stop), source.clone());
        let task = tokio::spawn(async move {
            let session = source.connect().await;
            let mut n = seed % 1000;
            while !stopped.load(Ordering::Relaxed) {
                n += 1;
                let id = (n * 7919) % u64::try_from(ROWS).expect("positive") + 1;
                let sql = match n % 10 {
                    0 => format!(
                        "begin; delete from one where id = {id}; delete from two where id = {id};
                         insert into one values ({id}, {n}, 'new');
                         insert into two values ({id}, {n}, 'new'); commit"
                    ),
                    1 => format!(
                        "begin; insert into one values ({}, {n}); insert into two values ({}, {n}); commit",
                        n + 100_000,
                        n + 100_000
                    ),
                    _ => format!(
                        "begin; update one set v = {n} where id = {id};
                         update two set v = {n} where id = {id}; commit"
                    ),
                };
                session.exec(&sql).await;
            }
        });
        Load { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the load");
    }
}

/// Rows of the two tables that no transaction ever left so.
async fn torn(destination: &Database) -> String {
    destination
        .text(
            "select count(*) from one full join two using (id) where one.v is distinct from two.v",
        )
        .await
}

async fn wait_applying(pipeline: &Pipeline) {
    wait_until("the applier to apply", WITHIN, async || {
        pipeline.status().await["appliers"][0]["state"] == "applying"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_replaced_under_load_and_agrees_with_the_others_at_once() {
    let (source, destination) = filled().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    let load = Load::start(&source, seed("a_table_is_replaced_under_load"));
    let mut run = pipeline.spawn(&["run"]);
    wait_applying(&pipeline).await;
    for _ in 0..3 {
        // A change to a row that is not there would be a conflict, rightly.
        destination
            .exec("insert into one select n, -2, null from generate_series(1000001, 1000100) n")
            .await;
        let done = pipeline.run(&["resync", "--wait", "public.one"]).await;
        assert_eq!(done.stdout, "public.one is copied again\n");
        for _ in 0..20 {
            assert_eq!(torn(&destination).await, "0");
        }
    }
    load.stop().await;
    run.terminate();
    assert_eq!(run.wait(WITHIN).await.code, Some(0));
    pipeline.run_to_now().await;
    assert_equal(&source, &destination).await;
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_changed_at_the_destination_is_mended() {
    let (source, destination) = filled().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    let mut run = pipeline.spawn(&["run"]);
    wait_applying(&pipeline).await;
    damage(&destination).await;
    let json = pipeline.run(&["resync", "--wait", "--json", "public.one"]).await.stdout;
    assert_eq!(json.trim(), r#"{"done":true,"tables":["public.one"]}"#);
    run.terminate();
    run.wait(WITHIN).await;
    pipeline.run_to_now().await;
    assert_equal(&source, &destination).await;
    pipeline.teardown().await;
}

/// Reader and applier are killed in turn, at moments that differ from round to round.
#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_lose_nothing() {
    let (source, destination) = filled().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    let seed = seed("kills_at_any_moment_lose_nothing");
    let load = Load::start(&source, seed);
    let (mut reader, mut applier) = (pipeline.reader(), pipeline.applier());
    wait_applying(&pipeline).await;
    for round in 0..10_u64 {
        pipeline.run(&["resync", "public.one"]).await;
        // Not a wait for anything: the moment of the kill.
        tokio::time::sleep(Duration::from_millis((seed + round * 67) % 400)).await;
        let (process, again): (&mut Process, _) = match round % 2 {
            0 => (&mut applier, pipeline.applier()),
            _ => (&mut reader, pipeline.reader()),
        };
        process.kill();
        *process = again;
        wait_applying(&pipeline).await;
        wait_until("the reader", WITHIN, async || {
            pipeline.status().await["reader"]["state"] == "streaming"
        })
        .await;
    }
    pipeline.run(&["resync", "--wait", "public.one"]).await;
    assert_eq!(torn(&destination).await, "0");
    load.stop().await;
    for process in [&mut reader, &mut applier] {
        process.terminate();
        process.wait(WITHIN).await;
    }
    pipeline.run_to_now().await;
    assert_equal(&source, &destination).await;
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_could_not_be_copied_joins_later() {
    let (source, destination) = filled().await;
    let role = format!("{}_reader", source.name);
    let mut pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    source
        .exec(&format!(
            "create role {role} login replication; grant select on one to {role};
             grant usage on schema pgtrail to {role};
             grant select, update on all tables in schema pgtrail to {role}"
        ))
        .await;
    pipeline.readdress(&source.as_user(&role, None), &destination);

    let mut once = pipeline.spawn(&["run", "--stop-at", "now"]);
    once.allow("");
    let ended = once.wait(WITHIN).await.expect(3);
    assert!(ended.stderr.contains("tables could not be copied: public.two"), "{}", ended.stderr);

    let load = Load::start(&source, seed("a_table_that_could_not_be_copied"));
    let mut run = pipeline.spawn(&["run"]);
    wait_applying(&pipeline).await;
    wait_until("the other table", WITHIN, async || {
        destination.text("select count(*) from one where v > 0").await != "0"
    })
    .await;
    assert_eq!(destination.text("select count(*) from two").await, "0");
    let status = pipeline.status().await;
    assert_eq!(status["appliers"][0]["isolated"], serde_json::json!(["public.two"]));
    let text = pipeline.run(&["status"]).await.stdout;
    assert!(text.contains("table not copied: public.two: "), "{text}");
    assert!(text.contains("permission denied"), "{text}");

    source.exec(&format!("grant select on two to {role}")).await;
    pipeline.run(&["resync", "--wait", "public.two"]).await;
    assert_eq!(torn(&destination).await, "0");
    load.stop().await;
    run.terminate();
    assert_eq!(run.wait(WITHIN).await.code, Some(0));
    pipeline.run_to_now().await;
    assert_equal(&source, &destination).await;
    pipeline.readdress(&source, &destination);
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_table_of_the_pipeline_is_refused_by_name() {
    let (source, destination) = filled().await;
    let pipeline = Pipeline::builder(&source, &destination)
        .line("objects", "exclude = ['public.two']")
        .build();
    pipeline.init().await;
    let refused = pipeline.try_run(&["resync", "public.one"]).await.expect(2);
    assert!(refused.stderr.contains("no reader of pipeline"), "{}", refused.stderr);
    let mut run = pipeline.spawn(&["run"]);
    wait_applying(&pipeline).await;
    for table in ["public.two", "public.three"] {
        let refused = pipeline.try_run(&["resync", table]).await.expect(2);
        let expected = format!("{table} is no table of this pipeline");
        assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
    }
    run.terminate();
    assert_eq!(run.wait(WITHIN).await.code, Some(0));
    pipeline.teardown().await;
}

/// A commit that is in the WAL, and in the stream, long before any snapshot sees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_standby_is_not_lost() {
    let cluster = Cluster::builder().start();
    let source = cluster.create_database("waits").await;
    let destination = pair().destination.create_database(&pgtrail_tests::pair::fresh_name()).await;
    for database in [&source, &destination] {
        database.exec(SCHEMA).await;
    }
    source.exec("alter database waits set synchronous_commit = local").await;
    source.exec("insert into one values (1, 1); insert into two values (1, 1)").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    let mut run = pipeline.spawn(&["run"]);
    wait_applying(&pipeline).await;
    let admin = cluster.maintenance();
    admin.exec("alter system set synchronous_standby_names = 'nobody'").await;
    admin.exec("select pg_reload_conf()").await;
    let held = source.clone();
    let commit = tokio::spawn(async move {
        let session = held.connect().await;
        session.exec("set synchronous_commit = on").await;
        session
            .exec("begin; insert into one values (2, 2); insert into two values (2, 2); commit")
            .await;
    });
    wait_until("the commit to wait", WITHIN, async || {
        let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
        source.text(waiting).await == "1"
    })
    .await;
    wait_until("the stream to bring it", WITHIN, async || {
        destination.text("select count(*) from two where id = 2").await == "1"
    })
    .await;
    pipeline.run(&["resync", "public.one"]).await;
    wait_until("the copy to wait for it", WITHIN, async || {
        let sql = "select count(*) from pg_stat_activity where query like '%lock table only%'";
        source.text(sql).await != "0"
    })
    .await;
    assert_eq!(pipeline.status().await["reader"]["rebases"], serde_json::json!(["public.one"]));
    admin.exec("alter system reset synchronous_standby_names").await;
    admin.exec("select pg_reload_conf()").await;
    commit.await.expect("the commit");
    pipeline.run(&["resync", "--wait", "public.one"]).await;
    assert_eq!(torn(&destination).await, "0");
    assert_eq!(destination.text("select count(*) from one").await, "2");
    run.terminate();
    assert_eq!(run.wait(WITHIN).await.code, Some(0));
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applier_that_halted_at_a_table_goes_on_once_it_was_copied_again() {
    let (source, destination) = filled().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    let (mut reader, mut applier) = (pipeline.reader(), pipeline.applier());
    wait_applying(&pipeline).await;
    destination.exec("delete from one where id = 5").await;
    source.exec("update one set v = 1 where id = 5; update two set v = 1 where id = 5").await;
    applier.allow("");
    let exit = applier.wait(WITHIN).await.expect(3);
    assert!(exit.stderr.contains("PGT-0406"), "{}", exit.stderr);
    pipeline.run(&["resync", "public.one"]).await;
    wait_until("the base in the log", WITHIN, async || {
        pipeline.status().await["reader"]["rebases"] == serde_json::json!([])
    })
    .await;
    let mut applier = pipeline.applier();
    pipeline.run(&["resync", "--wait", "public.one"]).await;
    assert_eq!(torn(&destination).await, "0");
    for process in [&mut reader, &mut applier] {
        process.terminate();
        assert_eq!(process.wait(WITHIN).await.code, Some(0));
    }
    pipeline.run_to_now().await;
    assert_equal(&source, &destination).await;
    pipeline.teardown().await;
}
