//! `pgtrail resync`

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pgtrail_log::LogFollower;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::config::{Config, TableName};
use crate::control;
use crate::failure::Failure;
use crate::render::{say, to_stdout};

/// How often the log and the appliers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often what is being waited for is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Copy tables again from the source while everything else flows
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The running reader copies each table under a new snapshot into the change log. Each applier then
replaces the table's rows in one transaction, at a place where they agree with all other tables;
queries see the old rows until it commits. Until then changes to the table wait, those to others do
not. The request is kept in the log: it outlives a restart of reader or applier.

Also brings in a table that could not be copied at first, once the cause is mended (see
pgtrail status). Of a partitioned table all partitions are copied.

Examples:
  pgtrail resync sales.orders
  pgtrail resync --wait sales.orders 'sales.tmp_*'")]
pub struct Resync {
    /// The tables, as schema.table; patterns as in [objects], a part that is meant literally in
    /// double quotes
    #[arg(required = true, value_name = "TABLE", value_parser = TableName::parse)]
    tables: Vec<TableName>,
    /// Wait until the tables are at every destination
    #[arg(long)]
    wait: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Resync {
    /// Runs it.
    ///
    /// # Errors
    /// When no reader runs, a table has no part in the pipeline, or, with `--wait`, one cannot be
    /// copied.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        let tables = self.request(&config).await?;
        if self.wait {
            wait(&config, &tables).await?;
        }
        to_stdout(|out| {
            if self.json {
                writeln!(out, "{}", json!({ "tables": tables, "done": self.wait }))?;
                return Ok(());
            }
            let what = if self.wait { "is copied again" } else { "will be copied again" };
            for table in &tables {
                writeln!(out, "{table} {what}")?;
            }
            Ok(())
        })
    }

    /// The tables that now wait to be copied.
    async fn request(&self, config: &Config) -> anyhow::Result<Vec<String>> {
        let tables: Vec<String> = self.tables.iter().map(ToString::to_string).collect();
        let request = json!({ "verb": "resync", "tables": tables });
        let Ok(answer) = control::request(&config.reader_socket(), &request).await else {
            return Err(unheard(config).await.into());
        };
        if let Some(error) = answer["error"].as_str() {
            return Err(Failure::usage(error).into());
        }
        let accepted = answer["tables"].as_array().context("the reader's answer")?;
        Ok(accepted.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }
}

/// Why the reader did not answer.
async fn unheard(config: &Config) -> Failure {
    if control::ask(&config.reader_socket(), "status").await.is_ok() {
        return Failure::halt(
            "PGT-0513",
            "the reader takes no request before the initial copy is complete",
        )
        .hint("\"pgtrail status\" shows how far it is; what it could not copy it names there.");
    }
    Failure::usage(format!("no reader of pipeline \"{}\" runs", config.name))
        .hint("Start it with \"pgtrail run\"; it copies the tables.")
}

/// Waits for the reader, then for every applier.
async fn wait(config: &Config, tables: &[String]) -> anyhow::Result<()> {
    let mut told = Instant::now();
    loop {
        let reader = control::ask(&config.reader_socket(), "status").await.map_err(|_| {
            Failure::halt("PGT-0512", "the reader has stopped").hint(
                "The request stands. Start it with \"pgtrail run\"; \"pgtrail status\" shows it.",
            )
        })?;
        refuse_failed(&reader, tables)?;
        let lists = |list: &Value, table: &String| {
            list.as_array().is_some_and(|list| list.iter().any(|entry| entry == table.as_str()))
        };
        let left = tables.iter().filter(|table| lists(&reader["rebases"], table)).count();
        if left == 0 {
            break;
        }
        tell(&mut told, &format!("waiting for the copy of {left} of {} tables", tables.len()));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let newest = newest_base(&config.log.dir, tables)?;
    loop {
        let applied = pgtrail_log::read_applied(&config.log.dir)?;
        let behind: Vec<&str> = config
            .destinations
            .keys()
            .filter(|name| {
                let of_it = |found: &&pgtrail_log::AppliedCheckpoint| found.applier == **name;
                applied.iter().find(of_it).is_none_or(|found| found.rebased < newest)
            })
            .map(String::as_str)
            .collect();
        if behind.is_empty() {
            return Ok(());
        }
        tell(&mut told, &format!("waiting for the destinations {}", behind.join(", ")));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn refuse_failed(reader: &Value, tables: &[String]) -> anyhow::Result<()> {
    for failed in reader["failed_tables"].as_array().into_iter().flatten() {
        let waits =
            reader["rebases"].as_array().is_some_and(|list| list.contains(&failed["table"]));
        if let Some(table) = failed["table"].as_str()
            && !waits
            && tables.iter().any(|wanted| wanted == table)
        {
            let reason = failed["reason"].as_str().unwrap_or_default();
            return Err(Failure::halt("PGT-0319", format!("{table} cannot be copied: {reason}"))
                .hint("Mend that, and run this again.")
                .into());
        }
    }
    Ok(())
}

/// The newest base of these tables in the log.
fn newest_base(dir: &Path, tables: &[String]) -> anyhow::Result<u64> {
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    let bases = LogFollower::open(dir, scratch.path())?.bases()?;
    let is_one = |schema: &str, name: &str| {
        let full = format!("{schema}.{name}");
        tables.contains(&full)
    };
    let ids = bases
        .iter()
        .filter(|base| base.rebase.is_some() && is_one(&base.shape.schema, &base.shape.name))
        .map(|base| base.id);
    Ok(ids.max().unwrap_or(0))
}

fn tell(told: &mut Instant, what: &str) {
    if told.elapsed() >= TELL_EVERY {
        *told = Instant::now();
        say(format_args!("{what}"));
    }
}
