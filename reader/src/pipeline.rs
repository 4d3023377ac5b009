//! The pipeline: from the slot into the log, for as long as it lasts.
//!
//! One thread receives, decodes and assembles (`receive`); another writes (`writer`); the slot is
//! told what is durable (`confirm`, the one place that does). Beside them run the initial copy, the
//! watch over slot and publication, and the log's retention. Feedback depends on none of the queues
//! between them.
//!
//! The invariant: `received_lsn >= durable_lsn >= confirmed_flush_lsn`, and whatever was confirmed is
//! in the log after any crash.

mod alone;
mod confirm;
mod copy;
mod positions;
mod receive;
mod writer;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pgtrail_log::{BaseHeader, DurableMark, Epoch, LogWriter, Rebase};
use pgtrail_postgres::sqlstate::code;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use self::confirm::Confirmer;
use self::copy::{Copy, Ties};
use self::positions::Positions;
use self::receive::{Ended, Links, Receiver};
use self::writer::{LogQueue, Writing};
use crate::assemble::{Assembler, Limits};
use crate::config::reachable;
use crate::error::Chain;
use crate::rebase::ResyncRequest;
use crate::retention::{Floors, Fullness, Keeper};
use crate::retry::Retry;
use crate::sequences::Sequences;
use crate::status::ReaderState;
use crate::watch::{Member, Publication, Side, Watch, check_members};
use crate::xid::NextXid;
use crate::{Error, ReaderConfig, ReaderStatus, diagnose, stream};

/// How long the note of the log's end at the source may take in the end.
const NOTE_WITHIN: Duration = Duration::from_secs(2);

/// How long threads that still use the log at the end are waited for.
const LET_GO: Duration = Duration::from_secs(10);

/// Runs a reader until it is told to stop, has reached `stop_at`, or must not go on.
///
/// `durable` is told every advance of the log's end; `requests` brings tables to be copied again.
///
/// # Errors
/// When the source cannot be reached in time, when going on would lose something, or when the log
/// fails. What had arrived whole is in the log by then.
pub async fn run(
    config: ReaderConfig,
    status: Arc<ReaderStatus>,
    durable: watch::Sender<DurableMark>,
    requests: mpsc::Receiver<ResyncRequest>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), Error> {
    status.set_state(ReaderState::Starting);
    let result = on_own_thread(config, Arc::clone(&status), durable, requests, shutdown).await;
    status.set_state(ReaderState::Stopped);
    status.set_last_error(result.as_ref().err().map(ToString::to_string));
    result
}

/// The stream gets a thread with a runtime of its own. On a shared one, data that arrives wakes a
/// worker that polls the socket, which then wakes the one that runs the task: at a hundred thousand
/// wakes per second this costs more than decoding. The initial copy stays with the caller's runtime.
///
/// When the caller gives up waiting, the reader stops as if told to.
async fn on_own_thread(
    config: ReaderConfig,
    status: Arc<ReaderStatus>,
    durable: watch::Sender<DurableMark>,
    requests: mpsc::Receiver<ResyncRequest>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), Error> {
    let failed = |_| Error::Invariant("the reader's thread could not be started");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let callers = Handle::current();
    let (ended, end) = oneshot::channel();
    let (waiting, gave_up) = oneshot::channel::<Infallible>();
    let run = move || {
        let stop = async move {
            tokio::select! {
                Ok(_) = shutdown.wait_for(|stop| *stop) => {}
                _ = gave_up => {}
            }
        };
        let result =
            runtime.block_on(Box::pin(run_on(config, status, durable, requests, stop, callers)));
        // Nobody listens any more when the caller gave up.
        let _ = ended.send(result);
    };
    thread::Builder::new().name("pgtrail-stream".to_owned()).spawn(run).map_err(failed)?;
    let result = end.await;
    drop(waiting);
    result.unwrap_or(Err(Error::Invariant("the reader's thread panicked")))
}

async fn run_on(
    config: ReaderConfig,
    status: Arc<ReaderStatus>,
    durable: watch::Sender<DurableMark>,
    requests: mpsc::Receiver<ResyncRequest>,
    stop: impl Future<Output = ()>,
    callers: Handle,
) -> Result<(), Error> {
    let dir = config.log_dir.clone();
    let opened = tokio::task::spawn_blocking(move || LogWriter::open(&dir)).await;
    let log = Arc::new(opened.map_err(|_| Error::Invariant("opening the log panicked"))??);
    check_identity(&config, &log)?;

    durable.send_replace(log.mark());
    if !config.copy && !config.changes {
        let taken = alone::run(&config, &log, &status, stop).await;
        let_go(&log).await;
        return taken;
    }
    let last = log.final_lsn().filter(|_| !config.changes);
    let copied = log.initial_set().is_some_and(|set| set.complete);
    if copied
        && last.is_some_and(|last| log.mark().end_lsn >= last && log.sequence_mark().as_of >= last)
    {
        tracing::info!("the copy is complete");
        return Ok(());
    }

    let positions = Arc::new(Positions::new(log.mark().end_lsn, Arc::clone(&status)));
    let durable_mark = durable.subscribe();
    let confirmer = Arc::new(Confirmer::new(Arc::clone(&positions), durable));
    let queue = Arc::new(LogQueue::default());
    let mut writing = Writing::start(Arc::clone(&queue), Arc::clone(&log), Arc::clone(&confirmer))?;

    let (last, is_last) = watch::channel(last);
    let (copied, is_copied) = watch::channel(copied && log.rebase_requests().is_empty());
    let (fullness, is_full) = watch::channel(Fullness::Room);
    let (connected, is_connected) = watch::channel(false);
    let keeper = Keeper {
        log: Arc::clone(&log),
        dir: config.log_dir.clone(),
        retention: config.retention.clone(),
        appliers: config.appliers.clone(),
        floors: Floors::default(),
    };
    let mut copy = Copy::start(
        &callers,
        Arc::clone(&log),
        &config,
        Arc::clone(&status),
        Ties {
            connected: is_connected,
            copied,
            last,
            fullness: is_full.clone(),
            requests,
            floors: keeper.floors.clone(),
        },
    );
    let links = Links {
        queue: Arc::clone(&queue),
        confirmer: Arc::clone(&confirmer),
        positions,
        status: Arc::clone(&status),
        durable: durable_mark,
        copied: is_copied,
        last: is_last,
        fullness: is_full,
    };
    let mut pipeline = Pipeline::new(config, &log, Arc::clone(&status), links, connected);

    let result = tokio::select! {
        biased;
        () = stop => Ok(()),
        error = writing.failed() => Err(error),
        error = copy.failed() => Err(error),
        error = keeper.run(fullness) => Err(error),
        result = pipeline.stream() => result,
    };
    status.set_state(ReaderState::Stopping);
    copy.stop().await;
    pipeline.receiver.hand_over_rest().await;
    let noting = pipeline.side.take().map(|side| (side, pipeline.config.pipeline.clone()));
    drop(pipeline);
    let written = writing.finish(&queue).await;
    if let Some((side, pipeline)) = noting
        && !matches!(
            timeout(NOTE_WITHIN, side.note_log_end(&pipeline, log.mark().end_lsn)).await,
            Ok(Ok(()))
        )
    {
        // The next reader notes it.
        tracing::debug!("the log's end was not noted at the source");
    }
    if let Some(feedback) = confirmer.detach()
        && let Err(error) = feedback.close().await
    {
        // The slot learns it at the next start.
        tracing::debug!(%error, "the last position was not confirmed");
    }
    drop(confirmer);
    let_go(&log).await;
    // A failed write is the cause of whatever else went wrong.
    written.and(result)
}

/// Waits until nobody else uses the log, so that it is closed when this process says so.
async fn let_go(log: &Arc<LogWriter>) {
    let since = Instant::now();
    while Arc::strong_count(log) > 1 && since.elapsed() < LET_GO {
        sleep(Duration::from_millis(5)).await;
    }
}

/// The log is the one that the configuration is about.
fn check_identity(config: &ReaderConfig, log: &LogWriter) -> Result<(), Error> {
    let identity = log.identity();
    for (what, expected, found) in [
        ("pipeline", &identity.pipeline, &config.pipeline),
        ("slot", &identity.slot, &config.slot),
        ("publication", &identity.publication, &config.publication),
    ] {
        if expected != found {
            let (expected, found) = (expected.clone(), found.clone());
            return Err(Error::OtherPipeline { what, expected, found });
        }
    }
    Ok(())
}

struct Pipeline {
    config: ReaderConfig,
    log: Arc<LogWriter>,
    status: Arc<ReaderStatus>,
    confirmer: Arc<Confirmer>,
    receiver: Receiver,
    retry: Retry,
    watch: Watch,
    sequences: Sequences,
    connected: watch::Sender<bool>,
    /// As it was last seen.
    publication: Option<Publication>,
    /// The side connection beside the stream, or beside the last one.
    side: Option<Arc<Side>>,
    knows_types: bool,
    /// A type turned up that does not travel in binary: no more binary in this process.
    text_only: bool,
}

impl Pipeline {
    fn new(
        config: ReaderConfig,
        log: &Arc<LogWriter>,
        status: Arc<ReaderStatus>,
        links: Links,
        connected: watch::Sender<bool>,
    ) -> Pipeline {
        let next_xid = Arc::new(NextXid::default());
        let epoch = log.identity().epochs.last().map_or(Epoch::FIRST, |start| start.epoch);
        let assembler = Assembler::new(
            Arc::clone(log),
            Arc::clone(&next_xid),
            config.selection.clone(),
            epoch,
            Limits::default(),
        );
        Pipeline {
            log: Arc::clone(log),
            confirmer: Arc::clone(&links.confirmer),
            receiver: Receiver::new(assembler, links, config.stop_at.map(reachable)),
            retry: Retry::new(config.connect_retry, config.error_retry),
            watch: Watch {
                pipeline: config.pipeline.clone(),
                log: Arc::clone(log),
                slot: config.slot.clone(),
                publication: config.publication.clone(),
                selection: config.selection.clone(),
                next_xid,
                status: Arc::clone(&status),
            },
            sequences: Sequences::new(
                Arc::clone(log),
                config.selection.clone(),
                Arc::clone(&status),
                config.sequence_interval,
            ),
            config,
            status,
            connected,
            publication: None,
            side: None,
            knows_types: false,
            text_only: false,
        }
    }

    /// Connection after connection, until one ends for good.
    async fn stream(&mut self) -> Result<(), Error> {
        while !self.is_done() {
            let (began, durable) = (Instant::now(), self.log.mark().end_lsn);
            let ended = Box::pin(self.connection()).await;
            self.receiver.end().await;
            let feedback = self.confirmer.detach();
            self.retry.worked(began.elapsed(), self.log.mark().end_lsn > durable);
            match ended {
                Ok(Ended::Done) => self.close(feedback).await,
                Ok(Ended::TextNeeded) => {
                    tracing::info!("a type that may not travel in binary: stream goes on in text");
                    self.text_only = true;
                    self.close(feedback).await;
                }
                Err(error) => {
                    drop(feedback);
                    self.recover(error).await?;
                }
            }
        }
        self.refuse_isolated()
    }

    /// Whether everything that was asked for is in the log, what sequences say at the end included.
    fn is_done(&self) -> bool {
        let asked = |stop_at| self.log.sequence_mark().as_of >= stop_at;
        self.receiver.is_done() && self.receiver.stop_at().is_none_or(asked)
    }

    /// Who wanted everything up to a place must hear of tables that are not there.
    fn refuse_isolated(&self) -> Result<(), Error> {
        let bases = self.log.bases();
        let stop_at = self.receiver.stop_at();
        let in_time = |rebase: Rebase| stop_at.is_none_or(|stop_at| rebase.ceiling <= stop_at);
        let rebased = |relation: u32| {
            let is_it = |base: &BaseHeader| base.shape.relation == relation;
            bases.iter().any(|base| is_it(base) && base.rebase.is_some_and(in_time))
        };
        let isolated = self.log.initial_set().map(|set| set.isolated).unwrap_or_default();
        let tables: Vec<String> = isolated
            .into_iter()
            .filter(|found| !rebased(found.table.relation))
            .map(|found| format!("{}.{}", found.table.schema, found.table.name))
            .collect();
        if tables.is_empty() { Ok(()) } else { Err(Error::Isolated { tables }) }
    }

    /// Waits before the next try, or gives the error back as final.
    async fn recover(&mut self, error: Error) -> Result<(), Error> {
        let unsendable = error.server().is_some_and(|server| {
            server.sqlstate == code::UNDEFINED_FUNCTION && self.status.snapshot().binary
        });
        if unsendable && !self.text_only {
            tracing::warn!(%error, "a type has no binary form: stream goes on in text");
            self.text_only = true;
            self.status.set_binary(false);
            return Ok(());
        }
        let Some(pause) = self.retry.after(&error, Instant::now()) else {
            let oid = self.publication.as_ref().map(|publication| publication.oid);
            return Err(diagnose::final_error(error, &self.config, &self.log, oid).await);
        };
        let state = match error {
            Error::SlotActive { .. } => ReaderState::WaitingForSlot,
            _ => ReaderState::Reconnecting,
        };
        self.status.set_state(state);
        self.status.set_last_error(Some(error.to_string()));
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(error = %Chain(&error), pause_ms, "connection ended, will be tried again");
        sleep(pause).await;
        Ok(())
    }

    async fn close(&self, feedback: Option<crate::replication::FeedbackSender>) {
        if let Some(feedback) = feedback
            && let Err(error) = feedback.close().await
        {
            tracing::debug!(%error, "the last position was not confirmed");
        }
    }

    /// One connection, from the first question to its end.
    async fn connection(&mut self) -> Result<Ended, Error> {
        let side = Side::connect(&self.config.conninfo).await?;
        side.check_server().await?;
        self.watch.next_xid.observe(side.next_xid().await?);
        if !self.knows_types {
            self.receiver.set_built_in_types(side.built_in_types().await?);
            self.knows_types = true;
        }
        let oid = self.publication.as_ref().map(|publication| publication.oid);
        let opened = stream::open(&self.config, &self.log, side, self.text_only, oid).await?;
        let known = self.publication.take().unwrap_or_else(|| self.published_at_first(&opened));
        check_members(&opened.side, &self.config.publication, &known, &opened.publication).await?;
        self.publication = Some(opened.publication.clone());
        self.side = Some(Arc::clone(&opened.side));

        self.retry.connected();
        self.status.set_binary(opened.binary_types.is_some());
        self.receiver.begin(opened.connection, opened.log_end, opened.binary_types);
        self.confirmer.attach(opened.feedback, opened.hold)?;
        self.status.connected();
        self.status.set_state(ReaderState::Streaming);
        self.status.set_last_error(None);
        self.connected.send_replace(true);

        let mut reader = opened.reader;
        let watching = self.watch.clone().run(Arc::clone(&opened.side), opened.publication);
        let ended = tokio::select! {
            biased;
            error = watching => Err(error),
            error = self.sequences.follow(&opened.side) => Err(error),
            ended = self.receiver.receive(&mut reader, &opened.side) => ended,
        };
        match ended {
            Ok(Ended::Done) if !self.is_done() => {
                self.sequences.note(&opened.side).await?;
                Ok(Ended::Done)
            }
            Err(error) => {
                let last_relation = self.receiver.last_relation();
                Err(diagnose::stream_error(error, &opened.side, last_relation).await)
            }
            ended => ended,
        }
    }

    /// What must have been published when this process started: the tables of the initial copy.
    fn published_at_first(&self, opened: &stream::Opened) -> Publication {
        let tables = self.log.initial_set().map(|set| set.tables).unwrap_or_default();
        let selected = tables
            .into_iter()
            .filter(|table| self.config.selection.contains(&table.schema, &table.name))
            .map(|table| {
                let name = format!("{}.{}", table.schema, table.name);
                (table.relation, Member { name, is_partition: false })
            });
        let members: BTreeMap<u32, Member> = selected.collect();
        Publication { all_tables: false, members, ..opened.publication.clone() }
    }
}
