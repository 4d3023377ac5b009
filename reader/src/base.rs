//! The initial copy: every selected table's rows, read from the source into the log.
//!
//! Owns which tables those are (asked once, then kept in the log), the jobs that read them side by
//! side, and the statement that all are complete. What happens to one table is in `table`; what several
//! jobs do with a large one, in `parts`. The invariant: a table's base is in the log whole or not at all, with the snapshot it was read under,
//! and the set is called complete only when each of its tables has one or is gone.
//!
//! A copy that ends early is continued by calling again: tables whose base is complete are not read
//! a second time.

mod error;
mod parts;
mod plan;
mod queue;
mod rows;
mod table;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pgtrail_log::{BaseTable, Disposition, LogWriter, Lsn};
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::{ConnInfo, Rate, Session, SessionSettings, Throttle, connect};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use self::error::Error;
use self::queue::{Pending, Queue, Work};
pub use self::rows::MalformedCopy;
pub(crate) use self::table::Again;
use self::table::{Attempt, Context};
use crate::ReaderStatus;
use crate::retention::Fullness;

/// What the initial copy needs to know.
#[derive(Clone, Debug)]
pub struct BaseConfig {
    /// The source.
    pub conninfo: ConnInfo,
    /// Sessions that read at the same time, each a table or a part of one; at least one.
    pub jobs: usize,
    /// How fast they may read, all together.
    pub rate: Rate,
    /// Tables of at least this many pages are read in parts.
    pub split_pages: u64,
    /// Which of the published tables to copy.
    pub selection: Selection,
    /// The publication that the slot's stream goes by.
    pub publication: String,
}

impl BaseConfig {
    /// Everything, with every default; the publication is to be named.
    pub fn new(conninfo: ConnInfo) -> BaseConfig {
        BaseConfig {
            conninfo,
            jobs: 1,
            rate: Rate::default(),
            split_pages: parts::SPLIT_PAGES,
            selection: Selection::everything(),
            publication: String::new(),
        }
    }
}

/// How the initial copy ended without an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The log holds the whole initial set.
    Complete,
    /// It was asked to stop; the tables not complete by then are left for the next time.
    Stopped,
}

/// The pause before a table that could not be read is tried again, or the plan asked for again:
/// doubled from the first up to the second. An ALTER usually takes moments; one that takes hours is
/// not made slower by a try every few seconds.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Brings the log's initial set to completion.
///
/// Publication and slot have to exist: the set is planned, and each table read, under snapshots that
/// see all that the slot's exported snapshot (kept in the log's identity) saw.
///
/// While the disk is full no more rows are read.
///
/// # Errors
/// At the first failure that trying again will not mend, at once; at another, when the tables being
/// read meanwhile are done.
pub async fn copy_initial(
    log: Arc<LogWriter>,
    config: &BaseConfig,
    status: Arc<ReaderStatus>,
    fullness: watch::Receiver<Fullness>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<Outcome, Error> {
    if log.initial_set().is_some_and(|set| set.complete) {
        return Ok(Outcome::Complete);
    }
    let (alive, mut ended) = mpsc::channel(1);
    let exported = Arc::new(log.identity().exported_snapshot.clone());
    let (throttle, split_pages) = (Throttle::new(config.rate), config.split_pages);
    let context = Context { log, status, fullness, exported, throttle, split_pages, alive };
    let outcome = tokio::select! {
        outcome = copy_set(context, config) => outcome,
        // An error means that nobody is left who could ask, so nobody waits for an answer either.
        _ = shutdown.wait_for(|stop| *stop) => Ok(Outcome::Stopped),
    };
    // The sessions are closed by now. Threads that were writing for them notice and let go of the
    // log; the caller may close it then.
    let _ = ended.recv().await;
    outcome
}

async fn copy_set(context: Context, config: &BaseConfig) -> Result<Outcome, Error> {
    let tables = match context.log.initial_set() {
        Some(set) => set.tables,
        None => plan_set(&context, config).await?,
    };
    let complete: HashSet<u32> =
        context.log.bases().iter().map(|base| base.shape.relation).collect();
    let (all, total) = (tables.clone(), tables.len());
    let left: VecDeque<Pending> = tables
        .into_iter()
        .filter(|table| !complete.contains(&table.relation))
        .map(|table| Pending { table, tries: 0 })
        .collect();
    context.status.set_base_tables(&all, |relation| complete.contains(&relation));
    tracing::info!(tables = total, left = left.len(), "initial copy begins");

    copy_tables(&context, config, left).await?;

    fail::fail_point!("reader::base::before_complete");
    let log = Arc::clone(&context.log);
    tokio::task::spawn_blocking(move || log.complete_initial_set())
        .await
        .map_err(|_| Error::Task)??;
    fail::fail_point!("reader::base::after_complete");
    tracing::info!(tables = total, "initial copy is complete");
    Ok(Outcome::Complete)
}

async fn plan_set(context: &Context, config: &BaseConfig) -> Result<Vec<BaseTable>, Error> {
    let session = open_session(config).await?;
    let mut pause = RETRY_PAUSE.0;
    let tables = loop {
        let planned =
            plan::plan(&session, &config.publication, &config.selection, &context.exported);
        match planned.await? {
            Some(tables) => break tables,
            None => pause = wait(pause).await,
        }
    };
    fail::fail_point!("reader::base::before_plan");
    context.log.plan_initial_set(&tables)?;
    fail::fail_point!("reader::base::after_plan");
    Ok(tables)
}

async fn copy_tables(
    context: &Context,
    config: &BaseConfig,
    left: VecDeque<Pending>,
) -> Result<(), Error> {
    if left.is_empty() {
        return Ok(());
    }
    let queue = Arc::new(Queue::new(left));
    let config = Arc::new(config.clone());
    let mut running = JoinSet::new();
    for _ in 0..config.jobs.max(1) {
        let job = run_job(context.clone(), Arc::clone(&config), Arc::clone(&queue));
        running.spawn(job);
    }
    let mut first_error = None;
    while let Some(ended) = running.join_next().await {
        let Err(error) = ended.unwrap_or(Err(Error::Task)) else { continue };
        queue.close();
        if !matches!(error.disposition(), Disposition::Retry | Disposition::Unreachable) {
            running.shutdown().await;
            return Err(error);
        }
        first_error.get_or_insert(error);
    }
    first_error.map_or(Ok(()), Err)
}

/// Copies tables until none is left to take, then parts of what others copy.
async fn run_job(
    context: Context,
    config: Arc<BaseConfig>,
    queue: Arc<Queue>,
) -> Result<(), Error> {
    let mut session = None;
    let mut pause = RETRY_PAUSE.0;
    let mut declined = Vec::new();
    while let Some(work) = queue.next(&declined).await {
        let session = match &session {
            Some(session) => session,
            // Only when there is work for it: fewer tables than jobs need fewer sessions.
            None => session.insert(open_session(&config).await?),
        };
        let mut pending = match work {
            Work::Table(pending) => pending,
            Work::Help(offer) => {
                match table::help(session, &context, &offer).await {
                    Ok(true) => {}
                    Ok(false) => declined.push(offer),
                    // The leader meets the same.
                    Err(error) if error.is_of_table() => declined.push(offer),
                    Err(error) => return Err(error),
                }
                continue;
            }
        };
        let table = &pending.table;
        let attempt = match table::copy_table(session, &context, &queue, table, None).await {
            Err(error) if error.is_of_table() => {
                leave_out(&context, table, &error)?;
                queue.done();
                continue;
            }
            attempt => attempt?,
        };
        match attempt {
            Attempt::Copied(base) => {
                tracing::info!(
                    schema = base.shape.schema,
                    table = base.shape.name,
                    rows = base.rows,
                    bytes = base.raw_bytes,
                    "table copied"
                );
                context.status.base_table_done(table.relation);
                queue.done();
                pause = RETRY_PAUSE.0;
            }
            Attempt::Gone => {
                tracing::info!(
                    schema = table.schema,
                    table = table.name,
                    "table is gone, dropped from the initial copy"
                );
                context.log.drop_from_initial_set(table.relation)?;
                context.status.base_table_done(table.relation);
                queue.done();
            }
            Attempt::NotYet(reason) => {
                pending.tries += 1;
                // The first time and then ever more rarely, however long it takes.
                if pending.tries.is_power_of_two() {
                    tracing::info!(
                        schema = table.schema,
                        table = table.name,
                        tries = pending.tries,
                        reason,
                        "table cannot be read yet, will be tried again"
                    );
                }
                // After the pause: nobody else is to try at once.
                pause = wait(pause).await;
                queue.put_back(pending);
            }
        }
    }
    Ok(())
}

/// A table that cannot be copied does not keep the others from it.
fn leave_out(context: &Context, table: &BaseTable, error: &Error) -> Result<(), Error> {
    let reason = error.chain();
    let name = format!("{}.{}", table.schema, table.name);
    tracing::error!(
        table = name,
        reason,
        "table cannot be copied and is left out until pgtrail resync copies it"
    );
    context.log.isolate(table, &reason)?;
    context.status.table_failed(&name, &reason);
    context.status.base_table_done(table.relation);
    Ok(())
}

/// Copies one table beside the stream, to replace what destinations have of it. `false`: it is gone.
pub(crate) async fn copy_again(
    log: Arc<LogWriter>,
    config: &BaseConfig,
    session: &Session,
    table: &BaseTable,
    again: Again,
    status: Arc<ReaderStatus>,
    fullness: watch::Receiver<Fullness>,
) -> Result<bool, Error> {
    let (alive, mut ended) = mpsc::channel(1);
    let exported = Arc::new(log.identity().exported_snapshot.clone());
    // By one session: what belongs to the pipeline as a whole goes first.
    let (throttle, split_pages) = (Throttle::new(config.rate), u64::MAX);
    let context = Context { log, status, fullness, exported, throttle, split_pages, alive };
    let queue = Arc::new(Queue::default());
    let mut pause = RETRY_PAUSE.0;
    let copied = loop {
        match table::copy_table(session, &context, &queue, table, Some(again)).await {
            Ok(Attempt::Copied(_)) => break Ok(true),
            Ok(Attempt::Gone) => break Ok(false),
            Ok(Attempt::NotYet(reason)) => {
                tracing::debug!(table = table.name, reason, "table cannot be copied again yet");
                pause = wait(pause).await;
            }
            Err(error) => break Err(error),
        }
    };
    drop(context);
    let _ = ended.recv().await;
    copied
}

/// A WAL position that the source says.
pub(crate) async fn lsn_of(session: &Session, sql: &str) -> Result<Lsn, Error> {
    let row = session.query_typed_one(sql, &[]).await.map_err(pgtrail_postgres::Error::from)?;
    let text: String = row.try_get(0).map_err(pgtrail_postgres::Error::from)?;
    let unread = || pgtrail_postgres::Error::Protocol { what: "a WAL position".to_owned() };
    Ok(text.parse().map_err(|_| unread())?)
}

pub(crate) async fn open_session(config: &BaseConfig) -> Result<Session, Error> {
    Ok(connect(&config.conninfo, SessionSettings::default()).await?)
}

/// Waits, and returns how long to wait the next time.
async fn wait(pause: Duration) -> Duration {
    sleep(pause).await;
    RETRY_PAUSE.1.min(pause * 2)
}
