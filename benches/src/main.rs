//! End-to-end measurements against peers: the same backlog, in the same run, on the same machine.
//!
//! See benches/README.md for what is measured and how to read it.

mod backlog;
mod copy;
mod latency;
mod measure;
mod peers;
mod report;
mod wide;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command, Parser, Subcommand};

/// Measures pgtrail against pg_recvlogical and a native subscription: everything, or one of these.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Also write the reports as JSON to this file.
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
    /// An initial copy with schema and keys, against a psql pipe, native table sync and pgcopydb.
    Copy(copy::Options),
    /// Precheck, and the schema's way to an empty destination, with many tables.
    Wide(wide::Options),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let whats = match arguments.what {
        Some(what) => vec![what],
        None => vec![
            What::Tpcb(defaults()?),
            What::Copy(defaults()?),
            What::Wide(defaults()?),
            What::Latency(defaults()?),
        ],
    };
    let mut reports = Vec::new();
    for what in &whats {
        let report = match what {
            What::Tpcb(options) => backlog::measure(&runtime, options)?,
            What::Copy(options) => copy::measure(&runtime, options)?,
            What::Wide(options) => wide::measure(&runtime, options)?,
            What::Latency(options) => runtime.block_on(latency::measure(options))?,
        };
        println!("{}\n", report.table());
        reports.push(report);
    }
    if let Some(path) = arguments.json {
        std::fs::write(&path, serde_json::to_vec_pretty(&reports)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The options that nothing on the command line gives.
fn defaults<T: Args>() -> Result<T> {
    let command = T::augment_args(Command::new("defaults"));
    Ok(T::from_arg_matches(&command.try_get_matches_from(["defaults"])?)?)
}
