//! End-to-end measurements against peers: the same backlog, in the same run, on the same machine.
//!
//! See benches/README.md for what is measured and how to read it.

mod backlog;
mod latency;
mod measure;
mod peers;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::report::Report;

/// Measures pgtrail against pg_recvlogical and a native subscription.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Also write the report as JSON to this file.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum What {
    /// A TPC-B backlog made on an idle source: the reader alone against pg_recvlogical, then end to
    /// end against a native subscription.
    Tpcb(backlog::Options),
    /// From commit at the source to commit at the destination, at a steady rate, beside a native
    /// subscription.
    Latency(latency::Options),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = match &arguments.what {
        What::Tpcb(options) => backlog::measure(&runtime, options)?,
        What::Latency(options) => runtime.block_on(latency::measure(options))?,
    };
    emit(&report, arguments.json.as_deref())
}

fn emit(report: &Report, json: Option<&std::path::Path>) -> Result<()> {
    println!("{}", report.table());
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_vec_pretty(report)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
