//! The loop from log to destination.
//!
//! Owns the life of a connection: seat, base, changes, and what happens when it breaks. Every try begins
//! with the checkpoint as the destination has it, so a COMMIT whose answer was lost is never repeated
//! blindly. The invariant: between the feed and the commit everything keeps its order.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgtrail_log::{LogFollower, Lsn};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;

use crate::base::{Loaded, Loading};
use crate::checkpoint::Copy;
use crate::config::{ApplierConfig, Extent, StopAt};
use crate::destination::Destination;
use crate::feed::{Fed, Feed, FeedConfig};
use crate::group::{BaseSnapshots, Part};
use crate::guard::{Guard, STOP_PATIENCE, stop_asked};
use crate::plan::{Mode, Step, plan};
use crate::rebase::{self, Reached, Rebases};
use crate::retry::Retry;
use crate::schema::{Half, Making};
use crate::seat::{self, Claim, Seat};
use crate::sequences::Sequences;
use crate::session::{Applying, TargetCache};
use crate::status::{ApplierState, ApplierStatus};
use crate::{Error, checkpoint::Checkpoint};

/// How often what is durable at the destination is looked at while nothing else happens.
const IDLE_CARE: Duration = Duration::from_millis(200);

/// Parts below this many changes are planned on the spot: handing them to a thread takes longer.
const PLANNED_ON_THE_SPOT: usize = 200;

/// How long threads that still read the log at the end are waited for.
const LET_GO: Duration = Duration::from_secs(5);

/// A WAL page's header is at most this long; no record starts inside it.
const WAL_PAGE_HEADER: u64 = 40;

/// Bytes in a WAL page.
const WAL_PAGE: u64 = 8192;

/// How a try ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// The place to stop at is applied.
    Done,
    /// Asked to stop.
    Stopped,
}

/// Applies until told to stop, or until the place to stop at. On return nothing of it uses the log.
pub(crate) async fn run(
    config: ApplierConfig,
    status: Arc<ApplierStatus>,
    wake: Arc<Notify>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), Error> {
    let (log_dir, follower_dir) = (config.log_dir.clone(), config.follower_dir());
    let opened = tokio::task::spawn_blocking(move || LogFollower::open(&log_dir, &follower_dir));
    let follower = Arc::new(opened.await.map_err(|error| Error::Bug(error.to_string()))??);
    let result = follow(config, status, wake, shutdown, Arc::clone(&follower)).await;
    let_go(&follower).await;
    result
}

/// Waits for the threads that still read the log: a process must not end under RocksDB's feet.
async fn let_go(follower: &Arc<LogFollower>) {
    let since = Instant::now();
    while Arc::strong_count(follower) > 1 && since.elapsed() < LET_GO {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn follow(
    config: ApplierConfig,
    status: Arc<ApplierStatus>,
    wake: Arc<Notify>,
    shutdown: watch::Receiver<bool>,
    follower: Arc<LogFollower>,
) -> Result<(), Error> {
    let stop_at = stop_lsn(config.stop_at, &follower)?;
    let mut retry = Retry::new(config.connect_retry, config.error_retry);
    let mut pipeline =
        Pipeline { config, status, wake, shutdown, follower, stop_at, predecessor: None };
    loop {
        let before = pipeline.status.snapshot();
        let tried = Box::pin(pipeline.try_once(&mut retry)).await;
        let after = pipeline.status.snapshot();
        if (before.groups, before.base_blocks) != (after.groups, after.base_blocks) {
            retry.progressed();
        }
        let error = match tried {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if *pipeline.shutdown.borrow() {
            // What was under way is not committed, or is: the next start reads which.
            return Ok(());
        }
        if matches!(error, Error::Conflict { .. }) {
            pipeline.status.conflicted();
        }
        let message = error.to_string();
        pipeline.status.set_last_error(Some(message.clone()));
        let pause = retry.after(error)?;
        tracing::warn!(error = message, ?pause, "the destination cannot be used, trying again");
        pipeline.status.set_state(ApplierState::Reconnecting);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop_asked(&mut pipeline.shutdown) => return Ok(()),
        }
    }
}

/// The place to stop at, as the log knows places.
fn stop_lsn(stop_at: Option<StopAt>, follower: &LogFollower) -> Result<Option<Lsn>, Error> {
    Ok(match stop_at {
        None => None,
        Some(StopAt::Lsn(lsn)) => Some(reachable(lsn)),
        Some(StopAt::LogEnd) => Some(follower.end()?.end_lsn),
    })
}

/// A server may name a place inside a page header, which no record's end ever reaches.
fn reachable(lsn: Lsn) -> Lsn {
    let into_page = lsn.as_u64() % WAL_PAGE;
    if into_page < WAL_PAGE_HEADER { Lsn::new(lsn.as_u64() - into_page) } else { lsn }
}

struct Pipeline {
    config: ApplierConfig,
    status: Arc<ApplierStatus>,
    wake: Arc<Notify>,
    shutdown: watch::Receiver<bool>,
    follower: Arc<LogFollower>,
    stop_at: Option<Lsn>,
    /// The server process of the last session.
    predecessor: Option<i32>,
}

impl Pipeline {
    /// One connection's life.
    async fn try_once(&mut self, retry: &mut Retry) -> Result<Outcome, Error> {
        self.status.set_state(ApplierState::Starting);
        let connecting = Destination::connect(&self.config.conninfo);
        let after = self.config.peer_timeout;
        let connected = tokio::time::timeout(after, connecting).await;
        let destination = connected.map_err(|_| Error::Timeout { after })??;
        retry.connected();
        self.status.connected();
        self.status.set_state(ApplierState::WaitingForSeat);
        let taken = self.take_seat(&destination).await?;
        let Some((seat, checkpoint)) = taken else { return Ok(Outcome::Stopped) };
        self.predecessor = Some(destination.pid);
        self.refuse_other_log(&checkpoint)?;
        self.status.reached(checkpoint.position, checkpoint.end_lsn);
        self.status.set_last_error(None);

        if self.config.schema && !self.make_schema(&seat, Half::ForRows).await? {
            return Ok(Outcome::Stopped);
        }
        self.status.set_state(ApplierState::LoadingBase);
        let mut shutdown = self.shutdown.clone();
        let mut loading = Loading {
            config: &self.config,
            follower: &self.follower,
            seat: &seat,
            status: &self.status,
            wake: &self.wake,
            guard: self.guard(),
            shutdown: &mut shutdown,
        };
        let snapshots = match loading.run(&destination).await? {
            Loaded::Stopped => return Ok(Outcome::Stopped),
            Loaded::Complete(snapshots) => snapshots,
        };
        retry.progressed();
        if self.config.schema && !self.make_schema(&seat, Half::Rest).await? {
            return Ok(Outcome::Stopped);
        }
        match self.config.extent {
            Extent::Changes => {}
            Extent::Schema => return Ok(Outcome::Done),
            Extent::Copy if self.stop_at.is_some() => {}
            Extent::Copy => {
                let Some(last) = self.final_lsn().await? else { return Ok(Outcome::Stopped) };
                self.stop_at = Some(last);
            }
        }
        self.status.set_state(ApplierState::Applying);
        Box::pin(self.apply_changes(destination, seat, &checkpoint, snapshots)).await
    }

    /// Where changes end, as soon as the log tells; `None` when a stop was asked for.
    async fn final_lsn(&self) -> Result<Option<Lsn>, Error> {
        let mut shutdown = self.shutdown.clone();
        loop {
            let follower = Arc::clone(&self.follower);
            let read = tokio::task::spawn_blocking(move || {
                follower.catch_up()?;
                follower.final_lsn()
            });
            let read = read.await.map_err(|error| Error::Bug(error.to_string()))?;
            if let Some(last) = read? {
                return Ok(Some(last));
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(IDLE_CARE) => {}
                () = stop_asked(&mut shutdown) => return Ok(None),
            }
        }
    }

    /// `false`: a stop was asked for.
    async fn make_schema(&self, seat: &Seat, half: Half) -> Result<bool, Error> {
        self.status.set_state(ApplierState::MakingSchema);
        let mut shutdown = self.shutdown.clone();
        let mut making = Making {
            config: &self.config,
            follower: &self.follower,
            seat,
            wake: &self.wake,
            shutdown: &mut shutdown,
        };
        let mut stop = self.shutdown.clone();
        tokio::select! {
            made = making.run(half) => made,
            // An index can take hours. The server ends the statement in hand by itself, and the next
            // start finds it made or not.
            () = async {
                stop_asked(&mut stop).await;
                tokio::time::sleep(STOP_PATIENCE).await;
            } => Ok(false),
        }
    }

    async fn take_seat(
        &self,
        destination: &Destination,
    ) -> Result<Option<(Seat, Checkpoint)>, Error> {
        let claim = Claim {
            pipeline: &self.config.pipeline,
            destination: &self.config.destination,
            identity: self.follower.identity(),
            patience: self.config.seat_wait,
            predecessor: self.predecessor,
        };
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            taken = seat::take(&destination.session, &claim) => taken.map(Some),
            () = stop_asked(&mut shutdown) => Ok(None),
        }
    }

    /// A log that was restored from an older copy ends before what was applied from it.
    fn refuse_other_log(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let log_end = self.follower.mark()?.position;
        match checkpoint.position {
            Some(applied)
                if applied.commit_lsn > log_end.commit_lsn || applied.epoch > log_end.epoch =>
            {
                Err(Error::AheadOfLog { applied, log_end })
            }
            _ => Ok(()),
        }
    }

    async fn apply_changes(
        &self,
        destination: Destination,
        seat: Seat,
        checkpoint: &Checkpoint,
        snapshots: BaseSnapshots,
    ) -> Result<Outcome, Error> {
        let ties = rebase::Ties {
            config: Arc::new(self.config.clone()),
            follower: Arc::clone(&self.follower),
            seat: seat.clone(),
            status: Arc::clone(&self.status),
            guard: self.guard(),
            stop_at: self.stop_at,
        };
        let mut rebases = Rebases::read(ties, &destination.session).await?;
        let mut reached = Reached { position: checkpoint.position, end_lsn: checkpoint.end_lsn };
        let mut feed = self.feed(reached, rebases.narrowed(&snapshots));
        let mut copy = Copy::new(
            self.config.log_dir.clone(),
            self.config.destination.clone(),
            self.follower.identity().incarnation,
            checkpoint,
        );
        copy.rebased(rebases.rebased());
        let pid = destination.pid;
        let mapping = self.config.mapping.clone();
        let status = Arc::clone(&self.status);
        let policies = self.config.policies;
        let mut applying = Applying::new(destination, seat, mapping, status, policies).await?;
        let mut sequences = Sequences::new(
            Arc::clone(&self.follower),
            self.config.mapping.clone(),
            Arc::clone(&self.status),
        );
        let mut ahead: Option<Ahead> = None;
        let mut in_transaction = false;
        let guard = self.guard();
        let mut shutdown = self.shutdown.clone();
        let outcome = loop {
            if !in_transaction && (rebases.can_join() || rebases.can_begin()) {
                if rebases.can_join() {
                    rebases.join(reached).await?;
                } else {
                    rebases.begin(&applying.destination.session, reached).await?;
                }
                copy.rebased(rebases.rebased());
                // What was read ahead leaves out other tables than it should now.
                ahead = None;
                feed = self.feed(reached, rebases.narrowed(&snapshots));
            }
            let next = match ahead.take() {
                Some(next) => next,
                None => {
                    tokio::select! {
                        biased;
                        () = stop_asked(&mut shutdown) => break Outcome::Stopped,
                        fed = feed.next() => Ahead::start(fed?, &applying.targets, applying.mode()),
                        () = tokio::time::sleep(IDLE_CARE), if copy.is_behind() && !in_transaction => {
                            let caring = copy.keep_up(&applying.destination.session);
                            guard.watch(pid, caring).await?;
                            continue;
                        }
                        () = tokio::time::sleep(sequences.due_in()), if !in_transaction => {
                            let setting = sequences.keep_up(&applying.destination.session);
                            guard.watch(pid, setting).await?;
                            rebases.keep_up().await?;
                            continue;
                        }
                        () = rebases.wait(), if !in_transaction => continue,
                    }
                }
            };
            let (part, budget, steps) = match next {
                Ahead::Stopped => {
                    reached.end_lsn = reached.end_lsn.max(self.stop_at.unwrap_or_default());
                    rebases.look().await?;
                    rebases.reached(reached);
                    if rebases.is_idle() {
                        if let Some(error) = rebases.failure() {
                            return Err(error);
                        }
                        break Outcome::Done;
                    }
                    tokio::select! {
                        () = rebases.wait() => {}
                        () = stop_asked(&mut shutdown) => break Outcome::Stopped,
                        // The next one can begin at once.
                        () = std::future::ready(()), if rebases.can_begin() => {}
                    }
                    ahead = Some(Ahead::Stopped);
                    continue;
                }
                Ahead::Idle(end_lsn) => {
                    self.status.reached(None, end_lsn);
                    reached.end_lsn = reached.end_lsn.max(end_lsn);
                    rebases.reached(reached);
                    continue;
                }
                Ahead::Part { planning, budget } => {
                    let (part, steps) = planning.finish().await?;
                    (part, budget, steps)
                }
            };
            let targets = applying.targets.clone();
            let mode = applying.mode();
            let work = async {
                let steps = match steps {
                    Some(steps) => steps,
                    None => {
                        let targets = applying.resolve(&part).await?;
                        plan(&part.changes, &targets, mode)?
                    }
                };
                applying.apply(&part, steps).await
            };
            let applied = {
                let mut work = pin!(guard.watch(pid, work));
                loop {
                    tokio::select! {
                        biased;
                        applied = &mut work => break applied,
                        fed = feed.next(), if ahead.is_none() => {
                            ahead = Some(Ahead::start(fed?, &targets, mode));
                        }
                    }
                }
            };
            if let Err(error) = applied {
                self.cancel(&applying).await;
                return Err(error);
            }
            drop(budget);
            in_transaction = part.end.is_none();
            if let Some(end) = &part.end {
                copy.committed(end);
                reached = Reached { position: Some(end.position), end_lsn: end.end_lsn };
                rebases.reached(reached);
                guard.watch(pid, copy.keep_up(&applying.destination.session)).await?;
                guard.watch(pid, sequences.keep_up(&applying.destination.session)).await?;
                rebases.keep_up().await?;
            }
            if *self.shutdown.borrow() {
                break Outcome::Stopped;
            }
        };
        self.status.set_state(ApplierState::Stopping);
        if in_transaction {
            // The rest of a large transaction may take long; it starts over next time.
            return Ok(outcome);
        }
        if outcome == Outcome::Done {
            let ends_with_log = self.config.stop_at == Some(StopAt::LogEnd);
            if let Some(until) = self.stop_at.filter(|_| !ends_with_log) {
                tokio::select! {
                    waited = sequences.wait(until) => waited?,
                    () = stop_asked(&mut shutdown) => return Ok(Outcome::Stopped),
                }
            }
            guard.watch(pid, sequences.finish(&applying.destination.session)).await?;
        }
        let seat = applying.seat().clone();
        let flushing = copy.flush(&applying.destination.session, &seat);
        guard.watch(pid, flushing).await?;
        Ok(outcome)
    }

    /// Reads the log from where the destination is.
    fn feed(&self, from: Reached, snapshots: BaseSnapshots) -> Feed {
        let config = FeedConfig {
            from: from.position,
            stop_at: self.stop_at,
            bounds: self.config.group,
            snapshots,
        };
        let (follower, wake) = (Arc::clone(&self.follower), Arc::clone(&self.wake));
        Feed::start(follower, config, wake, Arc::clone(&self.status))
    }

    fn guard(&self) -> Guard {
        Guard {
            conninfo: self.config.conninfo.clone(),
            peer_timeout: self.config.peer_timeout,
            shutdown: self.shutdown.clone(),
        }
    }

    /// Leaves nothing running behind us.
    async fn cancel(&self, applying: &Applying) {
        let cancelling = applying.destination.session.canceller();
        let _ = tokio::time::timeout(Duration::from_secs(1), cancelling.cancel()).await;
    }
}

/// What comes next, being prepared while the destination works.
enum Ahead {
    Part { planning: Box<Planning>, budget: OwnedSemaphorePermit },
    Idle(Lsn),
    Stopped,
}

enum Planning {
    /// Its relations are not all known: only the session can look them up.
    Unresolved(Part),
    Done(Part, Result<Vec<Step>, Error>),
    OnThread(JoinHandle<(Part, Result<Vec<Step>, Error>)>),
}

impl Ahead {
    fn start(fed: Fed, targets: &TargetCache, mode: Mode) -> Ahead {
        match fed {
            Fed::Stopped => Ahead::Stopped,
            Fed::Idle { end_lsn } => Ahead::Idle(end_lsn),
            Fed::Part(part, budget) => {
                let planning = match targets.of(&part) {
                    None => Planning::Unresolved(part),
                    Some(targets) if part.changes.len() < PLANNED_ON_THE_SPOT => {
                        let steps = plan(&part.changes, &targets, mode);
                        Planning::Done(part, steps)
                    }
                    Some(targets) => Planning::OnThread(tokio::task::spawn_blocking(move || {
                        let steps = plan(&part.changes, &targets, mode);
                        (part, steps)
                    })),
                };
                Ahead::Part { planning: Box::new(planning), budget }
            }
        }
    }
}

impl Planning {
    async fn finish(self) -> Result<(Part, Option<Vec<Step>>), Error> {
        match self {
            Planning::Unresolved(part) => Ok((part, None)),
            Planning::Done(part, steps) => Ok((part, Some(steps?))),
            Planning::OnThread(task) => {
                let (part, steps) = task.await.map_err(|error| Error::Bug(error.to_string()))?;
                Ok((part, Some(steps?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_page_header_is_the_pages_start() {
        for (asked, reached) in [(8192, 8192), (8192 + 24, 8192), (8192 + 39, 8192), (8232, 8232)] {
            assert_eq!(reachable(Lsn::new(asked)), Lsn::new(reached));
        }
    }
}
