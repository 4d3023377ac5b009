//! The rows that exist: copied while they are being changed, each exactly once.

use std::time::Duration;

use pgtrail_tests::{Ledger, LedgerOptions, Link, Pipeline, pair, seed, wait_for};

/// Long enough for a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_base_and_handover_under_load() {
    let (source, destination) = pair().fresh_databases().await;
    let options = LedgerOptions {
        accounts: 2000,
        writers: 4,
        rate: 0,
        seed: seed("a_base_and_handover_under_load"),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::create(&source, &destination, options).await;
    let load = ledger.start();
    load.progress(200, WITHIN).await;
    let mut link = Link::between(&source, &destination).start().await;
    load.progress(1000, WITHIN).await;
    wait_for("rows at the destination", WITHIN, async || {
        (destination.text("select count(*) from ledger").await != "0").then_some(())
    })
    .await;
    load.progress(500, WITHIN).await;
    load.stop().await;
    link.settle_within(WITHIN).await;
    ledger.verify_with_copy(WITHIN).await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_table_rewritten_or_truncated_before_its_copy() {
    let schema = "create table rewritten (id int primary key, v int); create table emptied (id int primary key)";
    let builder = Link::builder().await.both(schema).await;
    let builder = builder
        .at_source(
            "insert into rewritten select n, n from generate_series(1, 1000) n;
             insert into emptied select generate_series(1, 1000)",
        )
        .await;
    let (source, destination) = (builder.source().clone(), builder.destination().clone());
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    // The slot exists; the copy begins with the reader. In between both tables get new files.
    let session = source.connect().await;
    session.exec("begin; truncate emptied; insert into emptied values (1), (2)").await;
    session.exec("alter table rewritten alter v type int using v + 1").await;
    let (reader, applier) = (pipeline.reader(), pipeline.applier());
    let link = Link { source, destination, pipeline, reader, applier };
    wait_for("the copy to wait for the lock", WITHIN, async || {
        let waiting = "select count(*) from pg_locks where not granted and database =
                       (select oid from pg_database where datname = current_database())";
        (link.source.text(waiting).await != "0").then_some(())
    })
    .await;
    session.exec("commit").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_table_dropped_before_its_copy_is_left_out() {
    let schema = "create table stays (id int primary key); create table goes (id int primary key)";
    let builder = Link::builder().await.both(schema).await;
    let builder =
        builder.at_source("insert into stays values (1); insert into goes values (1)").await;
    let (source, destination) = (builder.source().clone(), builder.destination().clone());
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    source.exec("drop table goes").await;
    let (mut reader, mut applier) = (pipeline.reader(), pipeline.applier());
    reader.allow("goes");
    applier.allow("goes");
    let mut link = Link { source, destination, pipeline, reader, applier };
    link.apply("insert into stays values (2)").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_an_alter_at_the_source_waits_for_one_table_only() {
    let schema = "create table small (id int primary key, v int); create table big (id int primary key, v text)";
    let builder = Link::builder().await.both(schema).await;
    let rows = "insert into small values (1, 1);
                insert into big select n, repeat(md5(n::text), 20) from generate_series(1, 300000) n";
    let builder = builder.at_source(rows).await;
    let mut link = builder.start().await;
    // Tables have locks of their own: the small one's is gone while the big one is still read.
    let altered = link.source.connect().await;
    let begun = std::time::Instant::now();
    altered.exec("alter table small alter v set default 7").await;
    println!("the ALTER waited {:?}", begun.elapsed());
    link.apply("insert into small (id) values (2)").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_the_copy_survives_kills_of_both_processes() {
    let schema = "create table a (id int primary key, v text); create table b (v text); create table c (id int primary key)";
    let rows = "insert into a select n, repeat(md5(n::text), 8) from generate_series(1, 120000) n;
                insert into b select repeat(md5((n % 1000)::text), 8) from generate_series(1, 120000) n;
                insert into c select generate_series(1, 50000)";
    let builder = Link::builder().await.both(schema).await.at_source(rows).await;
    // Counts what is loaded: a block loaded twice shows here even when it is deduplicated later.
    builder
        .destination()
        .exec(
            "create table loaded (relation name, n bigint);
             create function count_rows() returns trigger language plpgsql security definer as $$ begin
                 insert into public.loaded select tg_table_name, count(*) from fresh; return null; end $$;
             create trigger counted after insert on b referencing new table as fresh
                 for each statement execute function count_rows();
             alter table b enable always trigger counted",
        )
        .await;
    let mut link = builder.start().await;
    link.allow_all();
    let mut random = seed::rng(seed("p2_the_copy_survives_kills"), 1);
    for round in 0..6 {
        let pause = Duration::from_millis(rand::Rng::random_range(&mut random, 50..600));
        let begun = std::time::Instant::now();
        wait_for("the moment", WITHIN, async || (begun.elapsed() >= pause).then_some(())).await;
        if round % 2 == 0 {
            link.applier.kill();
            link.applier = link.pipeline.applier();
        } else {
            link.reader.kill();
            link.reader = link.pipeline.reader();
        }
        link.allow_all();
    }
    link.settle().await;
    assert_eq!(link.destination.text("select sum(n) from loaded").await, "120000");
    link.apply("insert into c values (1000000)").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_copy_only_changes_arrive() {
    let schema = "create table t (id int primary key, v text)";
    let mut link = Link::builder()
        .await
        .both(schema)
        .await
        .at_source("insert into t values (1, 'old')")
        .await
        .at_destination("insert into t values (1, 'kept')")
        .await
        .configured(|pipeline| pipeline.top("stages = [\"changes\"]"))
        .start()
        .await;
    link.source.exec("insert into t values (2, 'new')").await;
    wait_for("the change", WITHIN, async || {
        (link.destination.text("select count(*) from t").await == "2").then_some(())
    })
    .await;
    assert_eq!(link.destination.text("select v from t where id = 1").await, "kept");
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_to_now_copies_and_ends() {
    let schema = "create table t (id int primary key, v text)";
    let builder = Link::builder().await.both(schema).await;
    let rows = "insert into t select n, md5(n::text) from generate_series(1, 20000) n";
    let builder = builder.at_source(rows).await;
    let (source, destination) = (builder.source().clone(), builder.destination().clone());
    let pipeline = Pipeline::start(&source, &destination).await;
    pipeline.run_to_now().await;
    pgtrail_tests::assert_equal(&source, &destination).await;
    source.exec("update t set v = 'x' where id < 100; delete from t where id > 19000").await;
    pipeline.run_to_now().await;
    pgtrail_tests::assert_equal(&source, &destination).await;
    // Each half by itself: to the log, then from the log with the source's rows untouched.
    source.exec("insert into t select n, 'y' from generate_series(30001, 31000) n").await;
    pipeline.run(&["reader", "--stop-at", "now"]).await;
    assert_eq!(destination.text("select count(*) from t where v = 'y'").await, "0");
    pipeline.run(&["applier", "--stop-at", "now"]).await;
    pgtrail_tests::assert_equal(&source, &destination).await;
    pipeline.run_to_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_feeds_two_destinations_at_their_own_pace() {
    let (source, first) = pair().fresh_databases().await;
    let second = pair().destination.create_database(&format!("{}_second", source.name)).await;
    let schema = "create table t (id int primary key, v text); create table bare (v text)";
    for database in [&source, &first, &second] {
        database.exec(schema).await;
    }
    source.exec("insert into t values (1, 'a'); insert into bare values ('x'), ('x')").await;
    let pipeline = Pipeline::builder(&source, &first).also("second", &second).build();
    pipeline.init().await;
    let mut reader = pipeline.reader();
    let mut one = pipeline.spawn(&["applier", "first"]);
    source.exec("insert into t values (2, 'b')").await;
    pgtrail_tests::wait_equal(&source, &first, WITHIN).await;
    assert_eq!(second.text("select count(*) from t").await, "0");
    // The other one begins long after, from the log alone.
    let mut two = pipeline.spawn(&["applier", "second"]);
    pgtrail_tests::wait_equal(&source, &second, WITHIN).await;
    source.exec("update t set v = 'c'; delete from bare where ctid = '(0,1)'").await;
    pgtrail_tests::wait_equal(&source, &first, WITHIN).await;
    pgtrail_tests::wait_equal(&source, &second, WITHIN).await;
    for process in [&mut reader, &mut one, &mut two] {
        process.terminate();
        process.wait(pgtrail_tests::link::STOP_WITHIN).await.expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_destination_refuses_does_not_stop_the_others() {
    let (source, destination) = pair().fresh_databases().await;
    source
        .exec(
            "create table refused (id int primary key, v int); create table other (id int primary key);
             insert into refused select n, -n from generate_series(1, 1000) n;
             insert into other select generate_series(1, 200000)",
        )
        .await;
    destination
        .exec(
            "create table refused (id int primary key, v int constraint sign check (v > 0));
             create table other (id int primary key)",
        )
        .await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    pipeline.init().await;
    let mut run = pipeline.spawn(&["run", "--stop-at", "now"]);
    run.allow("");
    let exit = run.wait(WITHIN).await.expect(3);
    assert!(exit.stderr.contains("PGT-0409"), "{}", exit.stderr);
    assert!(exit.stderr.contains("public.refused"), "{}", exit.stderr);
    assert_eq!(destination.text("select count(*) from other").await, "200000");
    destination.exec("alter table refused drop constraint sign").await;
    pipeline.run_to_now().await;
    pgtrail_tests::assert_equal(&source, &destination).await;
    pipeline.teardown().await;
}
