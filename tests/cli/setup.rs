//! `init` and `teardown`: what they make, that they can be repeated, and that nothing stays behind.

use pgtrail_tests::{Database, Pipeline, pair};

/// Everything of ours, and every replica identity, as text.
const TRACES: &str = "\
select 'slot ' || slot_name from pg_replication_slots where database = current_database()
union all select 'publication ' || pubname from pg_publication
union all select 'schema ' || nspname from pg_namespace where nspname = 'pgtrail'
union all select 'identity ' || relname || ' ' || relreplident::text
          from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
order by 1";

const TABLES: &str = "
create table keyed (id int primary key);
create table keyless (a int);
create table indexed (a int not null, b int);
create unique index indexed_a on indexed (a);
create table nothing (id int primary key);
alter table nothing replica identity nothing;
create table deferred (id int primary key deferrable);
create table part (id int primary key) partition by range (id);
create table part1 partition of part for values from (0) to (10)";

pub(crate) async fn databases() -> (Database, Database) {
    let (source, destination) = pair().fresh_databases().await;
    source.exec(TABLES).await;
    destination.exec(TABLES).await;
    (source, destination)
}

pub(crate) async fn traces(database: &Database) -> Vec<String> {
    database.connect().await.texts(TRACES).await
}

#[tokio::test]
async fn teardown_leaves_both_sides_as_init_found_them() {
    let (source, destination) = databases().await;
    let before = (traces(&source).await, traces(&destination).await);
    let pipeline = Pipeline::start(&source, &destination).await;

    let made = traces(&source).await;
    let slot = format!("slot {}", pipeline.slot());
    for expected in [
        slot.as_str(),
        "schema pgtrail",
        "identity keyed d",
        "identity keyless f",
        "identity indexed i",
        "identity nothing i",
        "identity deferred f",
    ] {
        assert!(made.iter().any(|trace| trace == expected), "no {expected:?} in {made:?}");
    }
    assert_eq!(traces(&destination).await.iter().filter(|t| *t == "schema pgtrail").count(), 1);

    pipeline.teardown().await;
    assert_eq!((traces(&source).await, traces(&destination).await), before);
    assert!(!pipeline.log_dir().exists(), "the log is gone");
    pipeline.teardown().await;
}

#[tokio::test]
async fn init_can_be_repeated() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    let made = traces(&source).await;
    pipeline.run(&["init"]).await.expect_stderr("is set up already");
    assert_eq!(traces(&source).await, made);
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (source, destination) = databases().await;
    let before = traces(&source).await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let exit = pipeline.run(&["init", "--dry-run"]).await;
    assert!(exit.stdout.contains("give table public.keyless replica identity full"), "{exit:?}");
    assert!(exit.stdout.contains("using index indexed_a"), "{exit:?}");
    assert_eq!(traces(&source).await, before);
    assert!(!pipeline.log_dir().exists());

    pipeline.init().await;
    let made = traces(&source).await;
    let exit = pipeline.run(&["teardown", "--dry-run"]).await;
    assert!(exit.stdout.contains("drop replication slot"), "{exit:?}");
    assert_eq!(traces(&source).await, made);
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_failed_init_takes_back_what_it_made() {
    let (source, destination) = databases().await;
    let before = (traces(&source).await, traces(&destination).await);
    let pipeline = Pipeline::builder(&source, &destination).build();
    // The log cannot be made where a file stands: the last step fails.
    std::fs::write(pipeline.log_dir(), "in the way").expect("write");
    let exit = pipeline.try_run(&["init"]).await;
    assert_ne!(exit.code, Some(0));
    assert_eq!((traces(&source).await, traces(&destination).await), before, "{}", exit.stderr);
    std::fs::remove_file(pipeline.log_dir()).expect("remove");
    pipeline.init().await;
    pipeline.teardown().await;
}

#[tokio::test]
async fn an_init_that_was_cut_short_is_begun_anew() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    // As a kill -9 before the last step would leave it.
    source.exec("update pgtrail.pipeline set incarnation = null").await;
    pipeline.init().await;
    pipeline.run_to_now().await;
    pipeline.teardown().await;
}

#[tokio::test]
async fn pipelines_that_share_a_database_leave_each_other_alone() {
    let (source, destination) = databases().await;
    let (_, other) = databases().await;
    let before = traces(&source).await;
    let first = Pipeline::start(&source, &destination).await;
    let second = Pipeline::start(&source, &other).await;
    first.teardown().await;
    let left = traces(&source).await;
    for expected in ["schema pgtrail", "identity keyless f", &format!("slot {}", second.slot())] {
        assert!(left.iter().any(|trace| trace == expected), "no {expected:?} in {left:?}");
    }
    second.run_to_now().await;
    second.teardown().await;
    assert_eq!(traces(&source).await, before);
}

#[tokio::test]
async fn teardown_does_what_it_can_when_a_side_is_away() {
    let (source, destination) = databases().await;
    let mut pipeline = Pipeline::start(&source, &destination).await;
    pipeline.readdress(&source, &destination.at_port(1));
    let exit = pipeline.try_run(&["teardown", "--yes"]).await.expect(4);
    assert!(exit.stderr.contains("left at destination \"default\""), "{}", exit.stderr);
    assert!(!traces(&source).await.contains(&format!("slot {}", pipeline.slot())));
    assert!(pipeline.log_dir().exists(), "kept until all is done");
    pipeline.readdress(&source, &destination);
    pipeline.teardown().await;
    assert!(!traces(&destination).await.contains(&"schema pgtrail".to_owned()));
    assert!(!pipeline.log_dir().exists());
}

#[tokio::test]
async fn teardown_asks_and_without_a_terminal_refuses() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    let made = traces(&source).await;
    pipeline.try_run(&["teardown"]).await.expect(2).expect_stderr("--yes");
    assert_eq!(traces(&source).await, made);
    pipeline.run(&["teardown", "--yes", "--keep-log"]).await;
    assert!(pipeline.log_dir().exists());
}

#[tokio::test]
async fn a_selection_is_published_as_a_list() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source, &destination)
        .line("objects", "tables = [\"public.keyed\", \"public.part\", \"public.part1\"]")
        .build();
    pipeline.init().await;
    let published = source
        .connect()
        .await
        .texts("select tablename::text from pg_publication_tables order by 1")
        .await;
    assert_eq!(published, ["keyed", "part1"]);
    let all = source.text("select puballtables::text from pg_publication").await;
    assert_eq!(all, "false");
    pipeline.teardown().await;
}
