//! What becomes of each kind of object.

use pgtrail_tests::{Cluster, Pipeline, pair};

use crate::look::{both, databases, look, mends, set, shows};

#[tokio::test]
async fn names_that_do_not_exist() {
    let (source, destination) = databases().await;
    for line in ["schemas = [\"salse\"]", "tables = [\"public.tt\"]", "exclude = [\"public.x\"]"] {
        let pipeline = Pipeline::builder(&source, &destination).line("objects", line).build();
        let seen = look(&pipeline, &["--only", "selection"]).await;
        seen.expect("selection", "failure", "at the source");
        assert_eq!(seen.code, 1);
    }
}

#[tokio::test]
async fn partitions_outside_the_selection() {
    let (source, destination) = databases().await;
    let tree = "create table p (id int primary key) partition by range (id); \
                create table p1 partition of p for values from (0) to (10); \
                create table p2 partition of p for values from (10) to (20)";
    both(&source, &destination, tree).await;
    let with = |tables: &str| {
        let line = format!("tables = [{tables}]");
        Pipeline::builder(&source, &destination).line("objects", &line).build()
    };
    let only = ["--only", "partitions"];
    let seen = look(&with("\"public.p\""), &only).await;
    seen.expect("partitions", "failure", "public.p1, public.p2");
    let (_, setting) = seen.remedies("partitions").remove(0);
    let more = setting.trim_start_matches("objects.tables += [").trim_end_matches(']');
    look(&with(&format!("\"public.p\", {more}")), &only).await.expect("partitions", "pass", "");
}

#[tokio::test]
async fn tables_without_a_replica_identity() {
    let tables = "create table keyless (a int); \
                  create table indexed (a int not null unique, b int); \
                  create table nothing (id int primary key); \
                  alter table nothing replica identity nothing";
    mends("replica-identity", tables, tables, ("notice", "3 tables")).await;
}

#[tokio::test]
async fn keyless_tables_under_refuse() {
    let (source, destination) = databases().await;
    both(&source, &destination, "create table \"No \"\"Key\" (a int)").await;
    let pipeline =
        Pipeline::builder(&source, &destination).line("objects", "keyless = \"refuse\"").build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("replica-identity", "failure", "1 table has no key");
    assert_eq!(seen.code, 1);
    assert_eq!(look(&pipeline, &["--fix"]).await.code, 0);
    assert_eq!(
        source.text("select relreplident from pg_class where relname like 'No%'").await,
        "f"
    );
}

#[tokio::test]
async fn unlogged_tables() {
    let unlogged = "create unlogged table u (id int primary key)";
    mends("unlogged-tables", unlogged, "", ("notice", "public.u")).await;
}

#[tokio::test]
async fn foreign_tables() {
    let foreign = "create extension file_fdw; create server files foreign data wrapper file_fdw; \
                   create foreign table f (line text) server files options (filename '/dev/null')";
    shows("foreign-tables", foreign, "", ("notice", "public.f")).await;
}

#[tokio::test]
async fn temporary_tables() {
    let (source, destination) = databases().await;
    let session = source.connect().await;
    session.exec("create temporary table scratch (a int)").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", "temporary-tables"]).await;
    seen.expect("temporary-tables", "notice", "scratch");
}

#[tokio::test]
async fn materialized_views() {
    let view = "create materialized view totals as select count(*) from t";
    shows("materialized-views", view, "", ("notice", "public.totals")).await;
}

#[tokio::test]
async fn large_objects() {
    let (source, destination) = databases().await;
    let oid = source.text("select lo_from_bytea(0, 'x')").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("large-objects", "warning", "1 large object");
    assert_eq!(seen.code, 1);
    assert_eq!(look(&pipeline, &["--accept", "large-objects"]).await.code, 0);
    source.exec(&format!("select lo_unlink({oid})")).await;
    look(&pipeline, &[]).await.expect("large-objects", "pass", "");
}

#[tokio::test]
async fn tables_of_extensions() {
    let (source, destination) = databases().await;
    both(&source, &destination, "create extension hstore; alter extension hstore add table t")
        .await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", "extension-tables"]).await;
    seen.expect("extension-tables", "warning", "public.t (hstore)");
    let line = seen.remedies("extension-tables")[0].1.replace("objects.exclude +=", "exclude =");
    let pipeline = Pipeline::builder(&source, &destination).line("objects", &line).build();
    let seen = look(&pipeline, &["--only", "extension-tables"]).await;
    seen.expect("extension-tables", "pass", "");
}

#[tokio::test]
async fn sequences() {
    let (source, destination) = databases().await;
    let sql = "create sequence shared; create table s (id serial primary key, \
               number int default nextval('shared')); insert into s default values";
    both(&source, &destination, sql).await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let only = ["--only", "sequences"];
    look(&pipeline, &only).await.expect("sequences", "pass", "2 sequences will follow");
    destination.exec("drop sequence shared cascade").await;
    let seen = look(&pipeline, &only).await;
    seen.expect("sequences", "notice", "are not at the destination: public.shared");

    // What it prints lets the role follow.
    let role = pgtrail_tests::pair::fresh_name();
    destination.exec(&format!("create role {role} login")).await;
    let as_role = Pipeline::builder(&source, &destination.as_user(&role, None)).build();
    let seen = look(&as_role, &only).await;
    seen.expect("sequences", "warning", "may not be set: public.s_id_seq");
    for (_, sql) in seen.remedies("sequences") {
        destination.exec(&sql).await;
    }
    let seen = look(&as_role, &only).await;
    seen.expect("sequences", "notice", "are not at the destination: public.shared");
}

#[tokio::test]
async fn foreign_keys_that_leave_the_selection() {
    let (source, destination) = databases().await;
    let sql = "create table child (id int primary key, t int references t)";
    both(&source, &destination, sql).await;
    let with = |tables: &str| {
        let line = format!("tables = [{tables}]");
        Pipeline::builder(&source, &destination).line("objects", &line).build()
    };
    let only = ["--only", "foreign-keys"];
    let seen = look(&with("\"public.child\""), &only).await;
    seen.expect("foreign-keys", "notice", "public.child.child_t_fkey -> public.t");
    look(&with("\"public.child\", \"public.t\""), &only).await.expect("foreign-keys", "pass", "");
}

#[tokio::test]
async fn what_other_services_refuse_is_no_obstacle() {
    let sql = "create unique index on t (lower(note)); create schema s; \
               create table s.child (more int) inherits (t)";
    shows("expression-indexes", sql, sql, ("pass", "1 table has one")).await;
    shows("inheritance", sql, sql, ("pass", "1 table inherits across schemas")).await;
}

#[tokio::test]
async fn triggers_that_fire_at_the_destination() {
    let trigger = "create function f() returns trigger language plpgsql as $$ begin return new; \
                   end $$; create trigger tr before insert on t for each row execute function f(); \
                   alter table t enable always trigger tr; \
                   create rule r as on delete to t do also select 1; \
                   alter table t enable always rule r";
    mends("triggers", "", trigger, ("notice", "trigger tr on public.t, rule r on public.t")).await;
}

#[tokio::test]
async fn event_triggers_at_the_destination() {
    let trigger = "create function f() returns event_trigger language plpgsql as $$ begin end $$; \
                   create event trigger watch on ddl_command_end execute function f()";
    mends("event-triggers", "", trigger, ("notice", "watch (ddl_command_end)")).await;
}

#[tokio::test]
async fn leftovers_of_a_pipeline() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    let seen = look(&pipeline, &[]).await;
    seen.expect("leftovers", "pass", "set up already");
    assert_eq!(seen.code, 0);
    std::fs::remove_dir_all(pipeline.log_dir()).expect("remove the log");
    look(&pipeline, &[]).await.expect("leftovers", "failure", "holds no change log");
    pipeline.teardown().await;
    look(&pipeline, &[]).await.expect("leftovers", "pass", "");
}

#[tokio::test]
async fn room_on_disks() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source, &destination)
        .line("destination", "disk_free = \"1kB\"")
        .line("log", "min_free = \"500TB\"")
        .build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("destination-disk", "warning", "only 1.0 kB free");
    seen.expect("log-disk", "warning", "500 TB kept free");
    assert_eq!(seen.code, 1);
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("destination-disk", "pass", "free").expect("log-disk", "pass", "");
}

#[tokio::test]
async fn the_role_that_may_not_see_the_disk_is_told_what_is_needed() {
    let cluster = Cluster::builder().start();
    let destination = cluster.create_database("a").await;
    set(&cluster, "alter system reset all", false).await;
    destination.exec("create role blind login; create schema pgtrail authorization blind").await;
    let (source, _) = pair().fresh_databases().await;
    let pipeline = Pipeline::builder(&source, &destination.as_user("blind", None)).build();
    let seen = look(&pipeline, &["--only", "destination-disk"]).await;
    seen.expect("destination-disk", "notice", "free space is not known");
}
