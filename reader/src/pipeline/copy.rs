//! Owns the initial copy's place beside the stream: it begins once the stream has, and is tried again
//! in the same windows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgtrail_log::LogWriter;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::base::{self, BaseConfig, Outcome};
use crate::retention::Fullness;
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

impl Copy {
    /// Begins, on `runtime`, when `connected` becomes true; `copied` becomes true when all of it is in the log.
    pub(super) fn start(
        runtime: &Handle,
        log: Arc<LogWriter>,
        config: &ReaderConfig,
        status: Arc<ReaderStatus>,
        mut connected: watch::Receiver<bool>,
        copied: watch::Sender<bool>,
        fullness: watch::Receiver<Fullness>,
    ) -> Copy {
        let (stop, is_stopped) = watch::channel(false);
        let retry = Retry::new(config.connect_retry, config.error_retry);
        let (schema, rows) = (config.schema, config.copy);
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
            let parts = Parts { schema, rows };
            if copy(&log, &parts, &config, &status, &fullness, is_stopped, retry).await?
                == Outcome::Complete
            {
                copied.send_replace(true);
            }
            Ok(())
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
async fn plan_nothing(log: &Arc<LogWriter>) -> Result<(), Error> {
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
                let (log, status) = (Arc::clone(log), Arc::clone(status));
                let copied =
                    base::copy_initial(log, config, status, fullness.clone(), stop.clone());
                copied.await.map_err(Error::from)
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
