//! What must be at the destination already.

use pgtrail_tests::Pipeline;

use crate::look::{both, databases, look, mends};

#[tokio::test]
async fn missing_tables_are_made_by_the_command_that_is_printed() {
    let (source, destination) = databases().await;
    source.exec("create table \"It's\" (id int primary key, \"a\"\"b\" text)").await;
    source.exec("create schema \"My S\"; create table \"My S\".u (id int primary key)").await;
    destination.exec("create schema \"My S\"").await;
    destination.exec("create table \"My S\".other (id int primary key)").await;
    source.exec("insert into \"It's\" values (1, 'one')").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("missing-objects", "failure", "My S.u, public.It's");
    assert_eq!(seen.code, 1);
    seen.mend("missing-objects", &source, &destination).await;
    let seen = look(&pipeline, &[]).await;
    assert_eq!(seen.troubles(), Vec::<&str>::new());
    pipeline.init().await;
    pipeline.run_to_now().await;
    let sum = "select count(*)::text from \"It's\"";
    assert_eq!(destination.text(sum).await, source.text(sum).await);
    pipeline.teardown().await;
}

#[tokio::test]
async fn missing_schemas_and_types_come_along() {
    let (source, destination) = databases().await;
    source
        .exec(
            "create schema s; create type s.mood as enum ('fine'); \
               create table s.m (id int primary key, m s.mood)",
        )
        .await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("missing-objects", "failure", "s.m");
    seen.mend("missing-objects", &source, &destination).await;
    assert_eq!(look(&pipeline, &[]).await.troubles(), Vec::<&str>::new());
}

#[tokio::test]
async fn missing_columns_and_namesakes() {
    let (source, destination) = databases().await;
    source.exec("alter table t add extra int; create table v (id int primary key)").await;
    destination.exec("create view v as select 1 as id").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", "missing-objects"]).await;
    seen.expect("missing-objects", "failure", "public.t.extra, public.v (a view has its name)");
}

#[tokio::test]
async fn rows_that_are_there() {
    let rows = "insert into t values (9, 'nine')";
    mends("existing-rows", "", rows, ("failure", "public.t")).await;
    let (source, destination) = databases().await;
    destination.exec(rows).await;
    let changes = Pipeline::builder(&source, &destination).top("stages = [\"changes\"]").build();
    look(&changes, &["--only", "existing-rows"]).await.expect("existing-rows", "pass", "");
}

#[tokio::test]
async fn columns_that_nothing_fills() {
    let column = "alter table t add needed int not null";
    mends("extra-columns", "", column, ("failure", "public.t.needed")).await;
}

#[tokio::test]
async fn a_side_that_cannot_be_reached() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source.at_port(1), &destination).build();
    let seen = look(&pipeline, &[]).await;
    assert_eq!(seen.code, 4);
    let item = seen.item("reachable", "source");
    assert_eq!(item["result"], "failure");
    assert!(item["found"].as_str().expect("found").contains("127.0.0.1"), "{item:#}");
    assert_eq!(seen.item("reachable", "default")["result"], "pass");
    assert_eq!(seen.item("version", "default")["result"], "pass");
    for id in ["version", "wal-level", "selection"] {
        assert_eq!(seen.item(id, "source")["result"], "not_checked");
    }
    assert_eq!(seen.item("missing-objects", "default")["result"], "not_checked");

    let pipeline = Pipeline::builder(&source, &destination.at_port(1)).build();
    let seen = look(&pipeline, &["--only", "missing-objects"]).await;
    assert_eq!(seen.code, 4);
    seen.expect("missing-objects", "not_checked", "");
}

#[tokio::test]
async fn each_destination_is_looked_at_by_itself() {
    let (source, first) = databases().await;
    let (_, second) = databases().await;
    second.exec("insert into t values (1)").await;
    both(&source, &first, "create table u (id int primary key)").await;
    let pipeline = Pipeline::builder(&source, &first).also("second", &second).build();
    let seen = look(&pipeline, &[]).await;
    assert_eq!(seen.item("existing-rows", "first")["result"], "pass");
    assert_eq!(seen.item("existing-rows", "second")["result"], "failure");
    assert_eq!(seen.item("missing-objects", "second")["result"], "failure");
}
