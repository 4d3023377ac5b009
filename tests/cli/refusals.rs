//! Bad input: each a one-line error with what to do, and its documented exit code.

use pgtrail_tests::{Cluster, Database, Pipeline, pair};

const TABLE: &str = "create table t (id int primary key, note text)";

/// Two databases with the same table, filled at the source.
async fn databases() -> (Database, Database) {
    let (source, destination) = pair().fresh_databases().await;
    source.exec(TABLE).await;
    destination.exec(TABLE).await;
    source.exec("insert into t values (1, 'one')").await;
    (source, destination)
}

/// `init` must end with `code` and one line of error that holds every part, followed by a hint.
async fn refuses(pipeline: &Pipeline, arguments: &[&str], code: i32, parts: &[&str]) {
    let exit = pipeline.try_run(arguments).await.expect(code);
    let errors: Vec<&str> =
        exit.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", exit.stderr);
    for part in parts {
        assert!(errors[0].contains(part), "no {part:?} in {:?}", errors[0]);
    }
    assert!(exit.stderr.lines().any(|line| line.starts_with("hint: ")), "{}", exit.stderr);
}

#[tokio::test]
async fn an_unreachable_server_is_exit_code_4() {
    let (source, destination) = databases().await;
    let nowhere = source.at_port(1);
    let pipeline = Pipeline::builder(&nowhere, &destination).build();
    refuses(&pipeline, &["init"], 4, &["source", "127.0.0.1"]).await;
    let pipeline = Pipeline::builder(&source, &destination.at_port(1)).build();
    refuses(&pipeline, &["init"], 4, &["destination \"default\"", "127.0.0.1"]).await;

    let mut pipeline = Pipeline::start(&source, &destination).await;
    pipeline.readdress(&nowhere, &destination.at_port(1));
    for command in ["reader", "applier"] {
        refuses(&pipeline, &[command], 4, &["127.0.0.1"]).await;
    }
    pipeline.readdress(&source, &destination);
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_wrong_password_is_exit_code_4() {
    let cluster = Cluster::builder()
        .hba(
            "local all asked scram-sha-256\nlocal all all trust\n\
             host all asked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust",
        )
        .start();
    let source = cluster.create_database("guarded").await;
    source.exec("create role asked superuser login password 'right'").await;
    let (_, destination) = pair().fresh_databases().await;
    let wrong = source.as_user("asked", Some("wrong"));
    let pipeline = Pipeline::builder(&wrong, &destination).build();
    refuses(&pipeline, &["init"], 4, &["asked", "password"]).await;
}

#[tokio::test]
async fn a_source_that_cannot_decode_is_told_what_to_set() {
    let cluster = Cluster::builder().setting("wal_level", "replica").start();
    let source = cluster.create_database("plain").await;
    let (_, destination) = pair().fresh_databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    refuses(&pipeline, &["init"], 3, &["wal_level", "\"replica\"", "PGT-0502"]).await;
}

#[tokio::test]
async fn a_source_without_a_free_slot_is_refused() {
    let cluster = Cluster::builder().setting("max_replication_slots", "1").start();
    let source = cluster.create_database("full").await;
    source.exec("select pg_create_physical_replication_slot('taken')").await;
    let (_, destination) = pair().fresh_databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    refuses(&pipeline, &["init"], 3, &["replication slots", "PGT-0503"]).await;
}

#[tokio::test]
async fn a_role_without_rights_is_told_which() {
    let (source, destination) = databases().await;
    let role = format!("weak_{}", source.name);
    source.exec(&format!("create role {role} login")).await;
    let pipeline = Pipeline::builder(&source.as_user(&role, None), &destination).build();
    refuses(&pipeline, &["init"], 3, &[&role, "PGT-0504"]).await;
}

#[tokio::test]
async fn the_source_is_no_destination() {
    let (source, _) = databases().await;
    let pipeline = Pipeline::builder(&source, &source).build();
    refuses(&pipeline, &["init"], 3, &["the source itself", "PGT-0505"]).await;
}

#[tokio::test]
async fn keyless_tables_are_listed_under_refuse() {
    let (source, destination) = databases().await;
    for database in [&source, &destination] {
        database.exec("create table \"No Key\" (a int)").await;
        database.exec("create table almost (a int not null unique)").await;
    }
    let pipeline =
        Pipeline::builder(&source, &destination).line("objects", "keyless = \"refuse\"").build();
    refuses(&pipeline, &["init"], 3, &["1 table has no key", "public.No Key", "PGT-0506"]).await;
}

#[tokio::test]
async fn what_the_destination_lacks_is_listed() {
    let (source, destination) = databases().await;
    source.exec("create table u (id int primary key); alter table t add extra int").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    refuses(&pipeline, &["init"], 3, &["public.t.extra", "public.u", "PGT-0507"]).await;
}

#[tokio::test]
async fn rows_at_the_destination_stop_a_copy() {
    let (source, destination) = databases().await;
    destination.exec("insert into t values (9, 'nine')").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    refuses(&pipeline, &["init"], 3, &["public.t", "PGT-0508"]).await;
    let changes = Pipeline::builder(&source, &destination).top("stages = [\"changes\"]").build();
    changes.init().await;
    changes.teardown().await;
}

#[tokio::test]
async fn names_that_do_not_exist_are_answered_with_those_that_do() {
    let (source, destination) = databases().await;
    for (line, parts) in [
        ("schemas = [\"salse\"]", ["objects.schemas", "\"salse\""]),
        ("tables = [\"public.tt\"]", ["objects.tables", "public.tt"]),
        ("exclude = [\"public.x\"]", ["objects.exclude", "public.x"]),
        ("tables = [\"public.\\\"t*\\\"\"]", ["objects.tables", "t*"]),
        ("tables = [\"none_*.?\"]", ["[objects]", "selects no table"]),
    ] {
        let pipeline = Pipeline::builder(&source, &destination).line("objects", line).build();
        refuses(&pipeline, &["init"], 2, &parts).await;
    }
}

#[tokio::test]
async fn a_pattern_that_nothing_looks_like_is_to_be_accepted() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source, &destination)
        .line("objects", "tables = [\"publ??.*\"]")
        .line("objects", "exclude = [\"*.tmp_*\"]")
        .build();
    refuses(&pipeline, &["init"], 3, &["objects.exclude \"*.tmp_*\"", "PGT-0511"]).await;
    pipeline.try_run(&["init", "--accept", "selection"]).await.expect(0);
    pipeline.run(&["init"]).await.expect_stderr("is set up already");
    pipeline.teardown().await;
    // With a table that looks like it there is nothing to accept.
    source.exec("create table tmp_1 (id int primary key)").await;
    pipeline.init().await;
    source.exec("insert into tmp_1 values (1); insert into t values (77)").await;
    pipeline.run_to_now().await;
    assert_eq!(destination.text("select count(*) from t where id = 77").await, "1");
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_partition_outside_the_selection_is_refused() {
    let (source, destination) = databases().await;
    for database in [&source, &destination] {
        database
            .exec(
                "create table p (id int primary key) partition by range (id); \
                 create table p1 partition of p for values from (0) to (10)",
            )
            .await;
    }
    let pipeline =
        Pipeline::builder(&source, &destination).line("objects", "tables = [\"public.p\"]").build();
    refuses(&pipeline, &["init"], 2, &["partition public.p1"]).await;
}

#[tokio::test]
async fn the_configuration_is_refused_with_its_line() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source, &destination).line("log", "kep = \"1h\"").build();
    let exit = pipeline.try_run(&["status"]).await.expect(2);
    assert!(exit.stderr.contains("pgtrail.toml:"), "{}", exit.stderr);
    assert!(exit.stderr.contains("unknown key `kep`"), "{}", exit.stderr);
    assert!(exit.stderr.contains("`keep`"), "{}", exit.stderr);
    let unknown = Pipeline::builder(&source, &destination).build();
    refuses(&unknown, &["applier", "west"], 2, &["no destination is called \"west\""]).await;
}

#[tokio::test]
async fn a_missing_slot_or_publication_halts_the_reader() {
    for (what, sql) in [
        ("slot", "select pg_drop_replication_slot('pgtrail_{}')"),
        ("publication", "drop publication pgtrail_{}"),
    ] {
        let (source, destination) = databases().await;
        let pipeline = Pipeline::start(&source, &destination).await;
        source.exec(&sql.replace("{}", &pipeline.name)).await;
        refuses(&pipeline, &["reader"], 3, &[what, "PGT-03"]).await;
        pipeline.teardown().await;
    }
}

#[tokio::test]
async fn a_log_that_is_not_there_halts_both() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::start(&source, &destination).await;
    std::fs::remove_dir_all(pipeline.log_dir()).expect("remove the log");
    refuses(&pipeline, &["reader"], 3, &["PGT-0101"]).await;
    refuses(&pipeline, &["applier"], 3, &["PGT-0101"]).await;
    refuses(&pipeline, &["init"], 3, &["holds no change log", "PGT-0509"]).await;
    pipeline.teardown().await;
}
