use pgtrail_log::Disposition;

use super::rows::MalformedCopy;

/// What keeps the initial copy from being complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source, or the way to it.
    #[error(transparent)]
    Source(#[from] pgtrail_postgres::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] pgtrail_log::Error),
    /// The publication that says which tables to copy is not there.
    #[error("publication \"{publication}\" does not exist")]
    NoPublication {
        /// Its name.
        publication: String,
    },
    /// The role may not read a table of the initial copy.
    #[error("table {table} of the initial copy cannot be read")]
    Unreadable {
        /// The table, as `schema.name`.
        table: String,
        /// What the server said.
        source: pgtrail_postgres::Error,
    },
    /// Reading one table failed.
    #[error("copy of table {table} failed")]
    Table {
        /// The table, as `schema.name`.
        table: String,
        /// What the server said.
        source: pgtrail_postgres::Error,
    },
    /// The server sent something else than COPY data.
    #[error("copy of table {table} is malformed")]
    Malformed {
        /// The table, as `schema.name`.
        table: String,
        /// What is wrong with it.
        source: MalformedCopy,
    },
    /// The server's snapshot is not in the form PostgreSQL documents.
    #[error("the source's snapshot cannot be read")]
    Snapshot(#[from] pgtrail_log::model::ParseSnapshotError),
    /// A task of the copy panicked.
    #[error("a task of the initial copy ended unexpectedly")]
    Task,
}

impl Error {
    /// What the program should do next.
    pub fn disposition(&self) -> Disposition {
        match self {
            Error::Source(source) | Error::Table { source, .. } => source.disposition(),
            Error::Log(source) => source.disposition(),
            Error::NoPublication { .. } | Error::Unreadable { .. } => Disposition::Halt,
            Error::Malformed { .. } | Error::Snapshot(_) | Error::Task => Disposition::Bug,
        }
    }

    /// Whether it is about one table, and trying again would end the same way.
    pub(crate) fn is_of_table(&self) -> bool {
        match self {
            Error::Unreadable { .. } | Error::Malformed { .. } => true,
            Error::Table { source, .. } => source.disposition() == Disposition::Halt,
            Error::Source(_)
            | Error::Log(_)
            | Error::NoPublication { .. }
            | Error::Snapshot(_)
            | Error::Task => false,
        }
    }

    /// It and its sources, on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }

    /// The stable code of errors that an operator must act on.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Error::Source(source) | Error::Table { source, .. } => source.code(),
            Error::Log(source) => source.code(),
            Error::NoPublication { .. } => Some("PGT-0351"),
            Error::Unreadable { .. }
            | Error::Malformed { .. }
            | Error::Snapshot(_)
            | Error::Task => None,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Source(source) | Error::Table { source, .. } => source.hint(),
            Error::Log(source) => source.hint(),
            Error::NoPublication { .. } => Some(
                "A slot cannot be continued without the publication it began with: run \"pgtrail \
                 teardown\" and \"pgtrail init\"."
                    .to_owned(),
            ),
            Error::Unreadable { .. } => Some(
                "Grant SELECT on it (and BYPASSRLS if it has row level security) to the source's \
                 role, or exclude it in [objects]."
                    .to_owned(),
            ),
            Error::Malformed { .. } | Error::Snapshot(_) | Error::Task => None,
        }
    }
}
