//! What roles may do, and `--fix`.

use pgtrail_tests::{Database, Pipeline};

use crate::look::{both, databases, look, mends};

/// A role of no rights at both sides, and the databases as it sees them.
async fn weak(source: &Database, destination: &Database) -> (String, Database, Database) {
    let role = format!("weak_{}", source.name);
    both(source, destination, &format!("create role {role} login")).await;
    let as_role = |database: &Database| database.as_user(&role, None);
    (role.clone(), as_role(source), as_role(destination))
}

#[tokio::test]
async fn each_lack_at_the_source_is_mended_by_what_it_prints() {
    let (source, destination) = databases().await;
    source.exec("create role own_er; alter table t owner to own_er").await;
    source.exec("create schema s; create table s.\"T'\" (id int primary key)").await;
    destination.exec("create schema s; create table s.\"T'\" (id int primary key)").await;
    let (role, as_role, _) = weak(&source, &destination).await;
    let pipeline = Pipeline::builder(&as_role, &destination).build();
    let seen = look(&pipeline, &[]).await;
    assert_eq!(seen.code, 1);
    seen.expect("replication-right", "failure", &role);
    seen.expect("replication-connection", "not_checked", "");
    seen.expect("source-privileges", "failure", "select on 2 tables: public.t, s.T'");
    seen.expect("source-ownership", "failure", "own 2 tables");
    // The schema's and s.T's owner is postgres: to be a member of that is not what a person wants.
    source.exec("alter table s.\"T'\" owner to own_er").await;
    let seen = look(&pipeline, &[]).await;
    for id in ["replication-right", "source-privileges"] {
        seen.mend(id, &source, &destination).await;
    }
    let sql = seen.remedies("source-ownership").remove(0);
    assert_eq!(sql, ("source".to_owned(), format!("grant \"own_er\" to \"{role}\"")));
    source.exec(&sql.1).await;
    let seen = look(&pipeline, &[]).await;
    assert_eq!(seen.troubles(), Vec::<&str>::new());
    seen.expect("publication", "notice", "list the tables");
    seen.expect("ddl-capture", "notice", "could not make the event triggers");
    pipeline.init().await;
    pipeline.run_to_now().await;
    pipeline.teardown().await;
}

#[tokio::test]
async fn lacks_at_the_destination_are_fixed_as_another_role() {
    let (source, destination) = databases().await;
    destination.exec("create schema pgtrail").await;
    let (role, _, as_role) = weak(&source, &destination).await;
    let pipeline = Pipeline::builder(&source, &as_role).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect(
        "destination-privileges",
        "failure",
        "make or use schema pgtrail, nor select, insert",
    );
    seen.expect("replica-role", "notice", &role);
    let schema = seen.remedies("destination-privileges").remove(0);
    destination.exec(&schema.1).await;
    let weak_fix = pipeline.try_run(&["precheck", "--fix"]).await.expect(1);
    assert!(weak_fix.stderr.contains("not fixed: permission denied"), "{}", weak_fix.stderr);
    let exit = pipeline.try_run(&["precheck", "--fix", "--fix-as", "postgres"]).await.expect(0);
    let granted = format!(
        "fix at destination \"default\": grant select, insert, update, delete, \
                           truncate on \"public\".\"t\" to \"{role}\""
    );
    assert!(exit.stderr.contains(&granted), "{}", exit.stderr);
    let seen = look(&pipeline, &[]).await;
    seen.expect("destination-privileges", "pass", "").expect("replica-role", "pass", "");
    pipeline.init().await;
    pipeline.run_to_now().await;
    pipeline.teardown().await;
}

#[tokio::test]
async fn triggers_and_cascades_without_the_replica_role() {
    let (source, destination) = databases().await;
    let child = "create table child (id int primary key, t int references t on delete cascade)";
    both(&source, &destination, child).await;
    let (role, _, as_role) = weak(&source, &destination).await;
    let pipeline = Pipeline::builder(&source, &as_role).build();
    let seen = look(&pipeline, &["--only", "replica-role"]).await;
    seen.expect("replica-role", "warning", "public.child (foreign key child_t_fkey cascades)");
    seen.expect("replica-role", "warning", &role);
    seen.mend("replica-role", &source, &destination).await;
    look(&pipeline, &["--only", "replica-role"]).await.expect("replica-role", "pass", "");
}

#[tokio::test]
async fn policies_that_hide_rows() {
    let (source, destination) = databases().await;
    let policy = "alter table t enable row level security";
    both(&source, &destination, policy).await;
    let (role, from, to) = weak(&source, &destination).await;
    let pipeline = Pipeline::builder(&from, &to).build();
    let only = ["--only", "row-security"];
    let seen = look(&pipeline, &only).await;
    for side in ["source", "default"] {
        let item = seen.item("row-security", side);
        assert_eq!(item["result"], "failure", "{item:#}");
        assert!(item["found"].as_str().expect("found").contains(&role), "{item:#}");
        let sql = item["remedies"][0]["text"].as_str().expect("SQL");
        let database = if side == "source" { &source } else { &destination };
        database.exec(sql).await;
    }
    look(&pipeline, &only).await.expect("row-security", "pass", "");
}

#[tokio::test]
async fn more_rights_than_needed() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", "excess-privileges"]).await;
    seen.expect("excess-privileges", "notice", "\"postgres\" has superuser");
    assert_eq!(seen.code, 0);
}

#[tokio::test]
async fn extensions_are_made_by_fix() {
    let (source, destination) = databases().await;
    source.exec("create extension hstore; create table h (id int primary key, h hstore)").await;
    source.exec("create extension citext").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let only = ["--only", "extensions", "--only", "types"];
    let seen = look(&pipeline, &only).await;
    seen.expect("extensions", "failure", "citext, hstore").expect(
        "types",
        "failure",
        "public.hstore",
    );
    let fixed = look(&pipeline, &[&only[..], &["--fix"]].concat()).await;
    fixed.expect("extensions", "pass", "").expect("types", "pass", "");
    assert_eq!(fixed.code, 0);
}

#[tokio::test]
async fn extensions_of_another_version() {
    let old = "create extension hstore version '1.4'";
    mends("extensions", "create extension hstore", old, ("notice", "hstore 1.4, the source's is"))
        .await;
}

#[tokio::test]
async fn an_extension_that_nothing_needs_is_a_notice() {
    let extension = "create extension citext";
    mends("extensions", extension, "", ("notice", "missing at destination")).await;
}

#[tokio::test]
async fn truncates_that_take_an_owner() {
    let (source, destination) = databases().await;
    both(&source, &destination, "create table s (id serial primary key)").await;
    let (_, _, as_role) = weak(&source, &destination).await;
    destination
        .exec("do $$ begin create role keeper; exception when duplicate_object then end $$")
        .await;
    destination.exec("alter table s owner to keeper").await;
    let pipeline = Pipeline::builder(&source, &as_role).build();
    let only = ["--only", "restart-identity"];
    let seen = look(&pipeline, &only).await;
    seen.expect("restart-identity", "notice", "1 table with sequences: public.s");
    seen.mend("restart-identity", &source, &destination).await;
    look(&pipeline, &only).await.expect("restart-identity", "pass", "");
}
