//! A precheck's JSON, and its remedies carried out.

use pgtrail_tests::{Database, Pipeline, Stop, pair};
use serde_json::Value;

/// What one run printed.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: i32,
    json: Value,
    stderr: String,
}

/// Runs precheck.
pub(crate) async fn look(pipeline: &Pipeline, arguments: &[&str]) -> Seen {
    let arguments = [&["precheck", "--json"], arguments].concat();
    let exit = pipeline.try_run(&arguments).await;
    let json = serde_json::from_str(&exit.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}\n{}", exit.stdout, exit.stderr));
    Seen { code: exit.code.expect("no signal"), json, stderr: exit.stderr }
}

impl Seen {
    pub(crate) fn items(&self) -> &[Value] {
        self.json["items"].as_array().expect("items")
    }

    pub(crate) fn item(&self, id: &str, side: &str) -> &Value {
        let found = self.items().iter().find(|item| item["id"] == id && item["side"] == side);
        found.unwrap_or_else(|| panic!("no {id} of {side} in {:#}\n{}", self.json, self.stderr))
    }

    /// The result of an item on the first side that did not pass, else on any.
    fn worst(&self, id: &str) -> &Value {
        let of_item = || self.items().iter().filter(|item| item["id"] == id);
        let found = of_item().find(|item| item["result"] != "pass").or_else(|| of_item().next());
        found.unwrap_or_else(|| panic!("no {id} in {:#}", self.json))
    }

    /// Asserts an item's result and a part of what was found.
    #[track_caller]
    pub(crate) fn expect(&self, id: &str, result: &str, part: &str) -> &Seen {
        let item = self.worst(id);
        assert_eq!(item["result"], result, "{item:#}\n{}", self.stderr);
        let found = item["found"].as_str().expect("found");
        assert!(found.contains(part), "no {part:?} in {item:#}");
        if result == "warning" || result == "failure" {
            assert!(!item["why"].as_str().expect("why").is_empty(), "{item:#}");
            assert!(!item["remedies"].as_array().expect("remedies").is_empty(), "{item:#}");
        }
        self
    }

    /// The remedies of an item: where, destination and text.
    pub(crate) fn remedies(&self, id: &str) -> Vec<(String, String)> {
        let remedies = self.worst(id)["remedies"].as_array().expect("remedies");
        let text = |remedy: &Value, key: &str| remedy[key].as_str().unwrap_or_default().to_owned();
        remedies.iter().map(|remedy| (text(remedy, "where"), text(remedy, "text"))).collect()
    }

    /// Runs what an item says is to be run, as superusers.
    pub(crate) async fn mend(&self, id: &str, source: &Database, destination: &Database) {
        for (place, text) in self.remedies(id) {
            match place.as_str() {
                "source" => source.exec(&text).await,
                "destination" => destination.exec(&text).await,
                "shell" => shell(&text),
                _ => {}
            }
        }
    }

    /// Everything that is neither a pass nor a notice.
    pub(crate) fn troubles(&self) -> Vec<&str> {
        let calm = ["pass", "notice"];
        let troubled = self
            .items()
            .iter()
            .filter(|item| !calm.contains(&item["result"].as_str().expect("result")));
        troubled.map(|item| item["id"].as_str().expect("id")).collect()
    }
}

/// A command line as printed, with the servers' own programs first in the path.
pub(crate) fn shell(command: &str) {
    let bin = pair().source.install().binary("psql");
    let bin = bin.parent().expect("a directory");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = std::process::Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .output()
        .expect("run sh");
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Two databases with the same table and nothing to find fault with.
pub(crate) async fn databases() -> (Database, Database) {
    let (source, destination) = pair().fresh_databases().await;
    both(&source, &destination, "create table t (id int primary key, note text)").await;
    (source, destination)
}

/// Runs the same at both.
pub(crate) async fn both(source: &Database, destination: &Database, sql: &str) {
    source.exec(sql).await;
    destination.exec(sql).await;
}

/// An item is caused by SQL at each side, seen, mended as it says, and passes.
pub(crate) async fn mends(
    id: &str,
    at_source: &str,
    at_destination: &str,
    (result, part): (&str, &str),
) {
    let (source, destination) = databases().await;
    source.exec(at_source).await;
    destination.exec(at_destination).await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    let seen = look(&pipeline, &["--only", id]).await;
    seen.expect(id, result, part);
    assert_eq!(seen.code, i32::from(matches!(result, "warning" | "failure")));
    seen.mend(id, &source, &destination).await;
    look(&pipeline, &["--only", id]).await.expect(id, "pass", "");
}

/// An item is caused by SQL at each side and seen; there is nothing to be run against it.
pub(crate) async fn shows(
    id: &str,
    at_source: &str,
    at_destination: &str,
    (result, part): (&str, &str),
) {
    let (source, destination) = databases().await;
    source.exec(at_source).await;
    destination.exec(at_destination).await;
    let pipeline = Pipeline::builder(&source, &destination).build();
    look(&pipeline, &["--only", id]).await.expect(id, result, part);
}

/// As the remedies of settings say: ALTER SYSTEM, then a reload or a restart.
pub(crate) async fn set(cluster: &pgtrail_tests::Cluster, sql: &str, restart: bool) {
    let admin = cluster.maintenance().connect().await;
    admin.exec(sql).await;
    admin.exec("select pg_reload_conf()").await;
    drop(admin);
    if restart {
        cluster.restart(Stop::Fast);
    }
}
