//! The command line of pgtrail, as a library so that tests call it too.
//!
//! [`main`] is the whole binary. One file a command below [`commands`]; what several commands need
//! stands beside them: [`config`] reads `pgtrail.toml`, [`control`] is the socket of a running
//! process, [`source`] owns pgtrail's objects at the source, [`compare`] compares two databases row
//! by row, and [`render`] is the one place that shows errors.

mod cli;
pub mod commands;
pub mod compare;
pub mod config;
pub mod control;
mod dismantle;
mod failure;
mod grants;
mod inventory;
mod logging;
mod precheck;
mod process;
mod progress;
mod publication;
mod release;
pub mod render;
mod servers;
mod source;
mod standing;
mod status;
mod stop_at;
mod supervise;

use std::process::ExitCode;

pub use cli::{Cli, command_help};
pub use failure::{Differs, Failure};
pub use stop_at::StopAt;

/// The binary: reads the command line, runs the command, shows its error, and gives the exit code.
pub fn main() -> ExitCode {
    cli::main()
}
