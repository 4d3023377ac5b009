use std::fmt;
use std::io;
use std::time::Duration;

use pgtrail_log::Disposition;

use crate::conninfo::ConninfoError;
use crate::sqlstate;

/// What goes wrong between this program and a PostgreSQL server.
///
/// What a server reports keeps its SQLSTATE. Details that a server adds may hold column values:
/// they are kept for callers that may show them, and are part of no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection string cannot be used.
    #[error(transparent)]
    Conninfo(#[from] ConninfoError),
    /// Nothing answers at that address, or its name is unknown.
    #[error("could not connect to {target}")]
    Unreachable {
        /// Host and port, or socket.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// Connecting took longer than `connect_timeout`.
    #[error("could not connect to {target} within {} s", after.as_secs())]
    ConnectTimeout {
        /// Host and port, or socket.
        target: String,
        /// The limit.
        after: Duration,
    },
    /// The connection could not be encrypted as asked for.
    #[error("no TLS connection to {target}: {what}")]
    Tls {
        /// Host and port.
        target: String,
        /// What failed.
        what: String,
        /// Why, if another layer knows.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A certificate, key or revocation list cannot be used.
    #[error("could not use {file}: {what}")]
    TlsFile {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The server refuses the session.
    #[error("{target} refuses user \"{user}\": {server}")]
    Refused {
        /// Host and port, or socket.
        target: String,
        /// The role.
        user: String,
        /// What the server said.
        server: Box<ServerError>,
        /// Why the password file was not used, when it would have been.
        passfile: Option<String>,
    },
    /// The server and we do not agree on how the role proves who it is.
    #[error("could not authenticate user \"{user}\" at {target}: {what}")]
    Authentication {
        /// Host and port, or socket.
        target: String,
        /// The role.
        user: String,
        /// What is missing or not acceptable.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The server is not of the kind `target_session_attrs` asks for.
    #[error("{target} {what}")]
    WrongTarget {
        /// Host and port, or socket.
        target: String,
        /// What it is not.
        what: &'static str,
    },
    /// The server reports an error.
    #[error("{0}")]
    Database(Box<ServerError>),
    /// The connection ended.
    #[error("the server closed the connection")]
    Closed {
        /// What the operating system said, if anything.
        source: Option<io::Error>,
    },
    /// Nothing came from the server for too long.
    #[error("no answer from the server for {} s", after.as_secs())]
    Timeout {
        /// How long.
        after: Duration,
    },
    /// What came is not PostgreSQL's protocol.
    #[error("unexpected answer from the server: {what}")]
    Protocol {
        /// What was wrong with it.
        what: String,
    },
    /// A statement and its parameters or results do not fit together.
    #[error("statement does not fit its parameters or results")]
    Client(#[source] tokio_postgres::Error),
}

impl Error {
    /// What the program should do next.
    pub fn disposition(&self) -> Disposition {
        match self {
            Error::Conninfo(_) => Disposition::Usage,
            // Files are read anew for each connection: one may be missing while it is replaced.
            Error::TlsFile { .. }
            | Error::Unreachable { .. }
            | Error::ConnectTimeout { .. }
            | Error::Tls { .. }
            | Error::Refused { .. }
            | Error::Authentication { .. }
            | Error::WrongTarget { .. }
            | Error::Closed { .. }
            | Error::Timeout { .. } => Disposition::Unreachable,
            Error::Database(server) => sqlstate::disposition_of(&server.sqlstate),
            Error::Protocol { .. } => Disposition::Retry,
            Error::Client(_) => Disposition::Bug,
        }
    }

    /// The documented code, where an operator must act.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Error::Conninfo(_) => Some("PGT-0201"),
            Error::Unreachable { .. } | Error::ConnectTimeout { .. } => Some("PGT-0202"),
            Error::Tls { .. } | Error::TlsFile { .. } => Some("PGT-0203"),
            Error::Authentication { .. } => Some("PGT-0204"),
            Error::Refused { server, .. } if server.is_about_identity() => Some("PGT-0204"),
            Error::Refused { .. } | Error::WrongTarget { .. } => Some("PGT-0205"),
            Error::Database(_)
            | Error::Closed { .. }
            | Error::Timeout { .. }
            | Error::Protocol { .. }
            | Error::Client(_) => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Conninfo(error) => error.hint(),
            Error::Unreachable { source, .. } => Some(unreachable_hint(source)),
            Error::ConnectTimeout { .. } => Some(
                "Check host, port and firewall; \"connect_timeout\" (in seconds) allows more time."
                    .to_owned(),
            ),
            Error::Tls { .. } => Some(
                "Check \"sslmode\", \"sslrootcert\" and the server's certificate and log."
                    .to_owned(),
            ),
            Error::TlsFile { .. } => {
                Some("Check \"sslrootcert\", \"sslcert\", \"sslkey\" and \"sslcrl\".".to_owned())
            }
            Error::Refused { server, passfile, .. } => {
                let advice = refusal_hint(server).map(str::to_owned).or(server.hint.clone());
                let both = [passfile.clone(), advice].into_iter().flatten().collect::<Vec<_>>();
                (!both.is_empty()).then(|| both.join(" "))
            }
            Error::Authentication { hint, .. } => hint.clone(),
            Error::WrongTarget { .. } => {
                Some("Check the hosts and \"target_session_attrs\".".to_owned())
            }
            Error::Database(server) => server.hint.clone(),
            Error::Closed { .. } | Error::Timeout { .. } => {
                Some("The server's log may say why.".to_owned())
            }
            Error::Protocol { .. } => {
                Some("Check that host and port are those of a PostgreSQL server.".to_owned())
            }
            Error::Client(_) => None,
        }
    }

    /// The SQLSTATE, if the server reported one.
    pub fn sqlstate(&self) -> Option<&str> {
        self.server().map(|server| server.sqlstate.as_str())
    }

    /// What the server reported, if it did.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Error::Database(server) | Error::Refused { server, .. } => Some(server),
            Error::Conninfo(_)
            | Error::Unreachable { .. }
            | Error::ConnectTimeout { .. }
            | Error::Tls { .. }
            | Error::TlsFile { .. }
            | Error::Authentication { .. }
            | Error::WrongTarget { .. }
            | Error::Closed { .. }
            | Error::Timeout { .. }
            | Error::Protocol { .. }
            | Error::Client(_) => None,
        }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Error {
        Error::Protocol { what: what.into() }
    }

    /// A failed read or write on an open connection.
    pub fn broken(source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Closed { source: None },
            _ => Error::Closed { source: Some(source) },
        }
    }
}

fn unreachable_hint(source: &io::Error) -> String {
    let advice = match source.kind() {
        io::ErrorKind::ConnectionRefused => "Is the server running there and accepting TCP/IP?",
        io::ErrorKind::NotFound => "Is the server running, with its socket in that directory?",
        _ => "Check host, port and network.",
    };
    advice.to_owned()
}

fn refusal_hint(server: &ServerError) -> Option<&'static str> {
    match server.sqlstate.as_str() {
        "28P01" => Some("Check the role's password: PGPASSWORD, password file, service file."),
        "28000" => Some("Check that the role exists and that pg_hba.conf lets it in."),
        "3D000" => Some("Check \"dbname\"."),
        "53300" => Some("Raise max_connections or max_wal_senders, or end other sessions."),
        "42501" => Some("Grant the role what it lacks: LOGIN, REPLICATION, CONNECT."),
        "57P03" => Some("The server is starting up or shutting down: try again later."),
        _ => None,
    }
}

/// An error as the server reported it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// The five characters.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// May hold column values: not for logs.
    pub detail: Option<String>,
    /// The server's own advice.
    pub hint: Option<String>,
    /// Where it happened (`CONTEXT`). May hold column values: not for logs.
    pub context: Option<String>,
    /// The schema of what it is about.
    pub schema: Option<String>,
    /// The table it is about.
    pub table: Option<String>,
    /// The column it is about.
    pub column: Option<String>,
    /// The constraint it is about.
    pub constraint: Option<String>,
}

impl ServerError {
    /// Takes an ErrorResponse or NoticeResponse apart: the message's body, as it came on the wire.
    pub fn parse(body: &[u8]) -> ServerError {
        let mut error = ServerError::default();
        for field in body.split(|byte| *byte == 0) {
            let Some((kind, value)) = field.split_first() else { continue };
            let value = String::from_utf8_lossy(value).into_owned();
            match kind {
                // V is the severity untranslated (PostgreSQL 9.6 and later) and comes after S.
                b'S' | b'V' => error.severity = value,
                b'C' => error.sqlstate = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                b'W' => error.context = Some(value),
                b's' => error.schema = Some(value),
                b't' => error.table = Some(value),
                b'c' => error.column = Some(value),
                b'n' => error.constraint = Some(value),
                _ => {}
            }
        }
        error
    }

    /// Class 28: who the role is, or whether it may log in.
    fn is_about_identity(&self) -> bool {
        self.sqlstate.starts_with("28")
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

/// Detail and context are left out: `Debug` output ends up in logs.
impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerError")
            .field("severity", &self.severity)
            .field("sqlstate", &self.sqlstate)
            .field("message", &self.message)
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("column", &self.column)
            .field("constraint", &self.constraint)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for ServerError {}

impl From<&tokio_postgres::error::DbError> for ServerError {
    fn from(error: &tokio_postgres::error::DbError) -> ServerError {
        let own = |text: Option<&str>| text.map(str::to_owned);
        ServerError {
            severity: error.severity().to_owned(),
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: own(error.detail()),
            hint: own(error.hint()),
            context: own(error.where_()),
            schema: own(error.schema()),
            table: own(error.table()),
            column: own(error.column()),
            constraint: own(error.constraint()),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        if let Some(server) = error.as_db_error() {
            return Error::Database(Box::new(server.into()));
        }
        if error.is_closed() {
            return Error::Closed { source: None };
        }
        let io =
            std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
        match io {
            // An io::Error cannot be cloned: its kind and text are what is left of it.
            Some(io) => Error::broken(io::Error::new(io.kind(), io.to_string())),
            None => Error::Client(error),
        }
    }
}
