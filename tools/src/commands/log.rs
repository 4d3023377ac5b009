//! `pgtrail log …`: looking at a change log, offline or beside a running reader. Nothing here
//! writes into it.

pub mod check;
pub mod dump;
pub mod stat;
mod value;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pgtrail_log::LogFollower;

use crate::cli::Global;

/// Look into the change log; needs no server
#[derive(clap::Subcommand, Debug)]
pub enum Log {
    Dump(dump::Dump),
    Check(check::Check),
    Stat(stat::Stat),
}

impl Log {
    /// Runs it.
    ///
    /// # Errors
    /// When there is no log, it is damaged, or output fails.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Log::Dump(command) => command.run(global),
            Log::Check(command) => command.run(global),
            Log::Stat(command) => command.run(global),
        }
    }
}

/// Which log to look at.
#[derive(clap::Args, Clone, Debug)]
pub struct Which {
    /// The log directory, possibly a copy; then no configuration is needed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Which {
    fn dir(&self, global: &Global) -> anyhow::Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(global.load()?.log.dir),
        }
    }
}

/// An open log and the scratch directory that following it needs.
struct OpenLog {
    follower: LogFollower,
    // After the follower, so that it is removed after it is closed.
    _scratch: tempfile::TempDir,
}

impl OpenLog {
    fn open(dir: &Path) -> anyhow::Result<OpenLog> {
        let scratch = scratch()?;
        let follower = LogFollower::open(dir, scratch.path())?;
        Ok(OpenLog { follower, _scratch: scratch })
    }
}

fn scratch() -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("pgtrail-log-").tempdir().context("make a scratch directory")
}
