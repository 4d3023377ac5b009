//! `log dump`, `log check` and `log stat`: without a server, and as documented.

use std::process::{Command, Stdio};

use pgtrail_tests::{Pipeline, pair, pgtrail_binary};

/// A log of a copied row, an update, a delete and a truncate, and nobody at work on it.
async fn pipeline() -> Pipeline {
    let (source, destination) = pair().fresh_databases().await;
    for database in [&source, &destination] {
        database.exec("create table t (id int primary key, note text)").await;
        database.exec("create table \"Ü\" (a int)").await;
    }
    source.exec("insert into t values (1, 'copied')").await;
    let pipeline = Pipeline::start(&source, &destination).await;
    pipeline.run_to_now().await;
    source
        .exec("begin; insert into t values (2, 'it''s'); update t set id = 3 where id = 2; commit")
        .await;
    source.exec("delete from t where id = 3; insert into \"Ü\" values (null)").await;
    source.exec("truncate t, \"Ü\"").await;
    pipeline.run_to_now().await;
    pipeline
}

#[tokio::test]
async fn dump_prints_every_record_in_commit_order() {
    let pipeline = pipeline().await;
    let ops: Vec<String> = pipeline
        .dump()
        .await
        .iter()
        .map(|line| line["op"].as_str().expect("op").to_owned())
        .collect();
    assert_eq!(ops, ["insert", "update", "delete", "insert", "truncate"]);

    let text = pipeline.run(&["log", "dump", "--values"]).await.stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("insert public.t new(id=2 note='it''s')"), "{text}");
    assert!(lines[1].ends_with("update public.t key(id=2) new(id=3 note='it''s')"), "{text}");
    assert!(lines[2].ends_with("delete public.t key(id=3)"), "{text}");
    assert!(lines[3].ends_with("insert public.Ü new(a=null)"), "{text}");
    assert!(lines[4].contains("truncate public."), "{text}");

    let silent = pipeline.run(&["log", "dump"]).await.stdout;
    assert!(!silent.contains("it''s"), "values only with --values: {silent}");
    pipeline.teardown().await;
}

#[tokio::test]
async fn dump_is_narrowed_by_place_table_and_number() {
    let pipeline = pipeline().await;
    let lines = |arguments: &'static [&'static str]| {
        let pipeline = pipeline.clone();
        async move {
            let all = [&["log", "dump", "--json"], arguments].concat();
            pipeline.run(&all).await.stdout.lines().count()
        }
    };
    assert_eq!(lines(&["--limit", "2"]).await, 2);
    assert_eq!(lines(&["--table", "public.Ü"]).await, 2);
    assert_eq!(lines(&["--table", "public.none"]).await, 0);
    assert_eq!(lines(&["--from", "FFFFFFFF/0"]).await, 0);
    assert_eq!(lines(&["--base"]).await, 7);
    let dumped = pipeline.dump().await;
    let second = dumped[2]["commit_lsn"].as_str().expect("an LSN").to_owned();
    let from = pipeline.run(&["log", "dump", "--json", "--from", &second]).await;
    assert_eq!(from.stdout.lines().count(), 3);
    let after = pipeline.run(&["log", "dump", "--json", "--after", &second]).await;
    assert!(after.stdout.lines().count() < 3);
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_copied_log_needs_neither_configuration_nor_server() {
    let pipeline = pipeline().await;
    let copy = pipeline.dir().join("copy");
    let copied = Command::new("cp").arg("-a").arg(pipeline.log_dir()).arg(&copy).status();
    assert!(copied.expect("cp").success());
    pipeline.teardown().await;
    for command in ["dump", "check", "stat"] {
        let output = Command::new(pgtrail_binary())
            .args(["log", command, "--json", "--dir"])
            .arg(&copy)
            .current_dir("/")
            .env_remove("PGTRAIL_CONFIG")
            .output()
            .expect("start");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let _: serde_json::Value = serde_json::from_str(line).expect("JSON");
        }
    }
}

#[tokio::test]
async fn a_closed_pipe_is_no_error() {
    let pipeline = pipeline().await;
    let mut dump = pipeline.command(&["log", "dump"]);
    let mut child = dump.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    pipeline.teardown().await;
}

#[tokio::test]
async fn a_directory_without_a_log_is_said_to_be_one() {
    let empty = std::env::temp_dir();
    let output = Command::new(pgtrail_binary())
        .args(["log", "check", "--dir"])
        .arg(&empty)
        .output()
        .expect("start");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("error: no change log in"), "{said}");
}
