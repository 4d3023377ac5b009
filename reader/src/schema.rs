//! The source's schema, taken into the log before the initial copy.
//!
//! Owns that what is stored is whole. Catalogs are read without locks, and definitions that the server
//! prints follow its newest state rather than the snapshot, so a schema counts only when two readings
//! in a row are equal.

use std::sync::Arc;

use pgtrail_log::LogWriter;
use pgtrail_postgres::schema::diff;
use pgtrail_postgres::schema::snapshot::Snapshot;
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::{ConnInfo, Session, SessionSettings, connect};

use crate::Error;

/// Readings before giving up: each is seconds at most, and migrations come to an end.
const READINGS: usize = 20;

/// Stores the selected part of the schema, unless the log has one.
pub(crate) async fn keep(
    log: &Arc<LogWriter>,
    conninfo: &ConnInfo,
    selection: &Selection,
) -> Result<(), Error> {
    if log.has_schema() {
        return Ok(());
    }
    let session = connect(conninfo, SessionSettings::pinned()).await?;
    let whole = read_at_rest(&session).await?;
    let (schema, left_out) = diff::select(&whole, selection);
    drop(whole);
    for left in left_out {
        tracing::info!(object = left.object, reason = left.reason, "left out of the schema");
    }
    let objects = schema.objects.len();
    let json = schema.to_json().map_err(|_| Error::Invariant("a schema has no JSON"))?;
    drop(schema);
    let log = Arc::clone(log);
    let stored = tokio::task::spawn_blocking(move || log.write_schema(&json)).await;
    stored.map_err(|_| Error::Invariant("storing the schema panicked"))??;
    tracing::info!(objects, "the schema is in the log");
    Ok(())
}

async fn read_at_rest(session: &Session) -> Result<Snapshot, Error> {
    let mut before = None;
    for _ in 0..READINGS {
        let now = Snapshot::read(session).await?;
        // Two of them at once would be hundreds of megabytes for a schema of many thousand tables.
        let seen = now.digest().map_err(|_| Error::Invariant("a schema has no JSON"))?;
        if before == Some(seen) {
            return Ok(now);
        }
        before = Some(seen);
    }
    Err(Error::SchemaInMotion { readings: READINGS })
}
