use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::{Disposition, Position};

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory is missing or holds no log.
    #[error("no change log in \"{}\"", dir.display())]
    NotALog { dir: PathBuf },
    /// A log was to be created where one is.
    #[error("a change log exists already in \"{}\"", dir.display())]
    Exists { dir: PathBuf },
    /// Another process writes this log.
    #[error("the change log in \"{}\" is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    /// Others than the owner may write into the directory.
    #[error("directory \"{}\" may be written by others (mode {mode:04o})", dir.display())]
    Exposed { dir: PathBuf, mode: u32 },
    /// Two parts of the log that carry its identity disagree.
    #[error("{what} belongs to another change log (incarnation {found}, expected {expected})")]
    WrongIdentity { what: &'static str, expected: String, found: String },
    /// Bytes are not what was written.
    #[error("{what} is damaged{}", At(position))]
    Corrupt { what: String, position: Option<Position> },
    /// The log ends before what its durable mark says had been made durable.
    #[error("the change log has lost its end: {what} is at {found}, the durable mark says {mark}")]
    TailLost { what: &'static str, mark: String, found: String },
    /// A block that the durable mark covers does not appear.
    #[error("{what} {seq} of the change log does not appear")]
    Hole { what: &'static str, seq: u64 },
    /// What was asked for has been purged.
    #[error("the change log no longer holds {}; it is purged up to {last_gone}", Wanted(wanted))]
    Purged { wanted: Option<Position>, last_gone: Position },
    /// The rows of a base have been purged.
    #[error("the change log no longer holds the rows of base {id}")]
    BasePurged { id: u64 },
    /// Written by a newer pgtrail.
    #[error("{what} has format {found}, this program reads up to {supported}")]
    Format { what: String, found: u32, supported: u32 },
    /// An earlier write failed; only re-opening tells what is durable.
    #[error("the change log was closed by an earlier failure")]
    Closed,
    /// RocksDB reported a failure that is not damage: a full disk, an I/O error.
    #[error("change log storage failed during {during}")]
    Storage { during: &'static str, source: rocksdb::Error },
    /// The operating system reported a failure.
    #[error("cannot {during} \"{}\"", path.display())]
    Io { during: &'static str, path: PathBuf, source: io::Error },
    /// A caller broke a rule of this crate.
    #[error("{0}")]
    Invariant(&'static str),
}

impl Error {
    /// What the program should do next.
    pub fn disposition(&self) -> Disposition {
        match self {
            Error::NotALog { .. }
            | Error::Exists { .. }
            | Error::Locked { .. }
            | Error::Exposed { .. }
            | Error::WrongIdentity { .. }
            | Error::Hole { .. }
            | Error::Purged { .. }
            | Error::BasePurged { .. }
            | Error::Format { .. } => Disposition::Halt,
            Error::Corrupt { .. } | Error::TailLost { .. } => Disposition::Damaged,
            // Re-opening and reading again from the slot is the cure: nothing was acknowledged.
            Error::Closed | Error::Storage { .. } | Error::Io { .. } => Disposition::Retry,
            Error::Invariant(_) => Disposition::Bug,
        }
    }

    /// The stable code of errors that an operator must act on; `docs/errors` has a page for each.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Error::NotALog { .. } => Some("PGT-0101"),
            Error::Exists { .. } => Some("PGT-0102"),
            Error::Locked { .. } => Some("PGT-0103"),
            Error::WrongIdentity { .. } => Some("PGT-0104"),
            Error::Corrupt { .. } => Some("PGT-0105"),
            Error::TailLost { .. } => Some("PGT-0106"),
            Error::Hole { .. } => Some("PGT-0107"),
            Error::Purged { .. } | Error::BasePurged { .. } => Some("PGT-0108"),
            Error::Format { .. } => Some("PGT-0109"),
            Error::Storage { .. } | Error::Io { .. } => Some("PGT-0110"),
            Error::Exposed { .. } => Some("PGT-0111"),
            Error::Closed | Error::Invariant(_) => None,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Error::NotALog { .. } => {
                "Check log.dir. \"pgtrail init\" creates the log of a new pipeline; a log that was \
                 lost cannot be continued: run \"pgtrail teardown\" and \"pgtrail init\"."
            }
            Error::Exists { .. } => {
                "Choose another log.dir, or run \"pgtrail teardown\" if the old pipeline is done with."
            }
            Error::Locked { .. } => {
                "One reader writes a log. Stop the other one, or see \"pgtrail status\"."
            }
            Error::Exposed { .. } => "Run \"chmod 700\" on it: the log holds row data.",
            Error::WrongIdentity { .. } => {
                "The directory mixes files of several logs. Restore it whole from one copy."
            }
            Error::Corrupt { .. } => {
                "Run \"pgtrail log check\". Restore the whole directory, or set the pipeline up again."
            }
            Error::TailLost { .. } => {
                "Records that the source was told are safe are gone. Restore the missing files, or \
                 set the pipeline up again; \"pgtrail log check\" shows what is left."
            }
            Error::Hole { .. } => "Start again; if it persists, run \"pgtrail log check\".",
            Error::Purged { .. } | Error::BasePurged { .. } => {
                "The destination is older than the log's retention: it needs a new copy. Keep more \
                 with log.keep."
            }
            Error::Format { .. } => "Use the pgtrail that wrote this log, or a newer one.",
            Error::Storage { .. } | Error::Io { .. } => {
                "Look at free space, permissions and the kernel's messages for the log's disk."
            }
            Error::Closed | Error::Invariant(_) => return None,
        };
        Some(text.to_owned())
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Error {
        Error::Corrupt { what: what.into(), position: None }
    }

    pub(crate) fn corrupt_at(what: impl Into<String>, position: Position) -> Error {
        Error::Corrupt { what: what.into(), position: Some(position) }
    }

    pub(crate) fn io(during: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { during, path: path.to_owned(), source }
    }

    /// A RocksDB error: damage is told apart from a failing disk.
    pub(crate) fn storage(during: &'static str) -> impl FnOnce(rocksdb::Error) -> Error {
        move |source| match source.kind() {
            rocksdb::ErrorKind::Corruption => {
                Error::corrupt(format!("the database, seen during {during} ({source}),"))
            }
            _ => Error::Storage { during, source },
        }
    }
}

struct At<'a>(&'a Option<Position>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |position| write!(f, " at {position}"))
    }
}

struct Wanted<'a>(&'a Option<Position>);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(position) => write!(f, "what follows {position}"),
            None => write!(f, "its beginning"),
        }
    }
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
