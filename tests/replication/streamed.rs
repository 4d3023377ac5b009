//! Transactions that the server sends while they are still open: interleaved, rolled back in part
//! or whole, or both at once. `logical_decoding_work_mem` of 64 kB makes nearly all of them so.

use pgtrail_tests::{Link, LinkBuilder};

const SCHEMA: &str = "
    create table t (id int primary key, n int, note text);
    create table log (id int, note text);
    create table unpublished (id int);
";

async fn small_memory() -> LinkBuilder {
    let builder = Link::builder().await;
    let name = builder.source().name.clone();
    builder
        .both(SCHEMA)
        .await
        .at_source(&format!("alter database {name} set logical_decoding_work_mem = '64kB'"))
        .await
}

fn rows(from: u32, to: u32, note: &str) -> String {
    format!(
        "insert into t select n, 0, '{note}' || repeat(md5(n::text), 4)
           from generate_series({from}, {to}) n;"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_several_interleaved() {
    let link = small_memory().await.start().await;
    let sessions = [
        link.source.connect().await,
        link.source.connect().await,
        link.source.connect().await,
        link.source.connect().await,
    ];
    for session in &sessions {
        session.exec("begin").await;
    }
    for round in 0..5 {
        for (k, session) in (0u32..).zip(&sessions) {
            let from = k * 100_000 + round * 1000;
            session.exec(&rows(from, from + 800, "r")).await;
            session
                .exec(&format!("update t set n = n + 1 where id between {from} and {}", from + 300))
                .await;
        }
    }
    // In another order than they began; one not at all.
    for (k, end) in [(2usize, "commit"), (0, "commit"), (3, "rollback"), (1, "commit")] {
        sessions[k].exec(end).await;
        link.source.exec(&format!("insert into log values ({k}, 'between')")).await;
    }
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w5_savepoints_rolled_back_inside() {
    let mut link = small_memory().await.start().await;
    let script = [
        "begin;".to_owned(),
        rows(1, 1000, "kept"),
        "savepoint a;".to_owned(),
        rows(2001, 3000, "gone"),
        "update t set n = -1; savepoint b; delete from t where id < 500; rollback to b;".to_owned(),
        rows(3001, 3500, "gone too"),
        "rollback to a;".to_owned(),
        rows(2001, 2500, "kept"),
        "savepoint c;".to_owned(),
        rows(4001, 5000, "kept"),
        "savepoint d;".to_owned(),
        rows(5001, 6000, "gone"),
        "rollback to d; release c;".to_owned(),
        "update t set n = 1 where id % 2 = 0; commit".to_owned(),
    ];
    link.apply(&script.concat()).await;
    assert_eq!(link.destination.text("select count(*) from t").await, "2500");
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_a_subtransaction_for_every_row() {
    let mut link = small_memory().await.start().await;
    link.apply(
        "do $$ begin
             for i in 1..3000 loop
                 begin
                     insert into t values (i, i, repeat('x', 50));
                     if i % 3 = 0 then raise exception 'no'; end if;
                 exception when raise_exception then
                     insert into log values (i, 'refused');
                 end;
             end loop;
         end $$",
    )
    .await;
    assert_eq!(link.destination.text("select count(*) from t").await, "2000");
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w5_a_shape_changed_in_a_rolled_back_part_is_forgotten() {
    let mut link = small_memory().await.start().await;
    let script = [
        "begin;".to_owned(),
        rows(1, 500, "before"),
        "savepoint s; alter table t add extra int; ".to_owned(),
        "insert into t select n, 0, 'x', 1 from generate_series(10001, 11000) n;".to_owned(),
        "rollback to s;".to_owned(),
        rows(501, 1000, "after"),
        "commit".to_owned(),
    ];
    link.apply(&script.concat()).await;
    link.apply("insert into t values (5000, 1, 'next'); update t set n = 2 where id < 10").await;
    link.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_large_ones_without_published_rows_leave_no_record() {
    let builder = small_memory().await;
    let mut link = builder
        .configured(|pipeline| pipeline.line("objects", "exclude = [\"public.unpublished\"]"))
        .start()
        .await;
    let tables = ["public.t".to_owned(), "public.log".to_owned()];
    link.source.exec("insert into t values (1, 1, 'first')").await;
    link.settle_tables(&tables, pgtrail_tests::link::SETTLE_WITHIN).await;
    for _ in 0..5 {
        link.source.exec("insert into unpublished select generate_series(1, 20000)").await;
    }
    link.source.exec("insert into t values (2, 2, 'last')").await;
    link.settle_tables(&tables, pgtrail_tests::link::SETTLE_WITHIN).await;
    link.stop().await;
    let dump = link.pipeline.dump().await;
    let inserts = dump.iter().filter(|line| line["op"] == "insert").count();
    assert_eq!(inserts, 2, "only the published rows are in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_an_open_one_is_sent_again_after_a_reconnect() {
    let mut link = small_memory().await.start().await;
    link.allow_all();
    let session = link.source.connect().await;
    session.exec("begin").await;
    session.exec(&rows(1, 2000, "open")).await;
    link.source.exec("insert into log values (1, 'other')").await;
    link.settle_tables(&["public.log".to_owned()], pgtrail_tests::link::SETTLE_WITHIN).await;
    for round in 0..3u32 {
        link.reader.kill();
        link.reader = link.pipeline.reader();
        link.reader.allow("");
        session.exec(&rows(10_000 + round * 1000, 10_700 + round * 1000, "more")).await;
        link.source.exec(&format!("insert into log values ({round}, 'round')")).await;
        link.settle_tables(&["public.log".to_owned()], pgtrail_tests::link::SETTLE_WITHIN).await;
    }
    session.exec("commit").await;
    link.finish().await;
}
