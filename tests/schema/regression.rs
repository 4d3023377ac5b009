//! The database that PostgreSQL's own regression suite leaves behind: more than anybody would think
//! of. The suite is not ours and not here; `dist/setup.sh regress` fetches it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgtrail_tests::{Cluster, Install};

use super::dump::{self, assert_same};
use super::fixture::synchronise;

/// Where the suite of this major version is.
fn suite(major: u32) -> Option<PathBuf> {
    let root = std::env::var_os("PGTRAIL_PG_ROOT").map(PathBuf::from).or_else(|| {
        Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/pgtrail/postgres"))
    })?;
    let suite = root.join(format!("regress-{major}/src/test/regress"));
    suite.join("parallel_schedule").exists().then_some(suite)
}

/// Runs it. Some of its tests fail, those that need the suite's own C functions; what the others
/// leave is plenty.
fn run(suite: &Path, cluster: &Cluster, output: &Path) {
    let bindir = &cluster.install().bindir;
    let program = bindir.join("../lib/pgxs/src/test/regress/pg_regress");
    for folder in ["results", "testtablespace"] {
        std::fs::create_dir_all(output.join(folder)).expect("make a directory");
    }
    let status = Command::new(program)
        .args(["--schedule=parallel_schedule", "--host=127.0.0.1", "--user=postgres"])
        .args(["--dbname=regression", "--inputdir=."])
        .arg(format!("--port={}", cluster.port()))
        .arg(format!("--bindir={}", bindir.display()))
        .arg(format!("--outputdir={}", output.display()))
        .arg(format!("--dlpath={}", output.display()))
        .current_dir(suite)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("run pg_regress");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, and privileges on system catalogs are not carried yet: \"make test-regress\""]
async fn the_regression_database() {
    let cluster = Cluster::builder().start();
    let Some(suite) = suite(Install::default_version().major) else {
        println!("skipped: no regression suite here; \"dist/setup.sh regress\" fetches it");
        return;
    };
    let output = tempfile::tempdir().expect("a directory");
    run(&suite, &cluster, output.path());
    let source = cluster.database("regression");
    let destination = cluster.create_database("destination").await;
    synchronise(&source, &destination).await;
    // A child whose columns were declared in another order than its parents' gets theirs by INHERITS,
    // which is what pg_dump does, too.
    let reference = cluster.create_database("reference").await;
    dump::restore(&reference, &dump::schema(&cluster, &source));
    assert_same(
        "regression",
        &dump::schema(&cluster, &reference),
        &dump::schema(&cluster, &destination),
    );
}
