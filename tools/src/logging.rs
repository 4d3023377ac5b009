//! Talk on stderr: `tracing` lines as text or JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How the talk is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// One line each, for people.
    Text,
    /// One JSON object each, for collectors.
    Json,
}

/// Begins to show what the libraries log. `is_process`: also the events of a long-running process's
/// life.
pub(crate) fn start(format: LogFormat, verbose: u8, is_process: bool) {
    let filter = match (verbose, is_process) {
        (0, false) => "warn",
        (0, true) => "warn,pgtrail=info",
        (1, _) => "info,pgtrail=debug",
        // tokio-postgres would show the parameters of every statement: column values.
        (_, _) => "debug,tokio_postgres=info,pgtrail=trace",
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A test that already has a subscriber keeps it.
    let _ = match format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}
