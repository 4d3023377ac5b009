//! How results and errors reach the user: data on stdout, talk on stderr, and the exit code.
//!
//! The one place that turns an error into text: `error: MESSAGE: CAUSE` on one line, then the hint,
//! then the code.

use std::fmt::Write as _;
use std::io::{self, Write};

use pgtrail_log::Disposition;

use crate::failure::{Differs, Failure};

/// What an error says of itself, whichever crate it comes from.
struct Verdict {
    disposition: Disposition,
    code: Option<&'static str>,
    hint: Option<String>,
}

/// An error as it is shown and as it ends the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Message and causes, one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The stable code, where an operator must act.
    pub code: Option<&'static str>,
    /// The process ends with it.
    pub exit_code: u8,
}

impl Report {
    /// What there is to say about `error`.
    pub fn of(error: &anyhow::Error) -> Report {
        if error.is::<Differs>() {
            return Report { message: error.to_string(), hint: None, code: None, exit_code: 1 };
        }
        let verdict = error.chain().find_map(verdict_of);
        let message = one_line(error);
        match verdict {
            Some(verdict) => Report {
                message,
                hint: verdict.hint,
                code: verdict.code,
                exit_code: verdict.disposition.exit_code(),
            },
            // An I/O error or the like that no crate of ours has judged: a person has to look.
            None => {
                let exit_code = Disposition::Halt.exit_code();
                Report { message, hint: None, code: None, exit_code }
            }
        }
    }

    /// The text for stderr.
    pub fn text(&self) -> String {
        let mut text = format!("error: {}", self.message);
        if let Some(code) = self.code {
            let _ = write!(text, " [{code}]");
        }
        text.push('\n');
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }

    /// The same as one JSON object, for `--log-format json`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "level": "ERROR",
            "error": self.message,
            "hint": self.hint,
            "code": self.code,
            "exit_code": self.exit_code,
        })
    }
}

fn verdict_of(error: &(dyn std::error::Error + 'static)) -> Option<Verdict> {
    if let Some(error) = error.downcast_ref::<Failure>() {
        return Some(Verdict {
            disposition: error.disposition(),
            code: error.code(),
            hint: error.advice().map(str::to_owned),
        });
    }
    macro_rules! from_crate {
        ($($krate:ident),*) => {$(
            if let Some(error) = error.downcast_ref::<$krate::Error>() {
                return Some(Verdict {
                    disposition: error.disposition(),
                    code: error.code(),
                    hint: error.hint(),
                });
            }
        )*};
    }
    from_crate!(pgtrail_reader, pgtrail_applier, pgtrail_postgres, pgtrail_log);
    None
}

/// Message and causes with colons between them; a cause that its parent already quotes is not said
/// twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if line.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

/// Runs `write` on a buffered stdout. A reader that closed the pipe has seen enough: no error.
///
/// # Errors
/// Whatever `write` or stdout fails with, a closed pipe excepted.
pub fn to_stdout(write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let result = write(&mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints one line of talk. Nothing useful can be done when stderr is gone.
pub fn say(line: impl std::fmt::Display) {
    crate::progress::beside_bars(|| {
        let _ = writeln!(io::stderr(), "{line}");
    });
}

/// A moment in UTC as ISO 8601 with microseconds.
pub fn show_time(moment: pgtrail_log::Timestamp) -> String {
    let micros = u64::try_from(moment.unix_micros()).unwrap_or(0);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_micros(micros);
    humantime::format_rfc3339_micros(time).to_string()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_causes_and_a_hint() {
        let refusal = Failure::halt("PGT-0599", "wal_level is \"replica\"").hint("set it");
        let error = Err::<(), _>(refusal).context("check the source").unwrap_err();
        let report = Report::of(&error);
        assert_eq!(
            report.text(),
            "error: check the source: wal_level is \"replica\" [PGT-0599]\nhint: set it\n"
        );
        assert_eq!(report.exit_code, 3);
    }

    #[test]
    fn a_cause_that_is_already_quoted_is_not_repeated() {
        let inner = std::io::Error::other("no such thing");
        let error = anyhow::Error::new(inner).context("open it: no such thing");
        assert_eq!(one_line(&error), "open it: no such thing");
    }

    #[test]
    fn the_exit_code_follows_the_first_error_that_knows() {
        let exit = |error: anyhow::Error| Report::of(&error).exit_code;
        assert_eq!(exit(Failure::usage("x").into()), 2);
        assert_eq!(exit(Failure::unreachable("x").into()), 4);
        assert_eq!(exit(Differs.into()), 1);
        assert_eq!(exit(anyhow::anyhow!("unjudged")), 3);
    }

    #[test]
    fn shows_moments_in_utc() {
        assert_eq!(show_time(pgtrail_log::Timestamp(0)), "2000-01-01T00:00:00.000000Z");
    }
}
