//! Which side an item is about.

use super::finding::Remedy;

/// The source, or a destination by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose<'a> {
    /// The source.
    Source,
    /// The destination of this name.
    Destination(&'a str),
}

impl Whose<'_> {
    /// As in "the source is a standby".
    pub(crate) fn describe(&self) -> String {
        match self {
            Whose::Source => "source".to_owned(),
            Whose::Destination(name) => format!("destination \"{name}\""),
        }
    }

    /// The key of its connection string.
    pub(crate) fn conninfo_key(&self) -> String {
        match self {
            Whose::Source => "source.conninfo".to_owned(),
            Whose::Destination("default") => "destination.conninfo".to_owned(),
            Whose::Destination(name) => format!("destination.{name}.conninfo"),
        }
    }

    /// SQL to be run there.
    pub(crate) fn remedy(&self, sql: impl Into<String>) -> Remedy {
        match self {
            Whose::Source => Remedy::source(sql),
            Whose::Destination(name) => Remedy::destination(name, sql),
        }
    }
}
