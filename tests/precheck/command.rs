//! The command itself: exit codes, text, JSON, `--only`, `--accept`, and what `init` makes of it.

use pgtrail_tests::Pipeline;

use crate::look::{databases, look};

#[tokio::test]
async fn an_ordinary_pair_has_nothing_to_find_fault_with() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &[]).await;
    assert_eq!(seen.code, 0);
    assert_eq!(seen.troubles(), Vec::<&str>::new());
    let notices: Vec<&str> = seen
        .items()
        .iter()
        .filter(|item| item["result"] == "notice")
        .map(|item| item["id"].as_str().expect("id"))
        .collect();
    // Other tests' transactions on the same server may be open just now.
    let own: Vec<&str> = notices.into_iter().filter(|id| !id.ends_with("-transactions")).collect();
    assert_eq!(own, ["excess-privileges", "excess-privileges", "ddl-capture", "slot-failover"]);
}

#[tokio::test]
async fn the_json_is_what_its_documentation_says() {
    let (source, destination) = databases().await;
    destination.exec("insert into t values (1)").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let exit = pipeline.try_run(&["precheck", "--json", "--only", "existing-rows"]).await.expect(1);
    let expected = r#"{
  "items": [
    {
      "accepted": false,
      "found": "tables at destination \"default\" have rows already: public.t",
      "id": "existing-rows",
      "remedies": [
        {
          "destination": "default",
          "fixable": false,
          "text": "truncate \"public\".\"t\"",
          "then": null,
          "where": "destination"
        },
        {
          "destination": null,
          "fixable": false,
          "text": "stages = [\"changes\"], if they hold the source's rows of now and nothing writes there meanwhile",
          "then": null,
          "where": "configuration"
        }
      ],
      "result": "failure",
      "side": "default",
      "title": "The destination's tables are empty",
      "why": "The copy would collide with them, or double them where there is no key."
    }
  ],
  "ok": false
}
"#;
    let sorted: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON");
    let wanted: serde_json::Value = serde_json::from_str(expected).expect("JSON");
    assert_eq!(sorted, wanted, "{}", exit.stdout);
}

#[tokio::test]
async fn the_table_has_a_line_an_item_and_details_under_what_stops() {
    let (source, destination) = databases().await;
    destination.exec("insert into t values (1)").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let exit = pipeline.try_run(&["precheck"]).await.expect(1);
    let text = &exit.stdout;
    assert!(!text.contains('\u{1b}'), "no colours without a terminal: {text}");
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("failure     existing-rows"));
    let at = at.unwrap_or_else(|| panic!("no failure in {text}"));
    assert!(lines[at + 2].contains("at destination \"default\": truncate"), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("pass        wal-level")), "{text}");
    assert!(lines.last().expect("a summary").contains("1 failure"), "{text}");
    assert!(exit.stderr.is_empty(), "{}", exit.stderr);
    let verbose = pipeline.try_run(&["precheck", "-v"]).await.expect(1).stdout;
    assert!(verbose.lines().count() > lines.len(), "{verbose}");
}

#[tokio::test]
async fn unknown_ids_are_answered_with_the_known_ones() {
    let (source, destination) = databases().await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    for arguments in [
        ["precheck", "--only", "wal"],
        ["precheck", "--accept", "wal"],
        ["init", "--accept", "wal"],
    ] {
        let exit = pipeline.try_run(&arguments).await.expect(2);
        exit.expect_stderr("no item is called \"wal\"").expect_stderr("wal-level");
    }
    let pipeline = Pipeline::builder(&source, &destination)
        .line("precheck", "accept = [\"nothing-like-it\"]")
        .build();
    let exit = pipeline.try_run(&["precheck"]).await.expect(2);
    exit.expect_stderr("pgtrail.toml:").expect_stderr("precheck.accept");
}

#[tokio::test]
async fn a_warning_stops_init_until_it_is_accepted() {
    let (source, destination) = databases().await;
    source.exec("select lo_create(0)").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let exit = pipeline.try_run(&["init"]).await.expect(3);
    let exit = exit.expect_stderr("1 large object").expect_stderr("PGT-0511");
    exit.expect_stderr("--accept large-objects");
    let nothing = "select count(*) from pg_namespace where nspname = 'pgtrail'";
    assert_eq!(source.text(nothing).await, "0", "nothing was changed");
    pipeline.run(&["init", "--accept", "large-objects"]).await;
    pipeline.run_to_now().await;
    pipeline.teardown().await;

    let accepting = Pipeline::builder(&source, &destination)
        .line("precheck", "accept = [\"large-objects\"]")
        .build();
    assert_eq!(look(&accepting, &[]).await.code, 0);
    destination.exec("truncate t").await;
    accepting.init().await;
    accepting.teardown().await;
}

#[tokio::test]
async fn a_failure_cannot_be_accepted() {
    let (source, destination) = databases().await;
    destination.exec("insert into t values (1)").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    assert_eq!(look(&pipeline, &["--accept", "existing-rows"]).await.code, 1);
    let exit = pipeline.try_run(&["init", "--accept", "existing-rows"]).await.expect(3);
    exit.expect_stderr("PGT-0508").expect_stderr("truncate");
}

#[tokio::test]
async fn notices_are_told_by_init_and_stop_nothing() {
    let (source, destination) = databases().await;
    source.exec("create unlogged table scratch (id int)").await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let exit = pipeline.run(&["init"]).await;
    exit.expect_stderr("notice      unlogged-tables");
    pipeline.teardown().await;
}
