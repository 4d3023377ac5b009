//! Sequences: values that are in no transaction, and follow all the same.

use std::time::Duration;

use pgtrail_tests::{Cluster, Database, Pipeline, pair, wait_until};

const WITHIN: Duration = Duration::from_secs(60);

/// Every way a sequence comes to be used, under names that need quotes.
const SCHEMA: &str = "create schema \"Q;--\";
    create table serial (id serial primary key, v int);
    create table \"Q;--\".\"ident\"\"ity\" (id bigint generated always as identity primary key, v int);
    create sequence \"Q;--\".\"from\nhere\" as smallint increment 5;
    create table defaulted (id int primary key default nextval('\"Q;--\".\"from\nhere\"'), v int);
    create sequence down increment -3;
    create sequence untouched start 40;
    create sequence placed;
    create sequence \"select\" minvalue -5 maxvalue 5 start -5 cycle";

const SEQUENCES: [&str; 7] = [
    "serial_id_seq",
    "\"Q;--\".\"ident\"\"ity_id_seq\"",
    "\"Q;--\".\"from\nhere\"",
    "down",
    "untouched",
    "placed",
    "\"select\"",
];

/// Where each stands.
async fn positions(database: &Database) -> Vec<String> {
    let session = database.connect().await;
    let mut positions = Vec::new();
    for name in SEQUENCES {
        positions.push(
            session.text(&format!("select last_value || ' ' || is_called from {name}")).await,
        );
    }
    positions
}

async fn tables() -> (Database, Database) {
    let (source, destination) = pair().fresh_databases().await;
    for database in [&source, &destination] {
        database.exec(SCHEMA).await;
    }
    (source, destination)
}

#[tokio::test(flavor = "multi_thread")]
async fn stand_at_the_destination_where_they_stand_at_the_source() {
    let (source, destination) = tables().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    source
        .exec(
            "insert into serial (v) select generate_series(1, 7);
             insert into \"Q;--\".\"ident\"\"ity\" (v) select generate_series(1, 70);
             insert into defaulted (v) select generate_series(1, 3);
             select nextval('down'), nextval('down');
             select setval('placed', 1000, false);
             select nextval('\"select\"')",
        )
        .await;
    pipeline.run_to_now().await;
    let expected = positions(&source).await;
    assert_eq!(
        expected,
        ["7 true", "70 true", "11 true", "-4 true", "40 false", "1000 false", "-5 true"]
    );
    assert_eq!(positions(&destination).await, expected);

    // What a switch-over needs: the next numbers are free.
    destination
        .exec(
            "insert into serial (v) values (0); insert into \"Q;--\".\"ident\"\"ity\" (v) values (0);
             insert into defaulted (v) values (0)",
        )
        .await;
    pipeline.teardown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_continuously_and_are_never_set_back() {
    let (source, destination) = tables().await;
    let pipeline = Pipeline::builder(&source, &destination)
        .line("source", "sequence_interval = \"200ms\"")
        .build();
    pipeline.init().await;
    // Ahead already: somebody left room.
    destination.exec("select setval('serial_id_seq', 500), setval('down', -500)").await;
    let mut run = pipeline.spawn(&["run"]);
    for round in 1..=3 {
        source.exec("select nextval('placed'), nextval('serial_id_seq'), nextval('down')").await;
        let expected = format!("{round} true");
        wait_until("the sequence at the destination", WITHIN, async || {
            destination.text("select last_value || ' ' || is_called from placed").await == expected
        })
        .await;
    }
    // Set back at the source: the destination keeps what it gave out.
    source.exec("select setval('placed', 1, false)").await;
    let status = wait_until_status(&pipeline, "public.placed", "set").await;
    assert!(status["set_at"].is_string(), "{status}");
    run.terminate();
    assert_eq!(run.wait(WITHIN).await.code, Some(0));
    pipeline.run_to_now().await;
    let now = positions(&destination).await;
    assert_eq!((&*now[0], &*now[3], &*now[5]), ("500 true", "-500 true", "3 true"));
    pipeline.teardown().await;
}

/// The applier's word on a sequence, once it is in this state.
async fn wait_until_status(pipeline: &Pipeline, name: &str, state: &str) -> serde_json::Value {
    let mut found = serde_json::Value::Null;
    wait_until("the sequence in the status", WITHIN, async || {
        let status = pipeline.status().await;
        let all = status["appliers"][0]["sequences"].as_array().cloned().unwrap_or_default();
        found = all.into_iter().find(|one| one["name"] == name).unwrap_or_default();
        found["state"] == state
    })
    .await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn that_are_not_there_or_do_not_fit_are_named() {
    let (source, destination) = pair().fresh_databases().await;
    source
        .exec(
            "create table t (id serial primary key); create sequence wide;
             insert into t select nextval('t_id_seq') from generate_series(1, 5);
             select setval('wide', 1000000)",
        )
        .await;
    destination.exec("create table t (id int primary key); create sequence wide as smallint").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    let mut run = pipeline.spawn(&["run"]);
    let missing = wait_until_status(&pipeline, "public.t_id_seq", "not set").await;
    assert_eq!(missing["reason"], "it is not at the destination");
    let narrow = wait_until_status(&pipeline, "public.wide", "not set").await;
    assert_eq!(narrow["reason"], "its bounds at the destination exclude the source's value");
    let text = pipeline.run(&["status"]).await.stdout;
    assert!(text.contains("sequence not set: public.t_id_seq: it is not"), "{text}");
    run.terminate();
    assert_eq!(run.wait(WITHIN).await.code, Some(0));
    pipeline.teardown().await;
}

/// Server versions differ in what `pg_sequence_last_value` refuses.
#[tokio::test(flavor = "multi_thread")]
async fn between_other_versions() {
    let builders = [Cluster::of_major(11), Cluster::of_major(18)];
    let [Some(eleven), Some(eighteen)] = builders else {
        pgtrail_tests::Install::missing(11);
        return;
    };
    let (eleven, eighteen) = (eleven.start(), eighteen.start());
    for (from, to) in [(&eleven, &eighteen), (&eighteen, &eleven)] {
        let source = from.create_database("sequences_source").await;
        let destination = to.create_database("sequences_destination").await;
        for database in [&source, &destination] {
            database.exec(SCHEMA).await;
        }
        source
            .exec("insert into serial (v) values (1), (2); select setval('placed', 9, false)")
            .await;
        let pipeline = Pipeline::builder(&source, &destination).build();
        pipeline.init().await;
        pipeline.run_to_now().await;
        assert_eq!(positions(&destination).await, positions(&source).await);
        pipeline.teardown().await;
    }
}
