//! The things that are compared: how each is set up on a source, and how one run of it is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgtrail_tests::{Cluster, Database, Sql, pgtrail_binary};

/// Name of the publication that the peers read.
const PUBLICATION: &str = "bench";

/// Every peer connects over TCP, as real ones do.
pub(crate) fn over_tcp(database: Database) -> Database {
    database.at_port(database.port)
}

/// A pipeline of ours: a configuration file and its log directory.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) config: PathBuf,
    pub(crate) log_dir: PathBuf,
}

impl Pipeline {
    /// Writes the configuration of a pipeline that takes changes only, and runs `pgtrail init`.
    pub(crate) fn init(
        name: &str,
        scratch: &Path,
        source: &Database,
        destination: &Database,
    ) -> Result<Pipeline> {
        let pipeline = Pipeline::with_stages(name, scratch, source, destination, "[\"changes\"]")?;
        let output = pipeline.command(&["init"]).output().context("run pgtrail init")?;
        ensure!(output.status.success(), "init: {}", String::from_utf8_lossy(&output.stderr));
        Ok(pipeline)
    }

    /// Writes the configuration of a pipeline.
    pub(crate) fn with_stages(
        name: &str,
        scratch: &Path,
        source: &Database,
        destination: &Database,
        stages: &str,
    ) -> Result<Pipeline> {
        let log_dir = scratch.join(format!("{name}.log"));
        let config = scratch.join(format!("{name}.toml"));
        let text = format!(
            "name = \"{name}\"\nstages = {stages}\n[source]\nconninfo = {:?}\n[log]\ndir = {:?}\n\
             [destination]\nconninfo = {:?}\n",
            source.conninfo(),
            log_dir,
            destination.conninfo()
        );
        fs::write(&config, text)?;
        Ok(Pipeline { name: name.to_owned(), config, log_dir })
    }

    /// `pgtrail` with this pipeline's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(pgtrail_binary());
        command.arg("--config").arg(&self.config).args(arguments);
        command
    }

    /// What the log takes on disk, as `du` counts it.
    pub(crate) fn log_bytes(&self) -> Result<u64> {
        let output = Command::new("du").args(["-s", "-B1"]).arg(&self.log_dir).output()?;
        let text = String::from_utf8(output.stdout)?;
        let bytes = text.split_whitespace().next().context("du printed nothing")?;
        Ok(bytes.parse()?)
    }
}

/// `pg_recvlogical` writing pgoutput to a file up to `end`: the floor, what the server itself needs.
pub(crate) fn recvlogical(source: &Cluster, database: &Database, slot: &str, end: &str) -> Command {
    let mut command = Command::new(source.install().binary("pg_recvlogical"));
    let file = pgtrail_tests::scratch::dir("recvlogical").join("pgoutput");
    command
        .args([
            "--no-password",
            "--no-loop",
            "--start",
            "--slot",
            slot,
            "--endpos",
            end,
            "--dbname",
        ])
        .arg(database.conninfo())
        .arg("--file")
        .arg(file)
        .args(["-o", "proto_version=1", "-o"])
        .arg(format!("publication_names={PUBLICATION}"));
    command
}

/// Makes the publication the peers read. By name: a native subscription refuses one that holds tables
/// its own side does not have, and pgtrail's are among all tables.
pub(crate) async fn publish(database: &Database, tables: &str) {
    database.exec(&format!("create publication {PUBLICATION} for table {tables}")).await;
}

/// A native subscription on a slot that exists, and how long it takes to reach `end` from the moment
/// it is enabled.
pub(crate) async fn native_subscription(
    source: &Database,
    destination: &Database,
    slot: &str,
    end: &str,
) -> Result<Duration> {
    let sql = destination.connect().await;
    create_subscription(&sql, source, slot).await;
    let began = Instant::now();
    sql.exec(&format!("alter subscription {slot} enable")).await;
    let reached = format!(
        "select coalesce(pg_catalog.pg_replication_origin_progress('pg_' || oid, false), '0/0') >= \
         '{end}' from pg_catalog.pg_subscription where subname = '{slot}'"
    );
    while sql.text(&reached).await != "t" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let elapsed = began.elapsed();
    drop_subscription(&sql, slot).await;
    Ok(elapsed)
}

/// Creates a subscription named as its slot, not enabled, without a copy.
pub(crate) async fn create_subscription(sql: &Sql, source: &Database, slot: &str) {
    let conninfo = source.conninfo().replace('\'', "''");
    sql.exec(&format!(
        "create subscription {slot} connection '{conninfo}' publication {PUBLICATION} \
         with (create_slot = false, slot_name = '{slot}', copy_data = false, enabled = false)"
    ))
    .await;
}

/// Drops a subscription and leaves its slot.
pub(crate) async fn drop_subscription(sql: &Sql, slot: &str) {
    sql.exec(&format!("alter subscription {slot} disable")).await;
    sql.exec(&format!("alter subscription {slot} set (slot_name = none)")).await;
    sql.exec(&format!("drop subscription {slot}")).await;
}
