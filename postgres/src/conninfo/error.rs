use std::path::PathBuf;

use super::keywords;

/// A connection string, or what it draws on, that cannot be used.
///
/// Values are shown only where they cannot be a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConninfoError {
    /// The text is neither of the two forms.
    #[error("connection string is malformed at byte {offset}: {what}")]
    Syntax {
        /// What is wrong there.
        what: &'static str,
        /// Where, counted from 0.
        offset: usize,
    },
    /// A keyword that libpq does not have either.
    #[error("unknown connection keyword \"{name}\"")]
    UnknownKeyword {
        /// As written.
        name: String,
    },
    /// A value outside its keyword's range.
    #[error("invalid value \"{value}\" for connection keyword \"{keyword}\" ({origin})")]
    InvalidValue {
        /// The keyword.
        keyword: &'static str,
        /// As given.
        value: String,
        /// What would be right.
        expected: &'static str,
        /// Where it was given.
        origin: String,
    },
    /// A value libpq would honour and this program does not.
    #[error("connection keyword \"{keyword}\" is not supported ({origin})")]
    Unsupported {
        /// The keyword.
        keyword: &'static str,
        /// What to do instead.
        instead: &'static str,
        /// Where it was given.
        origin: String,
    },
    /// Two settings that exclude each other.
    #[error("connection keywords \"{first}\" and \"{second}\" contradict each other")]
    Contradiction {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// Lists of hosts, addresses and ports of different lengths.
    #[error("connection keyword \"{keyword}\" lists {found} entries for {hosts} hosts")]
    ListLength {
        /// The list that does not fit.
        keyword: &'static str,
        /// Its entries.
        found: usize,
        /// The hosts to match.
        hosts: usize,
    },
    /// No service file has the service.
    #[error("definition of service \"{service}\" not found")]
    ServiceNotFound {
        /// The name looked for.
        service: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// A line in a service file that is not `keyword=value`.
    #[error("service file {} is malformed in line {line}", file.display())]
    ServiceSyntax {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A file named explicitly cannot be read.
    #[error("could not read {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Neither given nor known from the operating system.
    #[error("no user name is given and the operating system knows none")]
    NoUser,
}

impl ConninfoError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConninfoError::Syntax { .. } => Some(
                "Write \"host=db.example user=me dbname=orders\" or \
                 \"postgresql://me@db.example/orders\"; quote values with spaces by single quotes."
                    .to_owned(),
            ),
            ConninfoError::UnknownKeyword { .. } => {
                Some(format!("Known keywords: {}.", keywords::names()))
            }
            ConninfoError::InvalidValue { expected, .. } => Some(format!("Use {expected}.")),
            ConninfoError::Unsupported { instead, .. } => Some((*instead).to_owned()),
            ConninfoError::Contradiction { reason, .. } => Some((*reason).to_owned()),
            ConninfoError::ListLength { .. } => {
                Some("Give one entry, or as many as there are hosts.".to_owned())
            }
            ConninfoError::ServiceNotFound { searched, .. } => {
                let files: Vec<_> = searched.iter().map(|f| f.display().to_string()).collect();
                Some(format!("Files searched: {}.", files.join(", ")))
            }
            ConninfoError::ServiceSyntax { .. } => {
                Some("Each line is [service], keyword=value, or a comment after #.".to_owned())
            }
            ConninfoError::File { .. } => None,
            ConninfoError::NoUser => Some("Give one by \"user\" or PGUSER.".to_owned()),
        }
    }
}
