//! What came out, as a table, as JSON, and as the end of `init`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style as Colour};
use serde_json::{Value, json};

use super::facts::Facts;
use super::finding::{Ending, Outcome};
use super::registry::{Checked, ITEMS};
use crate::config::Config;
use crate::failure::Failure;

/// How the table is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Style {
    /// In colour.
    pub(crate) coloured: bool,
    /// With reason and remedy under notices, too.
    pub(crate) detailed: bool,
}

/// All that was judged.
#[derive(Debug)]
pub(crate) struct Report {
    checked: Vec<Checked>,
    accepted: BTreeSet<String>,
}

impl Report {
    /// Judges the items called `only`, or all. Warnings in `accept`, or accepted in the
    /// configuration, stop nothing.
    pub(crate) fn judge(
        config: &Config,
        facts: &Facts,
        only: &[String],
        accept: &[String],
    ) -> Report {
        let wanted = |id: &str| only.is_empty() || only.iter().any(|other| other == id);
        let items = ITEMS.iter().filter(|item| wanted(item.id));
        let checked = items.flat_map(|item| item.judge(config, facts)).collect();
        let accepted = accept.iter().chain(&config.precheck.accept).cloned().collect();
        Report { checked, accepted }
    }

    /// What was found, item by item.
    pub(crate) fn checked(&self) -> &[Checked] {
        &self.checked
    }

    fn is_accepted(&self, checked: &Checked) -> bool {
        checked.finding.outcome == Outcome::Warning && self.accepted.contains(checked.id)
    }

    fn stops(&self, checked: &Checked) -> bool {
        checked.finding.outcome >= Outcome::Warning && !self.is_accepted(checked)
    }

    /// Whether nothing stands in the way.
    pub(crate) fn is_clear(&self) -> bool {
        !self.checked.iter().any(|checked| self.stops(checked))
    }

    /// A line an item, with reason and remedy under what needs them.
    pub(crate) fn text(&self, style: Style) -> String {
        let width = |of: fn(&Checked) -> usize| self.checked.iter().map(of).max().unwrap_or(0);
        let (ids, sides) = (width(|c| c.id.len()), width(|c| c.side.len()));
        let mut text = String::new();
        for checked in &self.checked {
            self.push_line(&mut text, checked, style, (ids, sides));
            let detailed = checked.finding.outcome >= Outcome::Warning
                || (style.detailed && checked.finding.outcome == Outcome::Notice);
            if detailed {
                push_details(&mut text, checked);
            }
        }
        text.push_str(&self.summary());
        text
    }

    fn push_line(
        &self,
        text: &mut String,
        checked: &Checked,
        style: Style,
        (ids, sides): (usize, usize),
    ) {
        let finding = &checked.finding;
        let word = match self.is_accepted(checked) {
            true => "accepted",
            false => finding.outcome.as_str(),
        };
        let colour = match style.coloured {
            true => colour_of(finding.outcome),
            false => Colour::new(),
        };
        let _ = writeln!(
            text,
            "{colour}{word:11}{colour:#} {:ids$}  {:sides$}  {}",
            checked.id, checked.side, finding.found
        );
    }

    fn summary(&self) -> String {
        let number = |outcome| {
            self.checked
                .iter()
                .filter(|c| c.finding.outcome == outcome && !self.is_accepted(c))
                .count()
        };
        let accepted = self.checked.iter().filter(|checked| self.is_accepted(checked)).count();
        let mut parts = vec![format!("{} passed", number(Outcome::Pass))];
        for (number, one, several) in [
            (number(Outcome::Notice), "notice", "notices"),
            (accepted, "accepted", "accepted"),
            (number(Outcome::Warning), "warning", "warnings"),
            (number(Outcome::Failure), "failure", "failures"),
            (number(Outcome::NotChecked), "not checked", "not checked"),
        ] {
            if number > 0 {
                parts.push(format!("{number} {}", if number == 1 { one } else { several }));
            }
        }
        format!("\n{}\n", parts.join(", "))
    }

    /// The lines `init` tells before it goes on or stops: what did not pass, and details of what
    /// stops it.
    pub(crate) fn lines_for_init(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for checked in &self.checked {
            let outcome = checked.finding.outcome;
            if outcome == Outcome::Pass || outcome == Outcome::NotChecked {
                continue;
            }
            let mut text = String::new();
            let widths = (checked.id.len(), checked.side.len());
            self.push_line(&mut text, checked, Style::default(), widths);
            if self.stops(checked) {
                push_details(&mut text, checked);
            }
            lines.push(text.trim_end().to_owned());
        }
        lines
    }

    /// How `init` ends, if something stops it.
    pub(crate) fn stop(&self) -> Option<Failure> {
        let failures = self.checked.iter().filter(|c| c.finding.outcome == Outcome::Failure);
        let warnings = self.checked.iter().filter(|c| c.finding.outcome == Outcome::Warning);
        let stopping: Vec<&Checked> =
            failures.chain(warnings).filter(|checked| self.stops(checked)).collect();
        let first = stopping.first()?;
        let finding = &first.finding;
        let mut hints: Vec<String> = finding.remedies.iter().map(|r| r.describe()).collect();
        hints.truncate(HINTS_SHOWN);
        if finding.outcome == Outcome::Warning {
            hints.push(format!("or accept it: --accept {}", first.id));
        }
        if stopping.len() > 1 {
            hints.push(format!("{} more above", stopping.len() - 1));
        }
        let message = finding.found.clone();
        let failure = match finding.ending {
            Ending::Halt(code) => Failure::halt(code, message),
            Ending::Usage => Failure::usage(message),
        };
        let why = format!("{} \"pgtrail precheck\" shows all items.", finding.why);
        let hint = match hints.is_empty() {
            true => why,
            false => format!("{}; {why}", hints.join("; ")),
        };
        Some(failure.hint(hint.trim().to_owned()))
    }

    /// As `docs/cli-json.md` has it.
    pub(crate) fn json(&self) -> Value {
        let items: Vec<Value> =
            self.checked.iter().map(|checked| self.item_json(checked)).collect();
        json!({ "ok": self.is_clear(), "items": items })
    }

    fn item_json(&self, checked: &Checked) -> Value {
        let finding = &checked.finding;
        let remedies: Vec<Value> = finding
            .remedies
            .iter()
            .map(|remedy| {
                json!({
                    "where": remedy.place.as_json(),
                    "destination": remedy.place.destination(),
                    "text": remedy.text,
                    "then": remedy.then,
                    "fixable": remedy.fixable,
                })
            })
            .collect();
        json!({
            "id": checked.id,
            "title": checked.title,
            "side": checked.side,
            "result": finding.outcome.as_json(),
            "accepted": self.is_accepted(checked),
            "found": finding.found,
            "why": finding.why,
            "remedies": remedies,
        })
    }
}

/// Remedies in one line of hint.
const HINTS_SHOWN: usize = 4;

/// Remedies under an item of the table; `--json` has all.
const REMEDIES_SHOWN: usize = 20;

fn push_details(text: &mut String, checked: &Checked) {
    let finding = &checked.finding;
    if !finding.why.is_empty() {
        let _ = writeln!(text, "            {}", finding.why);
    }
    for remedy in finding.remedies.iter().take(REMEDIES_SHOWN) {
        let _ = writeln!(text, "            {}", remedy.describe());
    }
    if let Some(more) = finding.remedies.len().checked_sub(REMEDIES_SHOWN).filter(|more| *more > 0)
    {
        let _ = writeln!(text, "            … and {more} more (--json has all)");
    }
}

fn colour_of(outcome: Outcome) -> Colour {
    let colour = match outcome {
        Outcome::Pass => AnsiColor::Green,
        Outcome::Notice => AnsiColor::Cyan,
        Outcome::NotChecked => return Colour::new().dimmed(),
        Outcome::Warning => AnsiColor::Yellow,
        Outcome::Failure => return AnsiColor::Red.on_default().bold(),
    };
    colour.on_default()
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Finding, Remedy};
    use super::*;

    fn checked(id: &'static str, finding: Finding) -> Checked {
        Checked { id, title: "", side: "source".to_owned(), finding }
    }

    fn report(findings: Vec<(&'static str, Finding)>, accepted: &[&str]) -> Report {
        Report {
            checked: findings.into_iter().map(|(id, finding)| checked(id, finding)).collect(),
            accepted: accepted.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    fn warning() -> Finding {
        Finding::warning("1 large object", "They stay.").mend(Remedy::source("select 1"))
    }

    #[test]
    fn a_warning_stops_until_it_is_accepted() {
        let open = report(vec![("large-objects", warning())], &[]);
        assert!(!open.is_clear());
        let failure = open.stop().expect("a stop");
        assert_eq!(failure.code(), Some("PGT-0511"));
        assert!(failure.advice().expect("advice").contains("--accept large-objects"));
        let accepted = report(vec![("large-objects", warning())], &["large-objects"]);
        assert!(accepted.is_clear() && accepted.stop().is_none());
        assert!(accepted.text(Style::default()).starts_with("accepted"));
    }

    #[test]
    fn a_failure_cannot_be_accepted() {
        let failing = Finding::failure("no", "Because.").code("PGT-0502");
        let report =
            report(vec![("large-objects", warning()), ("wal-level", failing)], &["wal-level"]);
        assert_eq!(report.stop().expect("a stop").code(), Some("PGT-0502"), "failures go first");
    }

    #[test]
    fn notices_and_what_was_not_checked_stop_nothing() {
        let found = vec![
            ("tls", Finding::notice("plain", "Because.")),
            ("wal-level", Finding::not_checked("away")),
        ];
        assert!(report(found, &[]).is_clear());
    }

    #[test]
    fn the_table_is_plain_unless_asked() {
        let report = report(vec![("large-objects", warning())], &[]);
        let plain = report.text(Style::default());
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert!(plain.contains("at the source: select 1"), "{plain}");
        assert!(report.text(Style { coloured: true, detailed: false }).contains('\u{1b}'));
    }
}
