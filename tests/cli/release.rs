//! Release: what teardown says it will do is what it does, a source that is away gets SQL, and an
//! init that fails at any step leaves nothing on either side.

use pgtrail_tests::process::failpoints_binary;
use pgtrail_tests::{Database, Pipeline, pair};

use crate::setup::{databases, traces};

#[tokio::test]
async fn a_dry_run_lists_what_is_there_and_what_stays() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let exit = pipeline.run(&["teardown", "--dry-run"]).await;
    for side in ["source:", "destination \"default\":", "change log:"] {
        let nothing = format!("{side}\n  nothing of the pipeline is there\n");
        assert!(exit.stdout.contains(&nothing), "{}", exit.stdout);
    }
    pipeline.init().await;
    // Changed again since: not ours any more.
    source.exec("alter table keyless replica identity nothing").await;
    let before = (traces(&source).await, traces(&destination).await);
    let exit = pipeline.run(&["teardown", "--dry-run"]).await;
    for line in [
        &format!("  drop replication slot {}\n", pipeline.slot()),
        &format!("  drop publication {}\n", pipeline.slot()),
        "  set replica identity of public.indexed back to default\n",
        "  set replica identity of public.nothing back to nothing\n",
        "  stays: replica identity of public.keyless: it was changed again since init\n",
        "  remove the rows of pipeline",
        "  remove the log directory",
        "kB), once all else is gone (--keep-log leaves it)",
    ] {
        assert!(exit.stdout.contains(line), "no {line:?} in {}", exit.stdout);
    }
    assert_eq!((traces(&source).await, traces(&destination).await), before, "it only says so");
    let exit = pipeline.run(&["teardown", "--dry-run", "--keep-log"]).await;
    assert!(exit.stdout.contains("--keep-log"), "{}", exit.stdout);

    let said = pipeline.run(&["teardown", "--yes"]).await.stderr;
    for line in ["replication slot", "publication", "replica identity of public.indexed"] {
        assert!(said.contains(&format!("removed: {line}")), "no {line:?} in {said}");
    }
    assert!(!said.contains("public.keyless"), "{said}");
    let again = pipeline.run(&["teardown", "--yes"]).await;
    assert_eq!(again.stderr, format!("nothing of pipeline \"{}\" was there\n", pipeline.name));
    let exit = pipeline.run(&["teardown", "--dry-run"]).await;
    assert_eq!(exit.stdout.matches("nothing of the pipeline is there").count(), 3);
}

#[tokio::test]
async fn what_others_use_or_made_stays_and_is_named() {
    let (source, destination) = databases().await;
    let first = Pipeline::start(&source, &destination).await;
    let second = Pipeline::builder(&source, &destination).build();
    source.exec(&format!("create publication {} for all tables", second.slot())).await;
    second.init().await;
    let exit = second.run(&["teardown", "--dry-run"]).await;
    for line in [
        &format!("  stays: publication {}: it was there before init\n", second.slot()),
        "  stays: replica identity of public.keyless: another pipeline relies on it\n",
        "  stays: schema pgtrail: other pipelines use it\n",
    ] {
        assert!(exit.stdout.contains(line), "no {line:?} in {}", exit.stdout);
    }
    second.teardown().await;
    source.exec(&format!("drop publication {}", second.slot())).await;
    first.run_to_now().await;
    first.teardown().await;
}

/// The statements that a command printed for the source, as psql would run them.
fn by_hand(said: &str) -> String {
    let from = said.find("-- What teardown would do at the source").expect("SQL");
    let end = said[from..].find("$pgtrail$;").expect("its end");
    said[from..from + end].to_owned() + "$pgtrail$;"
}

#[tokio::test]
async fn a_source_that_is_away_gets_sql_that_does_the_same() {
    let (source, destination) = databases().await;
    let before = traces(&source).await;
    let mut pipeline = Pipeline::start(&source, &destination).await;
    let nowhere = source.at_port(1);
    pipeline.readdress(&nowhere, &destination);
    let dry = pipeline.try_run(&["teardown", "--dry-run"]).await.expect(4);
    assert!(dry.stdout.contains("source:\n  not asked: "), "{}", dry.stdout);
    assert!(dry.stdout.contains("  remove the rows of pipeline"), "the destination is asked");
    let exit = pipeline.try_run(&["teardown", "--yes"]).await.expect(4);
    assert!(pipeline.log_dir().exists(), "kept until all is done");
    assert_ne!(traces(&source).await, before);

    let session = source.connect().await;
    for sql in [by_hand(&exit.stderr), by_hand(&dry.stdout)] {
        // The second time nothing is left to do.
        session.exec(&sql).await;
        assert_eq!(traces(&source).await, before, "{sql}");
    }
    pipeline.readdress(&source, &destination);
    pipeline.teardown().await;
    assert!(!pipeline.log_dir().exists());
}

/// `init` fails, and both sides are as before; afterwards it works.
async fn fails_without_a_trace(
    pipeline: &Pipeline,
    (source, destination): (&Database, &Database),
    arguments: &[&str],
    mend: impl AsyncFnOnce(),
) {
    let before = (traces(source).await, traces(destination).await);
    let exit = pipeline.try_run(arguments).await;
    assert_ne!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("could not undo"), "{}", exit.stderr);
    let after = (traces(source).await, traces(destination).await);
    assert_eq!(after, before, "{}", exit.stderr);
    assert!(!pipeline.log_dir().is_dir(), "{}", exit.stderr);
    mend().await;
    pipeline.try_run(arguments).await.expect(0);
    pipeline.run_to_now().await;
    pipeline.teardown().await;
    assert_eq!((traces(source).await, traces(destination).await), before);
}

#[tokio::test]
async fn an_init_that_fails_after_any_step_leaves_nothing() {
    let Some(binary) = failpoints_binary() else {
        println!("skipped: no pgtrail-failpoints beside the tests; \"make build-tests\" makes it");
        return;
    };
    let steps = ["registered", "identities_given", "published", "seated", "slot_made", "log_made"];
    for step in steps {
        let (source, destination) = databases().await;
        let before = (traces(&source).await, traces(&destination).await);
        let pipeline = Pipeline::builder(&source, &destination).binary(&binary).build();
        let name = format!("init::{step}");
        let mut init = pipeline.spawn_failing(&["init"], (&name, "return"));
        let exit = init.wait(std::time::Duration::from_secs(60)).await;
        assert_eq!(exit.code, Some(3), "{step}: {}", exit.stderr);
        assert!(exit.stderr.contains(&format!("failed at {name}")), "{}", exit.stderr);
        let after = (traces(&source).await, traces(&destination).await);
        assert_eq!(after, before, "after {step}: {}", exit.stderr);
        assert!(!pipeline.log_dir().exists(), "after {step}");
        pipeline.init().await;
        pipeline.run_to_now().await;
        pipeline.teardown().await;
    }
}

#[tokio::test]
async fn a_publication_that_is_refused_leaves_nothing() {
    let (source, destination) = databases().await;
    source
        .exec(
            "create function refuse() returns event_trigger language plpgsql as \
             'begin raise exception ''not here''; end'; \
             create event trigger refuse on ddl_command_start when tag in ('CREATE PUBLICATION') \
             execute function refuse()",
        )
        .await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    fails_without_a_trace(&pipeline, (&source, &destination), &["init"], async || {
        source.exec("drop event trigger refuse").await;
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_refuses_its_seat_leaves_nothing() {
    let (source, destination) = databases().await;
    destination
        .exec(
            "create function refuse() returns event_trigger language plpgsql as \
             'begin raise exception ''not here''; end'; \
             create event trigger refuse on ddl_command_end when tag in ('CREATE TABLE') \
             execute function refuse()",
        )
        .await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let accepting = ["init", "--accept", "event-triggers"];
    fails_without_a_trace(&pipeline, (&source, &destination), &accepting, async || {
        destination.exec("drop event trigger refuse").await;
    })
    .await;
}

#[tokio::test]
async fn a_slot_that_is_refused_leaves_nothing() {
    let cluster = pgtrail_tests::Cluster::builder()
        .setting("max_replication_slots", "2")
        .setting("max_wal_senders", "4")
        .start();
    let source = cluster.create_database("slots").await;
    let (_, destination) = pair().fresh_databases().await;
    source.exec("create table public.keyless (a int)").await;
    destination.exec("create table public.keyless (a int)").await;
    // Taken between precheck and the slot: by making the publication.
    source
        .exec(
            "create function take() returns event_trigger language plpgsql as \
             'begin perform pg_create_physical_replication_slot(''taken'' || n) \
                    from generate_series(1, 2) n; end'; \
             create event trigger take on ddl_command_end when tag in ('CREATE PUBLICATION') \
             execute function take()",
        )
        .await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let before = (traces(&source).await, traces(&destination).await);
    let exit = pipeline.try_run(&["init"]).await.expect(3);
    assert!(exit.stderr.contains("create the replication slot"), "{}", exit.stderr);
    source
        .exec(
            "drop event trigger take; \
             select pg_drop_replication_slot(slot_name) from pg_replication_slots",
        )
        .await;
    assert_eq!((traces(&source).await, traces(&destination).await), before, "{}", exit.stderr);
    assert!(!pipeline.log_dir().exists());
    pipeline.init().await;
    pipeline.run_to_now().await;
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_made_leaves_nothing() {
    let (source, destination) = databases().await;
    let mut pipeline = Pipeline::builder(&source, &destination).build();
    // Below a file nothing can be made, whoever asks.
    let file = pipeline.dir().join("file");
    std::fs::write(&file, "in the way").expect("write");
    pipeline.relocate_log(&file.join("log"));
    fails_without_a_trace(&pipeline, (&source, &destination), &["init"], async || {
        std::fs::remove_file(&file).expect("remove");
        std::fs::create_dir(&file).expect("make a directory");
    })
    .await;
}
