//! `pgtrail status`

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;

use crate::cli::Global;
use crate::config::Config;
use crate::config::units::show_size;
use crate::process::{Second, asked_to_stop, shutdown_on_signal};
use crate::progress::{describe, describe_table};
use crate::render::to_stdout;
use crate::status::of_pipeline;

/// Show positions, lag and throughput of each process, and what to do about a halt
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Asks the processes that run; of those that do not it shows what their files say. Needs no database.

Examples:
  pgtrail status
  pgtrail status --watch
  pgtrail status --json | jq '.appliers[].lag_bytes'")]
pub struct Status {
    /// Show it again every second, until interrupted
    #[arg(long)]
    watch: bool,
    /// One JSON object (with --watch: one a line); docs/cli-json.md has the fields
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Runs it.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.load()?;
        if !self.watch {
            return self.show(&config, false).await;
        }
        let mut shutdown = shutdown_on_signal(Second::Ends)?;
        let on_screen = !self.json && std::io::stdout().is_terminal();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = tick.tick() => self.show(&config, on_screen).await?,
                () = asked_to_stop(&mut shutdown) => return Ok(()),
            }
        }
    }

    async fn show(&self, config: &Config, on_screen: bool) -> anyhow::Result<()> {
        let status = of_pipeline(config).await;
        to_stdout(|out| {
            if on_screen {
                // Home, and clear what is below.
                write!(out, "\x1b[H\x1b[2J")?;
            }
            if self.json {
                writeln!(out, "{status}")?;
            } else {
                write!(out, "{}", text(&status))?;
            }
            Ok(())
        })
    }
}

/// The status for people.
fn text(status: &Value) -> String {
    let mut text = String::new();
    let log = &status["log"];
    let _ = writeln!(
        text,
        "pipeline {}   log {} ({}), durable to {}",
        word(&status["pipeline"]),
        word(&log["dir"]),
        show_size(log["bytes"].as_u64().unwrap_or(0)),
        word(&log["durable_lsn"]),
    );
    if log["exists"] == false {
        let _ = writeln!(text, "  no change log there; pgtrail init creates it");
    }
    process(&mut text, "reader", &status["reader"], &reader_facts(&status["reader"]));
    for applier in status["appliers"].as_array().into_iter().flatten() {
        let name = format!("applier {}", word(&applier["name"]));
        process(&mut text, &name, applier, &applier_facts(applier));
    }
    text
}

fn process(text: &mut String, name: &str, process: &Value, facts: &[String]) {
    let pid = match process["pid"].as_u64() {
        Some(pid) => format!(", process {pid}"),
        None => String::new(),
    };
    let _ = writeln!(text, "{name}: {}{pid}", word(&process["state"]));
    for fact in facts {
        let _ = writeln!(text, "  {fact}");
    }
    for key in ["last_error", "notice"] {
        if let Some(said) = process[key].as_str() {
            let _ = writeln!(text, "  {}: {said}", key.replace('_', " "));
        }
    }
    let halted = &process["halted"];
    if let Some(error) = halted["error"].as_str() {
        let code = halted["code"].as_str().map(|code| format!(" [{code}]")).unwrap_or_default();
        let _ = writeln!(text, "  error: {error}{code}");
        if let Some(hint) = halted["hint"].as_str() {
            let _ = writeln!(text, "  hint: {hint}");
        }
    }
}

fn reader_facts(reader: &Value) -> Vec<String> {
    if reader["running"] != true {
        return Vec::new();
    }
    let mut facts = vec![
        format!(
            "received {}, durable {}, confirmed {}",
            word(&reader["received_lsn"]),
            word(&reader["durable_lsn"]),
            word(&reader["confirmed_flush_lsn"])
        ),
        format!("lag {}; {}", lag(reader), rates(reader)),
    ];
    if let Some(hidden) = reader["hidden_sequences"].as_u64().filter(|hidden| *hidden > 0) {
        facts.push(format!("sequences that may not be read: {hidden}"));
    }
    facts.extend(names(&reader["rebases"], "tables to be copied again"));
    for failed in reader["failed_tables"].as_array().into_iter().flatten() {
        let (table, reason) = (word(&failed["table"]), word(&failed["reason"]));
        facts.push(format!(
            "table not copied: {table}: {reason}; mend that, then: pgtrail resync {table}"
        ));
    }
    if reader["base_tables_done"] != reader["base_tables_total"] {
        facts.extend(base(reader, "copied"));
    }
    facts
}

fn applier_facts(applier: &Value) -> Vec<String> {
    let mut facts =
        vec![format!("applied {}; lag {}", word(&applier["applied_lsn"]), lag(applier))];
    if applier["running"] == true {
        facts.push(rates(applier));
        if applier["base_tables_done"] != applier["base_tables_total"] {
            facts.extend(base(applier, "loaded"));
        }
        for failed in applier["failed_tables"].as_array().into_iter().flatten() {
            facts.push(format!(
                "table not loaded: {}: {}",
                word(&failed["table"]),
                word(&failed["reason"])
            ));
        }
        facts.extend(names(&applier["rebases"], "tables copied again, to be taken over"));
        facts.extend(names(&applier["isolated"], "tables left out, never copied"));
        facts.extend(sequences(applier));
        for key in ["conflicts", "replays"] {
            if applier[key].as_u64().unwrap_or(0) > 0 {
                facts.push(format!("{key}: {}", applier[key]));
            }
        }
    }
    facts
}

/// A line that lists tables, if there are any.
fn names(tables: &Value, what: &str) -> Option<String> {
    let tables: Vec<&str> = tables.as_array()?.iter().filter_map(Value::as_str).collect();
    (!tables.is_empty()).then(|| format!("{what}: {}", tables.join(", ")))
}

/// How many sequences follow, when one was last set, and which do not follow.
fn sequences(applier: &Value) -> Vec<String> {
    let Some(all) = applier["sequences"].as_array().filter(|all| !all.is_empty()) else {
        return Vec::new();
    };
    let (left, following): (Vec<&Value>, Vec<&Value>) =
        all.iter().partition(|sequence| sequence["state"] == "not set");
    let last = following.iter().filter_map(|sequence| sequence["set_at"].as_str()).max();
    let last = last.map(|at| format!(", last set {at}")).unwrap_or_default();
    let mut facts = vec![format!("sequences: {}{last}", following.len())];
    let left =
        left.iter().map(|found| format!("{}: {}", word(&found["name"]), word(&found["reason"])));
    facts.extend(left.map(|left| format!("sequence not set: {left}")));
    facts
}

fn lag(process: &Value) -> String {
    let bytes = process["lag_bytes"].as_u64().map_or_else(|| "unknown".to_owned(), show_size);
    match process["lag_seconds"].as_f64() {
        Some(seconds) => format!("{bytes}, {seconds:.1} s"),
        None => bytes,
    }
}

fn rates(process: &Value) -> String {
    let rates = &process["rates"];
    format!("{} transactions/s, {} changes/s", rates["transactions_per_s"], rates["changes_per_s"])
}

/// The copy, and each table under way.
fn base(process: &Value, done: &str) -> Vec<String> {
    let tables = process["copy"]["tables"].as_array().into_iter().flatten();
    let tables = tables.map(|table| format!("  {}", describe_table(table)));
    [describe(process, done)].into_iter().chain(tables).collect()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_positions_lag_and_what_to_do_about_a_halt() {
        let status = json!({
            "pipeline": "orders",
            "log": { "dir": "/log", "exists": true, "bytes": 2048, "durable_lsn": "0/20" },
            "reader": {
                "running": true, "pid": 7, "state": "streaming", "received_lsn": "0/30",
                "durable_lsn": "0/20", "confirmed_flush_lsn": "0/20", "lag_bytes": 16,
                "lag_seconds": 0.5, "base_tables_done": 1, "base_tables_total": 2,
                "copy": {
                    "tables_done": 1, "tables_total": 2, "rows": 9, "bytes": 2048, "percent": 60.0,
                    "seconds_left": 65, "tables": [{
                        "schema": "s", "table": "t", "rows": 4, "rows_total": 8, "bytes": 1024,
                        "rows_per_s": 2, "percent": 50.0, "seconds_left": 2,
                    }],
                },
                "rates": {
                    "transactions_per_s": 3, "changes_per_s": 4, "base_rows_per_s": 5,
                    "base_bytes_per_s": 1024,
                },
            },
            "appliers": [{
                "name": "default", "running": false, "state": "halted", "applied_lsn": "0/10",
                "lag_bytes": 16,
                "halted": { "error": "conflict", "code": "PGT-0404", "hint": "Look." },
            }],
        });
        assert_eq!(
            text(&status),
            "pipeline orders   log /log (2.0 kB), durable to 0/20\n\
             reader: streaming, process 7\n\
             \x20 received 0/30, durable 0/20, confirmed 0/20\n\
             \x20 lag 16 B, 0.5 s; 3 transactions/s, 4 changes/s\n\
             \x20 tables copied: 1 of 2, 9 rows, 2.0 kB, 5 rows/s, 1.0 kB/s, 60 %, 1m 5s left\n\
             \x20   s.t: 4 of 8 rows, 1.0 kB, 2 rows/s, 50 %, 2s left\n\
             applier default: halted\n\
             \x20 applied 0/10; lag 16 B\n\
             \x20 error: conflict [PGT-0404]\n\
             \x20 hint: Look.\n"
        );
    }
}
