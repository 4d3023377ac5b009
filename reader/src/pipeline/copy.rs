//! Owns the initial copy's place beside the stream: it begins once the stream has, and is tried again
//! in the same windows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgtrail_log::{LogWriter, Lsn};
use pgtrail_postgres::{ConnInfo, SessionSettings, connect};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::base::{self, BaseConfig, Outcome};
use crate::config::reachable;
use crate::rebase::{Rebasing, ResyncRequest};
use crate::retention::{Floors, Fullness};
use crate::retry::Retry;
use crate::{Error, ReaderConfig, ReaderStatus, schema};

/// How long a copy that was told to stop may take to do so.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The task of the initial copy.
pub(super) struct Copy {
    task: JoinHandle<Result<(), Error>>,
    stop: watch::Sender<bool>,
    ended: bool,
}

/// What ties the copy to the rest of the reader.
pub(super) struct Ties {
    /// The stream has begun.
    pub(super) connected: watch::Receiver<bool>,
    /// Told whether all of it is in the log; a table that is copied again makes it false meanwhile.
    pub(super) copied: watch::Sender<bool>,
    /// Where changes end, if they are to; known before `copied`.
    pub(super) last: watch::Sender<Option<Lsn>>,
    pub(super) fullness: watch::Receiver<Fullness>,
    pub(super) requests: mpsc::Receiver<ResyncRequest>,
    pub(super) floors: Floors,
}

impl Copy {
    /// Begins, on `runtime`, when the stream has.
    pub(super) fn start(
        runtime: &Handle,
        log: Arc<LogWriter>,
        config: &ReaderConfig,
        status: Arc<ReaderStatus>,
        ties: Ties,
    ) -> Copy {
        let Ties { mut connected, copied, last, fullness, requests, floors } = ties;
        let (stop, is_stopped) = watch::channel(false);
        let windows = (config.connect_retry, config.error_retry);
        let retry = Retry::new(windows.0, windows.1);
        let parts = Parts { schema: config.schema, rows: config.copy, changes: config.changes };
        let config = BaseConfig {
            jobs: config.copy_jobs,
            selection: config.selection.clone(),
            publication: config.publication.clone(),
            rate: config.copy_rate,
            ..BaseConfig::new(config.conninfo.clone())
        };
        let task = runtime.spawn(async move {
            let mut told_to_stop = is_stopped.clone();
            tokio::select! {
                Ok(_) = connected.wait_for(|connected| *connected) => {}
                _ = told_to_stop.wait_for(|stop| *stop) => return Ok(()),
            }
            let stop = is_stopped.clone();
            let outcome = copy(&log, &parts, &config, &status, &fullness, is_stopped, retry);
            if outcome.await? == Outcome::Stopped {
                return Ok(());
            }
            last.send_replace(log.final_lsn().filter(|_| !parts.changes));
            for isolated in log.initial_set().map(|set| set.isolated).unwrap_or_default() {
                let table = format!("{}.{}", isolated.table.schema, isolated.table.name);
                status.table_failed(&table, &isolated.reason);
            }
            let rebasing = Rebasing { log, config, status, fullness, floors, copied };
            Box::pin(rebasing.run(requests, stop, Retry::new(windows.0, windows.1))).await
        });
        Copy { task, stop, ended: false }
    }

    /// Ends only when the copy fails.
    pub(super) async fn failed(&mut self) -> Error {
        if !self.ended {
            let result = (&mut self.task).await;
            self.ended = true;
            match result {
                Ok(Err(error)) => return error,
                Err(_) => return Error::Invariant("the initial copy panicked"),
                Ok(Ok(())) => {}
            }
        }
        std::future::pending().await
    }

    /// Stops it and waits until it has let go of the log.
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        if !self.ended && timeout(STOP_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// What belongs to the copy.
#[derive(Clone, Copy)]
struct Parts {
    schema: bool,
    rows: bool,
    changes: bool,
}

/// What comes after the rows: the place where changes end is where the source is now. Whatever a base
/// has of a transaction has committed before.
async fn conclude(log: &Arc<LogWriter>, parts: &Parts, conninfo: &ConnInfo) -> Result<(), Error> {
    if parts.changes || log.final_lsn().is_some() {
        return Ok(());
    }
    fail::fail_point!("reader::copy::before_conclusion");
    let session = connect(conninfo, SessionSettings::pinned()).await?;
    let asked = session.query_one("select pg_catalog.pg_current_wal_insert_lsn()::text", &[]).await;
    let text: String =
        asked.and_then(|row| row.try_get(0)).map_err(pgtrail_postgres::Error::from)?;
    let lsn: Lsn = text.parse().map_err(|_| Error::Invariant("the source's LSN is none"))?;
    let (log, lsn) = (Arc::clone(log), reachable(lsn));
    let decided = tokio::task::spawn_blocking(move || log.decide_final_lsn(lsn)).await;
    decided.map_err(|_| Error::Invariant("deciding where changes end panicked"))??;
    fail::fail_point!("reader::copy::after_conclusion");
    tracing::info!(%lsn, "the copy is complete; changes up to here belong to it");
    Ok(())
}

/// What comes before the rows.
async fn prepare(log: &Arc<LogWriter>, parts: &Parts, config: &BaseConfig) -> Result<(), Error> {
    if parts.schema {
        schema::keep(log, &config.conninfo, &config.selection).await?;
    }
    if !parts.rows && log.initial_set().is_none() {
        plan_nothing(log).await?;
    }
    Ok(())
}

/// Without a copy the initial set is empty, and complete.
pub(super) async fn plan_nothing(log: &Arc<LogWriter>) -> Result<(), Error> {
    let log = Arc::clone(log);
    let planned = tokio::task::spawn_blocking(move || {
        log.plan_initial_set(&[])?;
        log.complete_initial_set()
    });
    let planned = planned.await.map_err(|_| Error::Invariant("planning panicked"))?;
    Ok(planned?)
}

async fn copy(
    log: &Arc<LogWriter>,
    parts: &Parts,
    config: &BaseConfig,
    status: &Arc<ReaderStatus>,
    fullness: &watch::Receiver<Fullness>,
    stop: watch::Receiver<bool>,
    mut retry: Retry,
) -> Result<Outcome, Error> {
    retry.connected();
    loop {
        let (began, bases) = (Instant::now(), log.bases().len());
        let mut told_to_stop = stop.clone();
        let prepared = tokio::select! {
            prepared = prepare(log, parts, config) => prepared,
            _ = told_to_stop.wait_for(|stop| *stop) => return Ok(Outcome::Stopped),
        };
        let ended = match prepared {
            Err(error) => Err(error),
            Ok(()) => {
                let (own, status) = (Arc::clone(log), Arc::clone(status));
                let copied =
                    base::copy_initial(own, config, status, fullness.clone(), stop.clone());
                match copied.await {
                    Ok(Outcome::Complete) => {
                        let concluded = conclude(log, parts, &config.conninfo).await;
                        concluded.map(|()| Outcome::Complete)
                    }
                    ended => ended.map_err(Error::from),
                }
            }
        };
        let error = match ended {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        retry.worked(began.elapsed(), log.bases().len() > bases);
        let Some(pause) = retry.after(&error, Instant::now()) else { return Err(error) };
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%error, pause_ms, "initial copy interrupted, will be tried again");
        let mut stop = stop.clone();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(Outcome::Stopped),
            () = sleep(pause) => {}
        }
    }
}
