//! What this crate itself refuses or finds wrong, and the answer to it: message, hint, code, and
//! what kind of end it is. Errors of the libraries keep their own types and are only ever wrapped
//! with context, so that [`crate::render`] still finds their disposition.

use std::fmt;

use pgtrail_log::Disposition;

/// An error with its remedy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    disposition: Disposition,
    message: String,
    hint: Option<String>,
    code: Option<&'static str>,
}

impl Failure {
    /// The command line or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Disposition::Usage, message)
    }

    /// A person must act before this can go on.
    pub fn halt(code: &'static str, message: impl Into<String>) -> Failure {
        Failure::new(Disposition::Halt, message).with_code(code)
    }

    /// A database could not be reached.
    pub fn unreachable(message: impl Into<String>) -> Failure {
        Failure::new(Disposition::Unreachable, message)
    }

    /// An error that ends the program with the exit code of `disposition`.
    pub fn new(disposition: Disposition, message: impl Into<String>) -> Failure {
        Failure { disposition, message: message.into(), hint: None, code: None }
    }

    /// Gives it a stable code.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Failure {
        self.code = Some(code);
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// What the program should do.
    pub fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// The stable code, where an operator must act.
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Found differences or failed checks: what was found has been printed already, only the exit code
/// 1 is left to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Differs;

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("differences were found")
    }
}

impl std::error::Error for Differs {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Every `PGT-05NN` in the texts below `dir`; 0599 is what tests use.
    fn codes_below(dir: &Path, codes: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                codes_below(&path, codes);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let found = text.match_indices("PGT-05").filter_map(|(at, _)| text.get(at..at + 8));
            let whole =
                |code: &&str| code.ends_with(|c: char| c.is_ascii_digit()) && !code.ends_with("99");
            codes.extend(found.filter(whole).map(str::to_owned));
        }
    }

    #[test]
    fn each_code_has_its_page_and_each_page_its_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut codes = BTreeSet::new();
        codes_below(&root.join("src"), &mut codes);
        let pages: BTreeSet<String> = std::fs::read_dir(root.join("../docs/errors"))
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| name.starts_with("PGT-05"))
            .map(|name| name.trim_end_matches(".md").to_owned())
            .collect();
        assert_eq!(codes, pages);
    }
}
