//! The stage "schema" by itself: no slot, no stream, nothing to follow.
//!
//! Owns that what is taken comes from the source that the log belongs to.

use std::sync::Arc;
use std::time::Instant;

use pgtrail_log::LogWriter;
use pgtrail_postgres::{Session, SessionSettings, connect};
use tokio::time::sleep;

use super::copy;
use crate::error::Chain;
use crate::retry::Retry;
use crate::status::ReaderState;
use crate::{Error, ReaderConfig, ReaderStatus, schema};

/// Takes the schema into the log, and an initial set of nothing, so that appliers need not wait.
pub(super) async fn run(
    config: &ReaderConfig,
    log: &Arc<LogWriter>,
    status: &ReaderStatus,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    tokio::select! {
        biased;
        () = stop => Ok(()),
        taken = take_with_retries(config, log, status) => taken,
    }
}

async fn take_with_retries(
    config: &ReaderConfig,
    log: &Arc<LogWriter>,
    status: &ReaderStatus,
) -> Result<(), Error> {
    let mut retry = Retry::new(config.connect_retry, config.error_retry);
    loop {
        let began = Instant::now();
        let Err(error) = take(config, log, &mut retry).await else { return Ok(()) };
        retry.worked(began.elapsed(), false);
        let Some(pause) = retry.after(&error, Instant::now()) else { return Err(error) };
        status.set_state(ReaderState::Reconnecting);
        status.set_last_error(Some(error.to_string()));
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let error = Chain(&error);
        tracing::warn!(%error, pause_ms, "the schema was not read, will be tried again");
        sleep(pause).await;
    }
}

async fn take(config: &ReaderConfig, log: &Arc<LogWriter>, retry: &mut Retry) -> Result<(), Error> {
    if !log.has_schema() {
        let session = connect(&config.conninfo, SessionSettings::pinned()).await?;
        check_source(&session, log).await?;
        retry.connected();
        drop(session);
        schema::keep(log, &config.conninfo, &config.selection).await?;
    }
    if log.initial_set().is_none() {
        copy::plan_nothing(log).await?;
    }
    Ok(())
}

/// Where the role may not ask for the cluster's identifier, the database's name has to do.
async fn check_source(session: &Session, log: &Arc<LogWriter>) -> Result<(), Error> {
    let identity = log.identity();
    let failed = |error| Error::from(pgtrail_postgres::Error::from(error));
    let sql = "select pg_catalog.current_database()::text";
    let found: String =
        session.query_one(sql, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)?;
    if found != identity.database {
        let expected = identity.database.clone();
        return Err(Error::OtherPipeline { what: "database", expected, found });
    }
    let sql = "select system_identifier from pg_catalog.pg_control_system()";
    let Ok(row) = session.query_one(sql, &[]).await else { return Ok(()) };
    let found: i64 = row.try_get(0).map_err(failed)?;
    let (expected, found) = (identity.system_identifier, found.cast_unsigned());
    match found == expected {
        true => Ok(()),
        false => Err(Error::OtherCluster { expected, found }),
    }
}
