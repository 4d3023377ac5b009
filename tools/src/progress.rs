//! How far the copy is, shown by `pgtrail run` while it goes on.
//!
//! Asks the processes as `pgtrail status` does. On a terminal a bar for each process and each table under
//! way; elsewhere a line of the log every ten seconds. The invariant: it decides nothing and disturbs
//! nobody; who does not answer is not shown.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::config::Config;
use crate::config::units::show_size;
use crate::control;

/// How often bars move: often enough to look alive.
const BARS_EVERY: Duration = Duration::from_millis(500);

/// How often a line says how far it is, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar has a thousand steps.
const STEPS: f64 = 1000.0;

/// The bars of this process, for whoever writes lines between them.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Writes something to stderr while no bar is in the way.
pub(crate) fn beside_bars(write: impl FnOnce()) {
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// Shows the copy until every destination has all of it.
pub(crate) async fn show(config: &Config) {
    if !config.copies() {
        return;
    }
    let mut sockets = vec![("reader".to_owned(), "copied", config.reader_socket())];
    for name in config.destinations.keys() {
        sockets.push((format!("applier {name}"), "loaded", config.applier_socket(name)));
    }
    match std::io::stderr().is_terminal() {
        true => show_bars(&sockets).await,
        false => show_lines(&sockets).await,
    }
}

type Sockets = [(String, &'static str, PathBuf)];

/// What each process says of itself, and whether the copy is over.
async fn ask(sockets: &Sockets) -> (Vec<Option<Value>>, bool) {
    let mut answers = Vec::with_capacity(sockets.len());
    for (_, _, path) in sockets {
        answers.push(control::ask(path, "status").await.ok());
    }
    let applying = |answer: &Option<Value>| {
        answer.as_ref().is_some_and(|answer| answer["state"] == "applying")
    };
    let over = answers.iter().skip(1).all(applying);
    (answers, over)
}

fn is_under_way(copy: &Value) -> bool {
    copy["tables_total"].as_u64() > copy["tables_done"].as_u64()
}

async fn show_lines(sockets: &Sockets) {
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let (answers, over) = ask(sockets).await;
        if over {
            return;
        }
        for ((name, done, _), answer) in sockets.iter().zip(answers) {
            if let Some(answer) = answer.filter(|answer| is_under_way(&answer["copy"])) {
                tracing::info!("{name}: {}", describe(&answer, done));
            }
        }
    }
}

async fn show_bars(sockets: &Sockets) {
    let bars = BARS.get_or_init(MultiProgress::new);
    let mut shown: HashMap<String, ProgressBar> = HashMap::new();
    loop {
        tokio::time::sleep(BARS_EVERY).await;
        let (answers, over) = ask(sockets).await;
        let mut now: Vec<(String, f64, String)> = Vec::new();
        for ((name, done, _), answer) in sockets.iter().zip(&answers) {
            let Some(answer) = answer else { continue };
            let copy = &answer["copy"];
            if over || !is_under_way(copy) {
                continue;
            }
            now.push((name.clone(), percent(copy), describe(answer, done)));
            for table in copy["tables"].as_array().into_iter().flatten() {
                let title = format!("  {}", table_name(table));
                now.push((format!("{name} {title}"), percent(table), describe_table(table)));
            }
        }
        shown.retain(|key, bar| {
            let stays = now.iter().any(|(other, _, _)| other == key);
            if !stays {
                bar.finish_and_clear();
                bars.remove(bar);
            }
            stays
        });
        for (key, percent, text) in now {
            let bar = shown.entry(key).or_insert_with(|| bars.add(new_bar()));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 1000"
            )]
            bar.set_position((percent / 100.0 * STEPS).clamp(0.0, STEPS) as u64);
            bar.set_message(text);
        }
        if over {
            return;
        }
    }
}

fn new_bar() -> ProgressBar {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1000")]
    let bar = ProgressBar::new(STEPS as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn percent(of: &Value) -> f64 {
    of["percent"].as_f64().unwrap_or(0.0)
}

/// The copy of one process, for people. `done` says what it does with tables.
pub(crate) fn describe(process: &Value, done: &str) -> String {
    let (copy, rates) = (&process["copy"], &process["rates"]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    format!(
        "tables {done}: {} of {}, {} rows, {}, {} rows/s, {}/s{}",
        number(&copy["tables_done"]),
        number(&copy["tables_total"]),
        number(&copy["rows"]),
        show_size(number(&copy["bytes"])),
        number(&rates["base_rows_per_s"]),
        show_size(number(&rates["base_bytes_per_s"])),
        outlook(copy)
    )
}

/// One table, for people.
pub(crate) fn describe_table(table: &Value) -> String {
    let number = |key: &str| table[key].as_u64().unwrap_or(0);
    let of = match number("rows_total") {
        0 => String::new(),
        total => format!(" of {total}"),
    };
    format!(
        "{}: {}{of} rows, {}, {} rows/s{}",
        table_name(table),
        number("rows"),
        show_size(number("bytes")),
        number("rows_per_s"),
        outlook(table)
    )
}

fn table_name(table: &Value) -> String {
    let part = |key: &str| table[key].as_str().unwrap_or_default();
    format!("{}.{}", part("schema"), part("table"))
}

/// How far, and how long yet.
fn outlook(of: &Value) -> String {
    let left = of["seconds_left"].as_u64().map(Duration::from_secs);
    let left = left.map(|left| format!(", {} left", humantime::format_duration(left)));
    format!(", {:.0} %{}", percent(of), left.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_how_far_and_how_long_yet() {
        let table = json!({
            "schema": "public", "table": "t", "rows": 50, "rows_total": 200, "bytes": 2048,
            "rows_per_s": 10, "percent": 25.0, "seconds_left": 75,
        });
        let expected = "public.t: 50 of 200 rows, 2.0 kB, 10 rows/s, 25 %, 1m 15s left";
        assert_eq!(describe_table(&table), expected);
        let process = json!({
            "copy": { "tables_done": 1, "tables_total": 3, "rows": 50, "bytes": 2048,
                      "percent": 40.2, "seconds_left": null },
            "rates": { "base_rows_per_s": 7, "base_bytes_per_s": 1024 },
        });
        let expected = "tables copied: 1 of 3, 50 rows, 2.0 kB, 7 rows/s, 1.0 kB/s, 40 %";
        assert_eq!(describe(&process, "copied"), expected);
    }
}
