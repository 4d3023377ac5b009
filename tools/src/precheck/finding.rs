//! What an item found: its result, the reason, and the remedy.

/// How an item came out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Outcome {
    /// As it should be.
    Pass,
    /// Worth knowing; stops nothing.
    Notice,
    /// What it needs could not be asked.
    NotChecked,
    /// Stops `init` until somebody accepts it.
    Warning,
    /// Stops `init`.
    Failure,
}

impl Outcome {
    /// As people read it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Notice => "notice",
            Outcome::NotChecked => "not checked",
            Outcome::Warning => "warning",
            Outcome::Failure => "failure",
        }
    }

    /// As programs read it.
    pub(crate) fn as_json(self) -> &'static str {
        match self {
            Outcome::NotChecked => "not_checked",
            other => other.as_str(),
        }
    }
}

/// Where a remedy is to be run or written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// SQL, at the source.
    Source,
    /// SQL, at the destination of this name.
    Destination(String),
    /// A command line.
    Shell,
    /// The configuration file.
    Configuration,
}

impl Place {
    /// As people read it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Place::Source => "at the source".to_owned(),
            Place::Destination(name) => format!("at destination \"{name}\""),
            Place::Shell => "in a shell".to_owned(),
            Place::Configuration => "in the configuration".to_owned(),
        }
    }

    /// As programs read it.
    pub(crate) fn as_json(&self) -> &'static str {
        match self {
            Place::Source => "source",
            Place::Destination(_) => "destination",
            Place::Shell => "shell",
            Place::Configuration => "configuration",
        }
    }

    /// The name of the destination, if it is one.
    pub(crate) fn destination(&self) -> Option<&str> {
        match self {
            Place::Destination(name) => Some(name),
            Place::Source | Place::Shell | Place::Configuration => None,
        }
    }
}

/// One command or setting that mends something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remedy {
    /// Where.
    pub(crate) place: Place,
    /// The command or setting, to be taken as it stands.
    pub(crate) text: String,
    /// `--fix` may run it.
    pub(crate) fixable: bool,
    /// What must follow, a restart say.
    pub(crate) then: Option<&'static str>,
}

impl Remedy {
    fn new(place: Place, text: String) -> Remedy {
        Remedy { place, text, fixable: false, then: None }
    }

    /// SQL for the source.
    pub(crate) fn source(sql: impl Into<String>) -> Remedy {
        Remedy::new(Place::Source, sql.into())
    }

    /// SQL for a destination.
    pub(crate) fn destination(name: &str, sql: impl Into<String>) -> Remedy {
        Remedy::new(Place::Destination(name.to_owned()), sql.into())
    }

    /// A command line.
    pub(crate) fn shell(command: impl Into<String>) -> Remedy {
        Remedy::new(Place::Shell, command.into())
    }

    /// A setting in the configuration file.
    pub(crate) fn configuration(setting: impl Into<String>) -> Remedy {
        Remedy::new(Place::Configuration, setting.into())
    }

    /// `--fix` may run it: a replica identity, an extension, a grant.
    pub(crate) fn fixable(mut self) -> Remedy {
        self.fixable = true;
        self
    }

    /// What must follow.
    pub(crate) fn then(mut self, what: &'static str) -> Remedy {
        self.then = Some(what);
        self
    }

    /// One line.
    pub(crate) fn describe(&self) -> String {
        let then = self.then.map(|then| format!("  -- {then}")).unwrap_or_default();
        format!("{}: {}{then}", self.place.describe(), self.text)
    }
}

/// How `init` ends when it stops at a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// A halt with this code.
    Halt(&'static str),
    /// The configuration is wrong.
    Usage,
}

/// The code of what has none of its own.
pub(crate) const GENERAL_CODE: &str = "PGT-0511";

/// What an item found on one side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    /// How it came out.
    pub(crate) outcome: Outcome,
    /// What was found, one line.
    pub(crate) found: String,
    /// Why it matters; empty when it passed.
    pub(crate) why: &'static str,
    /// What mends it.
    pub(crate) remedies: Vec<Remedy>,
    /// How `init` ends at it.
    pub(crate) ending: Ending,
}

impl Finding {
    fn new(outcome: Outcome, found: String, why: &'static str) -> Finding {
        let ending = Ending::Halt(GENERAL_CODE);
        Finding { outcome, found, why, remedies: Vec::new(), ending }
    }

    /// As it should be.
    pub(crate) fn pass(found: impl Into<String>) -> Finding {
        Finding::new(Outcome::Pass, found.into(), "")
    }

    /// Worth knowing.
    pub(crate) fn notice(found: impl Into<String>, why: &'static str) -> Finding {
        Finding::new(Outcome::Notice, found.into(), why)
    }

    /// To be accepted or mended.
    pub(crate) fn warning(found: impl Into<String>, why: &'static str) -> Finding {
        Finding::new(Outcome::Warning, found.into(), why)
    }

    /// To be mended.
    pub(crate) fn failure(found: impl Into<String>, why: &'static str) -> Finding {
        Finding::new(Outcome::Failure, found.into(), why)
    }

    /// What it needs could not be asked.
    pub(crate) fn not_checked(found: impl Into<String>) -> Finding {
        Finding::new(Outcome::NotChecked, found.into(), "")
    }

    /// Adds what mends it.
    pub(crate) fn mend(mut self, remedy: Remedy) -> Finding {
        self.remedies.push(remedy);
        self
    }

    /// Adds several.
    pub(crate) fn mend_all(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Finding {
        self.remedies.extend(remedies);
        self
    }

    /// Gives the halt of `init` its own code.
    pub(crate) fn code(mut self, code: &'static str) -> Finding {
        self.ending = Ending::Halt(code);
        self
    }

    /// It is the configuration that is wrong.
    pub(crate) fn usage(mut self) -> Finding {
        self.ending = Ending::Usage;
        self
    }
}
