//! `pgtrail schema …`: what a database's schema is, and how two differ.

pub mod diff;
pub mod show;

use anyhow::Context as _;
use pgtrail_postgres::ConnInfo;
use pgtrail_postgres::schema::Snapshot;
use pgtrail_postgres::schema::diff::{LeftOut, select};

use crate::cli::Global;
use crate::config::Config;
use crate::servers::connect;

/// Show a schema, or what differs between source and destination
#[derive(clap::Subcommand, Debug)]
pub enum Schema {
    Show(show::Show),
    Diff(diff::Diff),
}

impl Schema {
    /// Runs it.
    ///
    /// # Errors
    /// When a database cannot be reached or read, and with exit code 1 when schemas differ.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Schema::Show(command) => Box::pin(command.run(global)).await,
            Schema::Diff(command) => Box::pin(command.run(global)).await,
        }
    }
}

/// The selected part of a database's schema, and what the selection leaves out of it.
async fn load(
    config: &Config,
    info: &ConnInfo,
    side: &str,
) -> anyhow::Result<(Snapshot, Vec<LeftOut>)> {
    let client = connect(info, side).await?;
    let read = Snapshot::read(&client).await;
    let snapshot = read.with_context(|| format!("read the schema of the {side}"))?;
    Ok(select(&snapshot, &config.selection()))
}
