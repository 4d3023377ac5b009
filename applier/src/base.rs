//! Loads the base: COPY blocks from the log into the destination's tables, each as soon as it is in the
//! log, whether its base is complete or not.
//!
//! Owns who loads what, and when that is all. What is done for one table is in `load`, what the
//! destination knows of it in `progress`. The invariant: each block's rows are committed exactly once,
//! whatever is killed; rows of a base that the reader gave up are taken out before others come in; a
//! table that has rows of somebody else is refused before the first.

mod load;
mod progress;
mod stage;
mod view;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pgtrail_log::LogFollower;
use pgtrail_postgres::{Session, Throttle};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::load::load_whole;
use self::load::{Load, Loader};
use self::progress::Progress;
pub(crate) use self::progress::keep_seat;
use self::view::{Chosen, View};
use crate::Error;
use crate::config::{ApplierConfig, OnExisting};
use crate::destination::Destination;
use crate::group::BaseSnapshots;
use crate::guard::{Guard, stop_asked};
use crate::seat::Seat;
use crate::status::ApplierStatus;
use crate::target::Target;

/// How often the log is looked at for new bases when nobody calls.
const POLL: Duration = Duration::from_millis(100);

/// How often while a base is being written: nobody tells of its blocks. Catching up costs a tenth of a
/// millisecond when there is nothing new; a reader at full speed writes a few blocks in this time.
const OPEN_POLL: Duration = Duration::from_millis(20);

/// A look takes at most this share of the time: with ten thousands of bases it has much to read.
const LOOK_SHARE: u32 = 10;

/// However long a look took, the next one is due after this: one that had to wait for what a view hid
/// says nothing of what a look costs.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whether the base is at the destination.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// All of it; changes are skipped as these say.
    Complete(BaseSnapshots),
    /// Asked to stop before.
    Stopped,
}

/// What loading needs of its surroundings.
#[derive(Debug)]
pub(crate) struct Loading<'a> {
    pub config: &'a ApplierConfig,
    pub follower: &'a Arc<LogFollower>,
    pub seat: &'a Seat,
    pub status: &'a Arc<ApplierStatus>,
    pub wake: &'a Notify,
    pub guard: Guard,
    pub shutdown: &'a mut watch::Receiver<bool>,
}

/// A base on its way, between two turns.
struct Waiting {
    load: Load,
    /// The look at the log after which it had its last turn.
    turn: u64,
}

type Worker = Result<(Destination, Load), (u32, u64, Error)>;

impl Loading<'_> {
    /// Loads every base of the initial set.
    pub(crate) async fn run(&mut self, destination: &Destination) -> Result<Loaded, Error> {
        let progress = progress::read(&destination.session, self.seat).await?;
        let jobs = if destination.replica { self.config.copy_jobs.max(1) } else { 1 };
        let mut known = Known::new(progress);
        let throttle = Throttle::new(self.config.copy_rate);
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        let mut workers: JoinSet<Worker> = JoinSet::new();
        let mut idle: Vec<Destination> = Vec::new();
        // Relations that a worker is at.
        let mut busy: HashSet<u32> = HashSet::new();
        let mut view = View::new(self.config.on_existing == OnExisting::Keep);
        let (mut looks, mut next_look) = (0u64, Instant::now());
        let (mut shown, mut called) = (None, false);
        loop {
            let began = Instant::now();
            if began >= next_look {
                view = self.look(view).await?;
                looks += 1;
                next_look =
                    Instant::now() + OPEN_POLL.max(began.elapsed() * LOOK_SHARE).min(LOOK_AGAIN);
                called = false;
                let now = Some((view.known(), view.tables().len()));
                if shown != now {
                    shown = now;
                    self.show(&known, &view);
                }
                // A worker that is left has a base that was given up, and may still commit.
                if view.is_complete() && known.is_level(&view) && workers.is_empty() {
                    if let Some(error) = known.failure(&view.ids()) {
                        return Err(error);
                    }
                    progress::sweep(&destination.session, self.seat, &view.ids()).await?;
                    return Ok(Loaded::Complete(view.snapshots()));
                }
                let fresh = self.fresh(destination, &view, &mut known).await?;
                waiting.extend(fresh.into_iter().map(|load| Waiting { load, turn: 0 }));
            }
            while workers.len() < jobs {
                // One after the other of a relation: the next takes out what the last has committed.
                let is_free = |load: &Load| !busy.contains(&load.base.start.shape.relation);
                let due = waiting
                    .iter()
                    .position(|waiting| waiting.turn < looks && is_free(&waiting.load));
                let Some(Waiting { mut load, .. }) = due.and_then(|at| waiting.remove(at)) else {
                    break;
                };
                match view.base_of(load.base.start.shape.relation) {
                    Some(base) if base.id == load.base.id => load.base = base.clone(),
                    // Given up by the reader, or out of sight for a moment: it comes back if it counts.
                    _ => {
                        known.lose(load);
                        continue;
                    }
                }
                if load.base.header.as_ref().is_some_and(|header| header.purged) {
                    return Err(pgtrail_log::Error::BasePurged { id: load.base.id }.into());
                }
                let destination = match idle.pop() {
                    Some(destination) => destination,
                    None => Destination::connect(&self.config.conninfo).await?,
                };
                let loader = self.loader(&throttle);
                let relation = load.base.start.shape.relation;
                busy.insert(relation);
                workers.spawn(async move {
                    match Box::pin(loader.load(&destination, &mut load)).await {
                        Ok(()) => Ok((destination, load)),
                        Err(error) => Err((relation, load.base.id, error)),
                    }
                });
            }
            let soon = called || view.has_open();
            let again = if soon { next_look } else { next_look.max(began + POLL) };
            tokio::select! {
                finished = workers.join_next(), if !workers.is_empty() => {
                    let finished = finished.transpose().map_err(|error| Error::Bug(error.to_string()))?;
                    match finished {
                        Some(Ok((destination, load))) => {
                            idle.push(destination);
                            busy.remove(&load.base.start.shape.relation);
                            match load.is_done() {
                                true => {
                                    known.done(load.base.id);
                                    self.status.copying.done(load.base.start.shape.relation);
                                }
                                false => waiting.push_back(Waiting { load, turn: looks }),
                            }
                        }
                        // The others are loaded all the same; then this is the end.
                        Some(Err((relation, id, error))) => {
                            busy.remove(&relation);
                            known.fail(id, error, self.status)?;
                        }
                        None => {}
                    }
                }
                () = self.wake.notified() => called = true,
                () = tokio::time::sleep_until(again) => {}
                () = stop_asked(self.shutdown) => {}
            }
            if *self.shutdown.borrow() {
                // Each ends after the transaction in hand.
                while let Some(finished) = workers.join_next().await {
                    let finished = finished.map_err(|error| Error::Bug(error.to_string()))?;
                    finished.map_err(|(_, _, error)| error)?;
                }
                return Ok(Loaded::Stopped);
            }
        }
    }

    fn loader(&self, throttle: &Throttle) -> Loader {
        Loader {
            follower: Arc::clone(self.follower),
            mapping: self.config.mapping.clone(),
            seat: self.seat.clone(),
            status: Arc::clone(self.status),
            guard: self.guard.clone(),
            keep: self.config.on_existing == OnExisting::Keep,
            throttle: throttle.clone(),
        }
    }

    /// Brings the view up to date.
    async fn look(&self, mut view: View) -> Result<View, Error> {
        let follower = Arc::clone(self.follower);
        let looked = tokio::task::spawn_blocking(move || {
            let mark = view.refresh(&follower)?;
            Ok::<_, pgtrail_log::Error>((mark, view))
        });
        let (mark, view) = looked.await.map_err(|error| Error::Bug(error.to_string()))??;
        self.status.saw(&mark);
        Ok(view)
    }

    /// The bases that nobody has begun with.
    async fn fresh(
        &self,
        destination: &Destination,
        view: &View,
        known: &mut Known,
    ) -> Result<Vec<Load>, Error> {
        // Foreign keys at work: no table before those it refers to, so all must be known.
        if !destination.replica && !view.initial_complete() {
            return Ok(Vec::new());
        }
        let bases: Vec<&Chosen> =
            view.bases().into_iter().filter(|base| known.start(base.id)).collect();
        let bases = match destination.replica {
            true => bases,
            false => self.referenced_first(&destination.session, bases).await?,
        };
        let begin = |base: &Chosen| {
            self.status.copying.begin(base.start.shape.relation);
            Load::new(base.clone(), known.progress(base.id))
        };
        Ok(bases.into_iter().map(begin).collect())
    }

    fn show(&self, known: &Known, view: &View) {
        let is_done = |relation| view.base_of(relation).is_some_and(|base| known.is_done(base.id));
        self.status.copying.plan(view.tables(), is_done);
        let mut rows = 0;
        for header in view.bases().into_iter().filter_map(|base| base.header.as_ref()) {
            self.status.copying.counted(header.shape.relation, header.rows);
            rows += header.rows;
        }
        self.status.set_base_rows(rows);
    }

    /// The bases in such an order that a table comes after those it refers to.
    async fn referenced_first<'b>(
        &self,
        session: &Session,
        bases: Vec<&'b Chosen>,
    ) -> Result<Vec<&'b Chosen>, Error> {
        let mut tables = Vec::with_capacity(bases.len());
        for base in bases {
            let shape = Arc::new(base.start.shape.clone());
            let target = Target::load(session, &self.config.mapping, shape).await?;
            let own = target.table.oid;
            let refers: HashSet<u32> =
                target.table.foreign_keys.iter().map(|key| key.referenced).collect();
            tables.push((base, own, refers));
        }
        let mut ordered = Vec::with_capacity(tables.len());
        while !tables.is_empty() {
            let left: HashSet<u32> = tables.iter().map(|(_, own, _)| *own).collect();
            let ready = |(_, own, refers): &(&Chosen, u32, HashSet<u32>)| {
                refers.iter().all(|oid| oid == own || !left.contains(oid))
            };
            let (mut free, bound): (Vec<_>, Vec<_>) = tables.into_iter().partition(ready);
            if free.is_empty() {
                // A circle: the server says which key it is, if rows are there at all.
                ordered.extend(bound.into_iter().map(|(base, _, _)| base));
                break;
            }
            ordered.extend(free.drain(..).map(|(base, _, _)| base));
            tables = bound;
        }
        Ok(ordered)
    }
}

/// What is known of each base by its number.
#[derive(Debug)]
struct Known {
    /// As far as the destination has it.
    progress: HashMap<u64, Progress>,
    started: HashSet<u64>,
    /// Those that the destination refused, and why.
    failed: BTreeMap<u64, Error>,
}

impl Known {
    fn new(progress: HashMap<u64, Progress>) -> Known {
        let done = progress.iter().filter(|(_, progress)| progress.done);
        let started = done.map(|(id, _)| *id).collect();
        Known { progress, started, failed: BTreeMap::new() }
    }

    fn progress(&self, id: u64) -> Option<Progress> {
        self.progress.get(&id).copied()
    }

    fn is_done(&self, id: u64) -> bool {
        self.progress.get(&id).is_some_and(|progress| progress.done)
    }

    /// Whether nothing is left to try.
    fn is_level(&self, view: &View) -> bool {
        view.bases().iter().all(|base| self.is_done(base.id) || self.failed.contains_key(&base.id))
    }

    /// Notes a failure that is about one table; any other is given back.
    fn fail(&mut self, id: u64, error: Error, status: &ApplierStatus) -> Result<(), Error> {
        let Some(relation) = error.table() else { return Err(error) };
        tracing::error!(relation, %error, "table cannot be loaded; the others are");
        status.table_failed(relation, &error.to_string());
        self.failed.insert(id, error);
        Ok(())
    }

    /// The first of those that count.
    fn failure(&mut self, bases: &HashSet<u64>) -> Option<Error> {
        self.failed.retain(|id, _| bases.contains(id));
        self.failed.pop_first().map(|(_, error)| error)
    }

    /// Whether nobody has begun with it in this process; from now on somebody has.
    fn start(&mut self, id: u64) -> bool {
        self.started.insert(id)
    }

    fn done(&mut self, id: u64) {
        self.progress.entry(id).or_default().done = true;
    }

    /// It is not worked on any more, and how far it came is not forgotten.
    fn lose(&mut self, load: Load) {
        self.started.remove(&load.base.id);
        if let Some(progress) = load.progress {
            self.progress.insert(load.base.id, progress);
        }
    }
}
