//! What precheck knows of both sides. Read by few queries, judged without a server.
//!
//! The invariant: nothing here changes anything, and nothing here judges.

mod destination;
mod pooling;
mod relations;
mod server;
mod source;
mod space;
mod tables;

use pgtrail_postgres::{Session, SessionSettings};

use crate::config::Config;

pub(crate) use destination::Destination;
#[cfg(test)]
pub(crate) use destination::EventTrigger;
pub(crate) use pooling::Pooling;
#[cfg(test)]
pub(crate) use relations::{ExtensionFacts, Sizes};
pub(crate) use relations::{Installed, Privileges};
pub(crate) use server::{RoleSetting, Server};
pub(crate) use source::{OpenTransaction, Other, Source};
pub(crate) use space::free_space;
pub(crate) use tables::Listed;

/// A table being altered is not waited for: what a lock hides counts as unknown.
const LOCK_TIMEOUT: &str = "3s";

/// One side, as far as it could be asked.
#[derive(Debug)]
pub(crate) enum Side<T> {
    /// All of it.
    Known(Box<T>),
    /// The server is too old for any of the questions.
    Unsupported { version: String },
    /// A pooler stands before it that shares server processes: no answer could be trusted.
    Pooled,
    /// The server was not reached, or broke off.
    Unreachable(anyhow::Error),
}

impl<T> Side<T> {
    /// What is known, if anything.
    pub(crate) fn known(&self) -> Option<&T> {
        match self {
            Side::Known(facts) => Some(facts),
            Side::Unsupported { .. } | Side::Pooled | Side::Unreachable(_) => None,
        }
    }
}

/// Both sides.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The source.
    pub(crate) source: Side<Source>,
    /// Each destination, by name.
    pub(crate) destinations: Vec<(String, Side<Destination>)>,
}

impl Facts {
    /// Asks both sides.
    pub(crate) async fn gather(config: &Config) -> Facts {
        let source = settle(Source::read(config).await);
        let mut destinations = Vec::new();
        for name in config.destinations.keys() {
            let facts = Destination::read(config, name, source.known()).await;
            destinations.push((name.clone(), settle(facts)));
        }
        Facts { source, destinations }
    }
}

/// Why there are no facts of a side.
#[derive(Debug)]
enum NoFacts {
    Unsupported { version: String },
    Pooled,
    Error(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for NoFacts {
    fn from(error: E) -> NoFacts {
        NoFacts::Error(error.into())
    }
}

fn settle<T>(read: Result<T, NoFacts>) -> Side<T> {
    match read {
        Ok(facts) => Side::Known(Box::new(facts)),
        Err(NoFacts::Unsupported { version }) => Side::Unsupported { version },
        Err(NoFacts::Pooled) => Side::Pooled,
        Err(NoFacts::Error(error)) => Side::Unreachable(error),
    }
}

pub(super) fn settings() -> SessionSettings {
    SessionSettings::pinned().with("lock_timeout", LOCK_TIMEOUT)
}

/// `None` where the role may not ask, or a lock was in the way.
fn unless_denied<T>(
    asked: Result<T, tokio_postgres::Error>,
) -> Result<Option<T>, pgtrail_postgres::Error> {
    match asked.map_err(pgtrail_postgres::Error::from) {
        Ok(answer) => Ok(Some(answer)),
        // insufficient_privilege, lock_not_available
        Err(error) if matches!(error.sqlstate(), Some("42501" | "55P03")) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the server can be asked the rest; `second` is another session with it.
async fn look_over(session: &Session, second: &Session) -> Result<Pooling, NoFacts> {
    if !session.capabilities().is_supported() {
        return Err(NoFacts::Unsupported { version: session.capabilities().version() });
    }
    match Pooling::probe(session, second).await? {
        Pooling::Transaction => Err(NoFacts::Pooled),
        pooling => Ok(pooling),
    }
}
