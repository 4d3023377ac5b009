use std::fmt;
use std::time::Duration;

use pgtrail_log::{Disposition, Incarnation, Position};

use crate::conflict::ConflictKind;

/// What can go wrong while applying a log to a destination.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] pgtrail_log::Error),
    /// The destination reported an error that is not about a row.
    #[error(transparent)]
    Postgres(#[from] pgtrail_postgres::Error),
    /// The destination holds no seat for this pipeline.
    #[error(
        "the destination is not set up for pipeline \"{pipeline}\", destination \"{destination}\""
    )]
    NotInstalled { pipeline: String, destination: String },
    /// The checkpoint at the destination belongs to another log.
    #[error(
        "the destination holds the state of another log (source {found_system}, incarnation \
         {found_incarnation}; this log is of source {system_identifier}, incarnation {incarnation})"
    )]
    WrongDestination {
        system_identifier: u64,
        incarnation: Incarnation,
        found_system: String,
        found_incarnation: String,
    },
    /// The destination is the source itself.
    #[error("the destination is the pipeline's own source database")]
    OwnSource,
    /// The checkpoint is beyond the log's end.
    #[error("the destination has applied up to {applied}, the log ends at {log_end}")]
    AheadOfLog { applied: Position, log_end: Position },
    /// Another applier is at work.
    #[error("another applier works for this pipeline and destination{}", Holder(holder))]
    SeatTaken { holder: Option<i32> },
    /// Another applier took over.
    #[error("another applier took over this pipeline and destination")]
    Fenced,
    /// A relation at the destination cannot take what the log holds.
    #[error("relation {relation}: {what}{}", At(position))]
    Mismatch { relation: String, what: String, position: Option<Position>, hint: String },
    /// The destination's rows do not agree with a change.
    #[error("conflict {kind} on relation {relation}{}{}", Constraint(constraint), At(position))]
    Conflict {
        kind: ConflictKind,
        relation: String,
        constraint: Option<String>,
        position: Option<Position>,
        obstacle: Option<&'static str>,
    },
    /// The destination refused a change for a reason other than a conflict.
    #[error(
        "the destination refused a change to relation {relation} (SQLSTATE {sqlstate}){}{}",
        Constraint(object),
        At(position)
    )]
    Rejected {
        relation: String,
        sqlstate: String,
        object: Option<String>,
        position: Option<Position>,
    },
    /// A base was to be loaded into a table that has rows.
    #[error("relation {relation} is not empty at the destination")]
    NotEmpty { relation: String },
    /// Taking all rows of a table out would fire triggers, or cascade.
    #[error(
        "{relation} was copied again, and taking its old rows out would fire triggers or cascade"
    )]
    RebaseFiresTriggers { relation: String },
    /// A TRUNCATE would leave references behind.
    #[error(
        "relation {relation} cannot be truncated: it is referenced by a table that was not truncated with it{}",
        At(position)
    )]
    TruncateReferenced { relation: String, position: Option<Position> },
    /// Selected names are taken at the destination.
    #[error("the destination has {names}{} already", More(*more))]
    SchemaExists { names: String, more: usize },
    /// The schema has what cannot be made.
    #[error("the schema has {names}{}, which cannot be made", More(*more))]
    SchemaUnsupported { names: String, more: usize },
    /// The destination refused to make an object.
    #[error("the destination refused to make {object} (SQLSTATE {sqlstate}): {message}")]
    SchemaRefused { object: String, sqlstate: String, message: String },
    /// The log's schema is of a newer program.
    #[error("cannot read the schema in the log: {what}")]
    SchemaUnread { what: String },
    /// The destination did not answer within the peer timeout.
    #[error("the destination did not answer for {}", Seconds(*after))]
    Timeout { after: Duration },
    /// Trying again did not help within the window.
    #[error("gave up after trying again for {}", Seconds(*window))]
    RetrySpent { window: Duration, source: Box<Error> },
    /// One of our own invariants does not hold.
    #[error("internal error: {0}")]
    Bug(String),
}

impl Error {
    /// What the program should do next.
    pub fn disposition(&self) -> Disposition {
        match self {
            Error::Log(error) => error.disposition(),
            Error::Postgres(error) => error.disposition(),
            Error::NotInstalled { .. }
            | Error::WrongDestination { .. }
            | Error::OwnSource
            | Error::AheadOfLog { .. }
            | Error::SeatTaken { .. }
            | Error::Fenced
            | Error::Mismatch { .. }
            | Error::Conflict { .. }
            | Error::Rejected { .. }
            | Error::NotEmpty { .. }
            | Error::RebaseFiresTriggers { .. }
            | Error::TruncateReferenced { .. }
            | Error::SchemaExists { .. }
            | Error::SchemaUnsupported { .. }
            | Error::SchemaRefused { .. }
            | Error::SchemaUnread { .. }
            | Error::RetrySpent { .. } => Disposition::Halt,
            Error::Timeout { .. } => Disposition::Unreachable,
            Error::Bug(_) => Disposition::Bug,
        }
    }

    /// The stable code of errors that an operator must act on; `docs/errors` has a page for each.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Error::Log(error) => error.code(),
            Error::Postgres(error) => error.code(),
            Error::NotInstalled { .. } => Some("PGT-0401"),
            Error::WrongDestination { .. } | Error::OwnSource => Some("PGT-0402"),
            Error::SeatTaken { .. } => Some("PGT-0403"),
            Error::Fenced => Some("PGT-0404"),
            Error::Mismatch { .. } => Some("PGT-0405"),
            Error::Conflict { .. } => Some("PGT-0406"),
            Error::NotEmpty { .. } => Some("PGT-0407"),
            Error::RebaseFiresTriggers { .. } => Some("PGT-0414"),
            Error::TruncateReferenced { .. } => Some("PGT-0408"),
            Error::Rejected { .. } => Some("PGT-0409"),
            Error::RetrySpent { .. } => Some("PGT-0410"),
            Error::AheadOfLog { .. } => Some("PGT-0411"),
            Error::SchemaExists { .. } => Some("PGT-0412"),
            Error::SchemaRefused { .. }
            | Error::SchemaUnsupported { .. }
            | Error::SchemaUnread { .. } => Some("PGT-0413"),
            Error::Timeout { .. } | Error::Bug(_) => None,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Error::Log(error) => return error.hint(),
            Error::Postgres(error) => return error.hint(),
            Error::Mismatch { hint, .. } => return Some(hint.clone()),
            Error::RetrySpent { source, .. } => return source.hint(),
            Error::SchemaExists { .. } => {
                "Drop or rename them, or take \"schema\" out of stages if they are the tables to use."
            }
            Error::SchemaUnsupported { .. } => {
                "Take them out of the selection, or make them by hand and take \"schema\" out of stages."
            }
            Error::SchemaRefused { .. } => {
                "Mend what it says at the destination and start again: what is made already stays."
            }
            Error::SchemaUnread { .. } => {
                "Use the version of pgtrail that wrote the log, or a newer one."
            }
            Error::NotInstalled { .. } => {
                "Run \"pgtrail init\", or check the destination's conninfo."
            }
            Error::WrongDestination { .. } => {
                "Check the destination's conninfo and log.dir: they belong to different pipelines. \
                 If the pipeline was set up anew, run \"pgtrail teardown\" for the old one first."
            }
            Error::OwnSource => "Check the destination's conninfo: it leads to the source.",
            Error::AheadOfLog { .. } => {
                "The log was restored from an older copy. Restore a newer one, or set the pipeline \
                 up again."
            }
            Error::SeatTaken { .. } => {
                "Stop the other applier first; see \"pgtrail status\" and pg_stat_activity at the \
                 destination."
            }
            Error::Fenced => "Only one of them may run. Stop one, then start this one again.",
            Error::Conflict { kind, obstacle: Some(obstacle), .. } => {
                return Some(format!("{obstacle} {}", kind.hint()));
            }
            Error::Conflict { kind, obstacle: None, .. } => kind.hint(),
            Error::Rejected { .. } => {
                "Compare the table's constraints, types and triggers on both sides; the \
                 destination's server log has the full message. Mend the destination and start again."
            }
            Error::NotEmpty { .. } => {
                "Truncate it at the destination if its rows are not needed, and start again."
            }
            Error::RebaseFiresTriggers { .. } => {
                "Let the destination's role set session_replication_role (\"pgtrail grants\" prints how), \
                 and start again."
            }
            Error::TruncateReferenced { .. } => {
                "Truncate or detach the referencing table at the destination, then start again: \
                 CASCADE is never replayed, since it would empty tables the source did not empty."
            }
            Error::Timeout { .. } => "Look at the network and the destination's server log.",
            Error::Bug(_) => return None,
        };
        Some(text.to_owned())
    }

    /// The one table it is about, where trying again would end the same way.
    pub(crate) fn table(&self) -> Option<&str> {
        match self {
            Error::Mismatch { relation, .. }
            | Error::NotEmpty { relation }
            | Error::RebaseFiresTriggers { relation }
            | Error::Conflict { relation, .. }
            | Error::Rejected { relation, .. } => Some(relation),
            _ => None,
        }
    }

    /// Names where in the log it happened, where that is not known yet.
    #[must_use]
    pub(crate) fn at(mut self, place: Option<Position>) -> Error {
        if let Error::Mismatch { position, .. }
        | Error::Conflict { position, .. }
        | Error::Rejected { position, .. }
        | Error::TruncateReferenced { position, .. } = &mut self
        {
            *position = position.or(place);
        }
        self
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        Error::Postgres(error.into())
    }
}

struct At<'a>(&'a Option<Position>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |position| write!(f, " at {position}"))
    }
}

struct Constraint<'a>(&'a Option<String>);

impl fmt::Display for Constraint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |name| write!(f, ", {name}"))
    }
}

struct Holder<'a>(&'a Option<i32>);

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " (server process {pid})"))
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs())
    }
}

struct More(usize);

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 { write!(f, " and {} more", self.0) } else { Ok(()) }
    }
}
