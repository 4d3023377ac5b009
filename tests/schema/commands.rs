//! `pgtrail schema show` and `pgtrail schema diff`.

use pgtrail_tests::{Pipeline, pair};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn show_and_diff() {
    let (source, destination) = pair().fresh_databases().await;
    source
        .exec("create table t (id int primary key, a text); alter table t replica identity full")
        .await;
    let pipeline = Pipeline::builder(&source, &destination).build();

    let shown = pipeline.try_run(&["schema", "show"]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains("table \"public\".\"t\""), "{}", shown.stdout);
    let json = pipeline.try_run(&["schema", "show", "--destination", "--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["format"], 1);

    let differs = pipeline.try_run(&["schema", "diff", "--sql"]).await;
    assert_eq!(differs.code, Some(1), "{}", differs.stderr);
    super::dump::restore(&destination, &differs.stdout);
    let equal = pipeline.try_run(&["schema", "diff", "--json"]).await;
    assert_eq!(equal.code, Some(0), "{}", equal.stdout);
    let equal: Value = serde_json::from_str(&equal.stdout).expect("JSON");
    assert_eq!(equal["equal"], true);

    destination.exec("alter table t add column b int").await;
    let differs = pipeline.try_run(&["schema", "diff"]).await;
    assert_eq!(differs.code, Some(1), "{}", differs.stderr);
    assert!(differs.stdout.contains("drop column \"b\""), "{}", differs.stdout);
}
