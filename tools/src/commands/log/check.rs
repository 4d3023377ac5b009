//! `pgtrail log check`

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use pgtrail_log::{CheckProgress, CheckReport, Disposition, Position};
use serde_json::{Value, json};

use super::{Which, scratch};
use crate::cli::Global;
use crate::failure::Failure;
use crate::render::{say, to_stdout};

/// Read the whole log and verify every record
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Reads every block, pending chunk and base block, verifies its checksum and decodes it, and
verifies that nothing is missing between them. Exits with 5 when something is wrong.

Examples:
  pgtrail log check
  pgtrail log check --dir /backup/orders --json")]
pub struct Check {
    #[command(flatten)]
    which: Which,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.which.dir(global)?;
        let scratch = scratch()?;
        let mut shown = Shown::new();
        let report =
            pgtrail_log::check(&dir, scratch.path(), &mut |progress| shown.show(progress))?;
        shown.done();
        to_stdout(|out| {
            if self.json {
                writeln!(out, "{}", to_json(&report))?;
            } else {
                write!(out, "{}", to_text(&dir, &report))?;
            }
            Ok(())
        })?;
        if report.problems.is_empty() {
            return Ok(());
        }
        let count = report.problems.len();
        let plural = if count == 1 { "problem" } else { "problems" };
        Err(Failure::new(Disposition::Damaged, format!("the change log has {count} {plural}"))
            .hint(
                "Do not let an applier use it. Restore the whole directory from one copy, or set \
                 the pipeline up again: \"pgtrail teardown\", \"pgtrail init\".",
            )
            .into())
    }
}

fn to_text(dir: &Path, report: &CheckReport) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        text.push_str(&format!("{}: {}\n", problem.at, problem.what));
    }
    let range = match (&report.first, &report.last) {
        (Some(first), Some(last)) => format!("from {first} to {last}"),
        _ => "no transactions".to_owned(),
    };
    let verdict = if report.problems.is_empty() { "good" } else { "DAMAGED" };
    text.push_str(&format!(
        "{}: {verdict}: {} blocks, {} transactions, {} records, {} pending chunks, \
         {} base blocks, {} relation versions; {range}\n",
        dir.display(),
        report.blocks,
        report.transactions,
        report.records,
        report.pending_chunks,
        report.base_blocks,
        report.relations,
    ));
    text
}

fn to_json(report: &CheckReport) -> Value {
    let position = |position: &Option<Position>| position.as_ref().map(ToString::to_string);
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|problem| json!({ "at": problem.at, "what": problem.what }))
        .collect();
    json!({
        "ok": report.problems.is_empty(),
        "blocks": report.blocks,
        "transactions": report.transactions,
        "records": report.records,
        "pending_chunks": report.pending_chunks,
        "base_blocks": report.base_blocks,
        "relations": report.relations,
        "first": position(&report.first),
        "last": position(&report.last),
        "problems": problems,
    })
}

/// Progress on stderr: a bar on a terminal, a line every ten seconds elsewhere.
struct Shown {
    bar: Option<indicatif::ProgressBar>,
    last_line: Instant,
}

impl Shown {
    fn new() -> Shown {
        let bar = std::io::stderr().is_terminal().then(|| indicatif::ProgressBar::new(0));
        Shown { bar, last_line: Instant::now() }
    }

    fn show(&mut self, progress: CheckProgress) {
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(progress.stage);
        } else if self.last_line.elapsed() > Duration::from_secs(10) {
            self.last_line = Instant::now();
            say(format_args!("{}: {} of {}", progress.stage, progress.done, progress.total));
        }
    }

    fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use pgtrail_log::Problem;

    use super::*;

    #[test]
    fn tells_each_problem_and_then_the_verdict() {
        let problem = Problem { at: "block 7".to_owned(), what: "checksum differs".to_owned() };
        let report = CheckReport { blocks: 9, problems: vec![problem], ..CheckReport::default() };
        let text = to_text(Path::new("/log"), &report);
        assert!(text.starts_with("block 7: checksum differs\n/log: DAMAGED: 9 blocks"), "{text}");
        assert_eq!(to_json(&report)["problems"][0]["at"], "block 7");
        assert_eq!(to_json(&CheckReport::default())["ok"], true);
    }
}
