use pgtrail_log::{Disposition, Lsn};

use crate::pgoutput::DecodeError;

/// What ends or interrupts a reader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source or the way to it.
    #[error(transparent)]
    Postgres(#[from] pgtrail_postgres::Error),
    /// The change log.
    #[error(transparent)]
    Log(#[from] pgtrail_log::Error),
    /// The initial copy.
    #[error(transparent)]
    Base(Box<crate::base::Error>),
    /// Tables that could not be copied are not at any destination.
    #[error("tables could not be copied: {}", tables.join(", "))]
    Isolated {
        /// As `schema.name`.
        tables: Vec<String>,
    },
    /// A table that is to be copied again has no part in the pipeline.
    #[error("{table} is no table of this pipeline")]
    NotReplicated {
        /// As `schema.name`.
        table: String,
    },
    /// Another cluster answers at the source's address.
    #[error("the source is cluster {found}, the log was made from cluster {expected}")]
    OtherCluster {
        /// The log's.
        expected: u64,
        /// What the source says.
        found: u64,
    },
    /// The source was promoted, rewound or restored since.
    #[error("the source is on timeline {found}, the log ends on timeline {expected}")]
    OtherTimeline {
        /// The log's.
        expected: u32,
        /// What the source says.
        found: u32,
    },
    /// The log was made for something else than the configuration says.
    #[error("the log was made for {what} \"{expected}\", not \"{found}\"")]
    OtherPipeline {
        /// Which of them: database, slot, publication, pipeline.
        what: &'static str,
        /// The log's.
        expected: String,
        /// The configuration's, or the source's.
        found: String,
    },
    /// The slot is not there.
    #[error("replication slot \"{slot}\" does not exist at the source")]
    SlotMissing {
        /// Its name.
        slot: String,
    },
    /// The source no longer has the WAL the slot needs.
    #[error("replication slot \"{slot}\" is lost{}", Reason(reason))]
    SlotLost {
        /// Its name.
        slot: String,
        /// Why, if the source says.
        reason: Option<String>,
    },
    /// The slot is not one this reader can use.
    #[error("replication slot \"{slot}\" {what}")]
    SlotUnsuitable {
        /// Its name.
        slot: String,
        /// What is wrong with it.
        what: String,
    },
    /// Another session reads the slot.
    #[error("replication slot \"{slot}\" is in use by {holder}")]
    SlotActive {
        /// Its name.
        slot: String,
        /// Who, as far as the source tells.
        holder: String,
    },
    /// The slot has been told of more than the log holds: changes would be skipped in silence.
    #[error("the log ends at {log_end}, but slot \"{slot}\" has moved on to {confirmed_flush_lsn}")]
    LogBehindSlot {
        /// The slot.
        slot: String,
        /// Where the log ends.
        log_end: Lsn,
        /// Where the slot is.
        confirmed_flush_lsn: Lsn,
    },
    /// The log once reached further: it is an older copy.
    #[error(
        "the log ends at {log_end}, but its reader noted at the source that it reached {noted}"
    )]
    LogIsOlder {
        /// Where the log ends.
        log_end: Lsn,
        /// How far it had been.
        noted: Lsn,
    },
    /// The log knows more than the source has: the source lost WAL, or is another one.
    #[error("the log ends at {log_end}, but the source's WAL ends at {flush_lsn}")]
    LogAheadOfSource {
        /// Where the log ends.
        log_end: Lsn,
        /// Where the source is.
        flush_lsn: Lsn,
    },
    /// The publication is not there, or not the one there was.
    #[error("publication \"{publication}\" {what}")]
    PublicationMissing {
        /// Its name.
        publication: String,
        /// Missing or replaced.
        what: &'static str,
    },
    /// The publication no longer publishes everything it must.
    #[error("publication \"{publication}\" {what}")]
    PublicationChanged {
        /// Its name.
        publication: String,
        /// What changed.
        what: String,
    },
    /// The source cannot send a row: its text is beyond what a server message can hold.
    #[error(
        "the source cannot send a row of {} at {}",
        Known(table.as_deref(), "an unknown table"),
        Known(lsn.as_ref(), "an unknown place")
    )]
    RowTooLarge {
        /// Where the change is in the WAL.
        lsn: Option<Lsn>,
        /// The table, if it could be found out.
        table: Option<String>,
        /// What the source said.
        source: Box<pgtrail_postgres::Error>,
    },
    /// The schema never came to rest.
    #[error("the source's schema changed during each of {readings} readings")]
    SchemaInMotion {
        /// How often it was read.
        readings: usize,
    },
    /// A prepared transaction committed whose rows never arrived.
    #[error("prepared transaction {xid} committed at {lsn}, but the log does not hold its rows")]
    PreparedUnknown {
        /// Its 32-bit id.
        xid: u32,
        /// Its commit.
        lsn: Lsn,
    },
    /// What the source sent is not pgoutput.
    #[error("cannot read the change at {lsn}")]
    Decode {
        /// The change's place.
        lsn: Lsn,
        /// What is wrong.
        source: DecodeError,
    },
    /// The source's messages are in an order or of a kind that pgoutput does not define.
    #[error("unexpected change at {lsn}: {what}")]
    Protocol {
        /// The change's place.
        lsn: Lsn,
        /// What is wrong.
        what: &'static str,
    },
    /// The source writes no WAL that could be decoded.
    #[error("wal_level at the source is \"{wal_level}\", not \"logical\"")]
    NotLogical {
        /// The setting.
        wal_level: String,
    },
    /// The server is too old.
    #[error("the source is PostgreSQL {version}, which has no logical replication")]
    TooOld {
        /// Its version.
        version: String,
    },
    /// Our own bookkeeping is wrong.
    #[error("internal error: {0}")]
    Invariant(&'static str),
}

impl From<crate::base::Error> for Error {
    fn from(error: crate::base::Error) -> Error {
        Error::Base(Box::new(error))
    }
}

impl Error {
    /// What the program should do next.
    pub fn disposition(&self) -> Disposition {
        match self {
            Error::Postgres(error) => error.disposition(),
            Error::Log(error) => error.disposition(),
            Error::Base(error) => error.disposition(),
            // A process that just died holds its slot until the source notices.
            Error::SlotActive { .. } | Error::SchemaInMotion { .. } => Disposition::Retry,
            Error::OtherCluster { .. }
            | Error::OtherTimeline { .. }
            | Error::OtherPipeline { .. }
            | Error::SlotMissing { .. }
            | Error::SlotLost { .. }
            | Error::SlotUnsuitable { .. }
            | Error::LogBehindSlot { .. }
            | Error::LogIsOlder { .. }
            | Error::LogAheadOfSource { .. }
            | Error::PublicationMissing { .. }
            | Error::PublicationChanged { .. }
            | Error::RowTooLarge { .. }
            | Error::PreparedUnknown { .. }
            | Error::Decode { .. }
            | Error::Protocol { .. }
            | Error::NotLogical { .. }
            | Error::Isolated { .. }
            | Error::TooOld { .. } => Disposition::Halt,
            Error::NotReplicated { .. } => Disposition::Usage,
            Error::Invariant(_) => Disposition::Bug,
        }
    }

    /// The stable code of errors that an operator must act on; `docs/errors` has a page for each.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Error::Postgres(error) => error.code(),
            Error::Log(error) => error.code(),
            Error::Base(error) => error.code(),
            Error::OtherCluster { .. } => Some("PGT-0301"),
            Error::OtherTimeline { .. } => Some("PGT-0302"),
            Error::OtherPipeline { .. } => Some("PGT-0303"),
            Error::SlotMissing { .. } => Some("PGT-0304"),
            Error::SlotLost { .. } => Some("PGT-0305"),
            Error::SlotUnsuitable { .. } => Some("PGT-0306"),
            Error::LogBehindSlot { .. } => Some("PGT-0307"),
            Error::LogAheadOfSource { .. } => Some("PGT-0308"),
            Error::PublicationMissing { .. } => Some("PGT-0309"),
            Error::PublicationChanged { .. } => Some("PGT-0310"),
            Error::RowTooLarge { .. } => Some("PGT-0311"),
            Error::PreparedUnknown { .. } => Some("PGT-0312"),
            Error::Decode { .. } | Error::Protocol { .. } => Some("PGT-0313"),
            Error::SlotActive { .. } => Some("PGT-0314"),
            Error::LogIsOlder { .. } => Some("PGT-0317"),
            Error::SchemaInMotion { .. } => Some("PGT-0318"),
            Error::NotLogical { .. } => Some("PGT-0315"),
            Error::TooOld { .. } => Some("PGT-0316"),
            Error::Isolated { .. } => Some("PGT-0319"),
            Error::Invariant(_) | Error::NotReplicated { .. } => None,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        let anew = "Changes would be lost in silence: run \"pgtrail teardown\" and \"pgtrail init\", \
                    which copies the tables again.";
        let text = match self {
            Error::Postgres(error) => return error.hint(),
            Error::Log(error) => return error.hint(),
            Error::Base(error) => return error.hint(),
            Error::OtherCluster { .. } => {
                "Check source.conninfo. If the source was rebuilt, the pipeline must be set up again."
                    .to_owned()
            }
            Error::OtherTimeline { .. } => {
                "Check that source.conninfo names the primary. After a failover, point-in-time \
                 recovery or pg_rewind, the pipeline must be set up again."
                    .to_owned()
            }
            Error::OtherPipeline { .. } => {
                "Check log.dir, name and source.conninfo: a log belongs to one pipeline.".to_owned()
            }
            Error::SlotMissing { .. } | Error::SlotLost { .. } => anew.to_owned(),
            Error::SlotUnsuitable { .. } => {
                "The slot must be a logical one of plugin pgoutput in the source database, as \
                 \"pgtrail init\" makes it."
                    .to_owned()
            }
            Error::SlotActive { .. } => {
                "Stop the other reader. The slot of a process that died is freed after the source's \
                 wal_sender_timeout."
                    .to_owned()
            }
            Error::LogBehindSlot { .. } => format!(
                "Somebody else read the slot or advanced it; what lies between is in no log. {anew}"
            ),
            Error::LogIsOlder { .. } => format!(
                "It was restored from an older copy. If the newer one exists, put it back whole and \
                 start again. Otherwise: {anew}"
            ),
            Error::LogAheadOfSource { .. } => format!(
                "The source lost its newest WAL or was restored from an older backup, so the log \
                 holds transactions the source no longer has. {anew}"
            ),
            Error::PublicationMissing { .. } | Error::PublicationChanged { .. } => format!(
                "What the publication did not publish meanwhile is not in the log, and creating it \
                 again does not bring it back. {anew}"
            ),
            Error::RowTooLarge { .. } => {
                "The old and new image of the row together exceed 1 GB as text. Give the table a \
                 primary key instead of replica identity full, and let the stream be binary; see the \
                 documentation of this code."
                    .to_owned()
            }
            Error::PreparedUnknown { .. } => format!(
                "The slot has two_phase on and was confirmed past the PREPARE by somebody else. {anew}"
            ),
            Error::Decode { .. } | Error::Protocol { .. } => {
                "Nothing after this place was taken in. Report it with the source's version and \
                 the output of \"pgtrail log dump\" near that place."
                    .to_owned()
            }
            Error::NotLogical { .. } => {
                "Set wal_level = logical at the source and restart it.".to_owned()
            }
            Error::TooOld { .. } => "PostgreSQL 10 or newer is needed.".to_owned(),
            Error::SchemaInMotion { .. } => {
                "Start again when the migrations at the source have ended.".to_owned()
            }
            Error::Isolated { .. } => {
                "\"pgtrail status\" says why. Mend that, then run \"pgtrail resync TABLE\" beside \
                 \"pgtrail run\"."
                    .to_owned()
            }
            Error::NotReplicated { .. } => {
                "Name a table that [objects] selects and the publication publishes, as schema.table."
                    .to_owned()
            }
            Error::Invariant(_) => return None,
        };
        Some(text)
    }

    /// What the source reported on the stream or the side connection, if this comes from it.
    pub(crate) fn server(&self) -> Option<&pgtrail_postgres::error::ServerError> {
        match self {
            Error::Postgres(error) => error.server(),
            _ => None,
        }
    }

    /// Whether the log itself failed. After a failed write only opening it again tells what is
    /// durable, so the process ends and the next start takes up from there.
    pub(crate) fn is_of_log(&self) -> bool {
        match self {
            Error::Log(_) => true,
            Error::Base(error) => matches!(**error, crate::base::Error::Log(_)),
            _ => false,
        }
    }
}

struct Reason<'a>(&'a Option<String>);

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

struct Known<T>(Option<T>, &'static str);

impl<T: std::fmt::Display> std::fmt::Display for Known<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => write!(f, "{value}"),
            None => write!(f, "{}", self.1),
        }
    }
}

/// An error with its sources, for one line of a log.
pub(crate) struct Chain<'a>(pub(crate) &'a Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_must_do_has_a_code_a_page_and_a_hint() {
        let errors = [
            Error::OtherCluster { expected: 1, found: 2 },
            Error::OtherTimeline { expected: 1, found: 2 },
            Error::OtherPipeline { what: "slot", expected: "a".into(), found: "b".into() },
            Error::SlotMissing { slot: "s".into() },
            Error::SlotLost { slot: "s".into(), reason: None },
            Error::SlotUnsuitable { slot: "s".into(), what: "is physical".into() },
            Error::LogBehindSlot {
                slot: "s".into(),
                log_end: Lsn::new(1),
                confirmed_flush_lsn: Lsn::new(2),
            },
            Error::LogAheadOfSource { log_end: Lsn::new(2), flush_lsn: Lsn::new(1) },
            Error::PublicationMissing { publication: "p".into(), what: "does not exist" },
            Error::PublicationChanged { publication: "p".into(), what: "changed".into() },
            Error::RowTooLarge {
                lsn: None,
                table: None,
                source: Box::new(pgtrail_postgres::Error::Closed { source: None }),
            },
            Error::PreparedUnknown { xid: 1, lsn: Lsn::new(1) },
            Error::Protocol { lsn: Lsn::new(1), what: "w" },
            Error::SlotActive { slot: "s".into(), holder: "process 1".into() },
            Error::NotLogical { wal_level: "replica".into() },
            Error::TooOld { version: "9.6".into() },
            Error::LogIsOlder { log_end: Lsn::new(1), noted: Lsn::new(2) },
            Error::SchemaInMotion { readings: 20 },
        ];
        for (index, error) in errors.iter().enumerate() {
            let code = error.code().expect("a code");
            assert_eq!(code, format!("PGT-03{:02}", index + 1), "{error}");
            assert!(error.hint().is_some(), "{code} has no hint");
            let page = format!("{}/../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
            assert!(std::path::Path::new(&page).exists(), "{page} is missing");
            let text = error.to_string();
            assert!(!text.ends_with('.') && !text.starts_with(char::is_uppercase), "{text}");
        }
    }

    #[test]
    fn a_row_beyond_the_source_is_named_as_far_as_it_is_known() {
        let error = |lsn, table: Option<&str>| {
            Error::RowTooLarge {
                lsn,
                table: table.map(str::to_owned),
                source: Box::new(pgtrail_postgres::Error::Closed { source: None }),
            }
            .to_string()
        };
        assert_eq!(
            error(Some(Lsn::new(0x16)), Some("s.t")),
            "the source cannot send a row of s.t at 0/16"
        );
        assert_eq!(
            error(None, None),
            "the source cannot send a row of an unknown table at an unknown place"
        );
    }
}
