//! Tables that were copied again, taken over while everything else flows.
//!
//! Owns the way of one such table. From a place in the log on its changes are left out here, and a second
//! session puts a new state together in one transaction: the old rows go, the base comes in, and what
//! changed since the base's floor is replayed for this table alone, until it is nearly level. Then the
//! first session stands still between two groups; the rest is replayed; the transaction commits with the
//! note that the table has joined, and from there on its changes are applied with all others. A query at
//! the destination sees the old rows, and then the new ones as of that place.
//!
//! The invariant: whatever is killed, the destination says which tables are left out, and a table joins in
//! the transaction that brings its rows. At most one table is on its way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgtrail_log::{BaseHeader, Epoch, Isolated, LogFollower, Lsn, Position};
use pgtrail_postgres::Session;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};

use crate::Error;
use crate::base::{keep_seat, load_whole};
use crate::config::{ApplierConfig, OnExisting};
use crate::destination::Destination;
use crate::feed::{Fed, Feed, FeedConfig};
use crate::group::BaseSnapshots;
use crate::guard::Guard;
use crate::plan::plan;
use crate::seat::Seat;
use crate::session::Applying;
use crate::status::ApplierStatus;
use crate::target::Target;

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A round of replay with fewer changes than this is nearly level: the rest will be quick.
const NEARLY_LEVEL: usize = 20_000;

/// Rounds of replay before the first session has to wait all the same: a table that changes as fast as
/// it is replayed would never be level.
const ROUNDS: u32 = 20;

/// How far the first session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reached {
    /// The last transaction applied.
    pub position: Option<Position>,
    /// Everything before it is applied.
    pub end_lsn: Lsn,
}

/// What rebasing needs of its surroundings.
#[derive(Clone)]
pub(crate) struct Ties {
    pub config: Arc<ApplierConfig>,
    pub follower: Arc<LogFollower>,
    pub seat: Seat,
    pub status: Arc<ApplierStatus>,
    pub guard: Guard,
    /// Where the first session stops.
    pub stop_at: Option<Lsn>,
}

/// See the module's documentation.
pub(crate) struct Rebases {
    ties: Ties,
    /// Number of bases in the log when it was last looked at.
    looked: Option<u32>,
    next_look: Instant,
    /// All that replace another, by number.
    bases: BTreeMap<u64, BaseHeader>,
    /// Tables that the initial copy left out, by relation.
    isolated: HashMap<u32, Isolated>,
    /// Tables that were dropped at the source before they were copied.
    gone: HashSet<u32>,
    begun: BTreeSet<u64>,
    joined: BTreeSet<u64>,
    /// Those that the destination refused in this process, and why.
    failed: BTreeMap<u64, Error>,
    running: Option<Running>,
}

/// The table on its way.
struct Running {
    id: u64,
    task: JoinHandle<Result<(), Error>>,
    applied: watch::Sender<Reached>,
    is_level: watch::Receiver<bool>,
    go: Option<oneshot::Sender<Reached>>,
}

impl Rebases {
    pub(crate) async fn read(ties: Ties, session: &Session) -> Result<Rebases, Error> {
        let mut rebases = Rebases {
            ties,
            looked: None,
            next_look: Instant::now(),
            bases: BTreeMap::new(),
            isolated: HashMap::new(),
            gone: HashSet::new(),
            begun: BTreeSet::new(),
            joined: BTreeSet::new(),
            failed: BTreeMap::new(),
            running: None,
        };
        let sql = "select base_id, joined_at is not null from pgtrail.rebase \
             where pipeline = $1 and destination = $2";
        for row in session.query_typed(sql, &names(&rebases.ties.seat)).await? {
            let id = row.try_get::<_, i64>(0)?.cast_unsigned();
            match row.try_get(1)? {
                true => rebases.joined.insert(id),
                false => rebases.begun.insert(id),
            };
        }
        rebases.look().await?;
        Ok(rebases)
    }

    /// Takes in what the log has got, if a look is due.
    pub(crate) async fn keep_up(&mut self) -> Result<(), Error> {
        if self.next_look > Instant::now() {
            return Ok(());
        }
        self.look().await
    }

    /// Takes in what the log has got.
    pub(crate) async fn look(&mut self) -> Result<(), Error> {
        self.next_look = Instant::now() + LOOK_EVERY;
        let (follower, looked) = (Arc::clone(&self.ties.follower), self.looked);
        let read = tokio::task::spawn_blocking(move || {
            let mark = follower.mark()?;
            if looked == Some(mark.bases_complete) {
                return Ok(None);
            }
            follower.catch_up()?;
            let set = follower.initial_set()?;
            let (isolated, gone) = set.map(|set| (set.isolated, set.gone)).unwrap_or_default();
            let bases = follower.bases()?;
            Ok::<_, pgtrail_log::Error>(Some((mark.bases_complete, bases, isolated, gone)))
        });
        let read = read.await.map_err(|error| Error::Bug(error.to_string()))??;
        let Some((complete, bases, isolated, gone)) = read else { return Ok(()) };
        self.gone = gone.into_iter().collect();
        self.looked = Some(complete);
        self.bases = bases
            .into_iter()
            .filter(|base| base.rebase.is_some())
            .map(|base| (base.id, base))
            .collect();
        self.isolated = isolated.into_iter().map(|found| (found.table.relation, found)).collect();
        self.show();
        Ok(())
    }

    /// What changes are skipped: those that the initial bases hold, and all of tables that are left out.
    pub(crate) fn narrowed(&self, initial: &BaseSnapshots) -> BaseSnapshots {
        let mut snapshots = initial.clone();
        snapshots.leave_out(self.left_out());
        snapshots
    }

    /// The relations whose changes are not applied now.
    fn left_out(&self) -> HashSet<u32> {
        let newest_joined = |relation: u32| {
            let of_it = |id: &&u64| self.relation(**id) == Some(relation);
            self.joined.iter().rev().find(of_it).copied()
        };
        let mut left_out: HashSet<u32> = self.isolated.keys().copied().collect();
        left_out.retain(|relation| newest_joined(*relation).is_none());
        left_out.extend(&self.gone);
        for id in &self.begun {
            if let Some(relation) = self.relation(*id)
                && newest_joined(relation) < Some(*id)
            {
                left_out.insert(relation);
            }
        }
        left_out
    }

    fn relation(&self, id: u64) -> Option<u32> {
        self.bases.get(&id).map(|base| base.shape.relation)
    }

    /// Whether it counts no more: it has joined, or a newer one of its table is there.
    fn is_over(&self, base: &BaseHeader) -> bool {
        let is_newer =
            |other: &BaseHeader| other.id > base.id && other.shape.relation == base.shape.relation;
        self.joined.contains(&base.id) || self.bases.values().any(is_newer)
    }

    /// The last rebase up to which all are over: the log need not keep changes for them.
    pub(crate) fn rebased(&self) -> u64 {
        self.bases.values().take_while(|base| self.is_over(base)).last().map_or(0, |base| base.id)
    }

    /// The next that can begin, wherever the first session is: what it leaves out from there on is in the
    /// base or comes after its floor. One that joins only after the place to stop at is for another time.
    fn next(&self) -> Option<&BaseHeader> {
        let in_time = |base: &&BaseHeader| {
            let ceiling = base.rebase.map(|rebase| rebase.ceiling);
            self.ties.stop_at.is_none_or(|stop_at| ceiling <= Some(stop_at))
        };
        let is_left =
            |base: &&BaseHeader| !self.is_over(base) && !self.failed.contains_key(&base.id);
        let base = self.bases.values().filter(is_left).find(in_time)?;
        self.running.is_none().then_some(base)
    }

    /// The first that the destination refused.
    pub(crate) fn failure(&mut self) -> Option<Error> {
        self.failed.pop_first().map(|(_, error)| error)
    }

    /// Whether [`Rebases::begin`] has something to do.
    pub(crate) fn can_begin(&self) -> bool {
        self.next().is_some()
    }

    /// Whether [`Rebases::join`] has something to do.
    pub(crate) fn can_join(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| *running.is_level.borrow() || running.task.is_finished())
    }

    /// Whether nothing is on its way or could be.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_none() && !self.can_begin()
    }

    /// Tells the table on its way how far the first session is.
    pub(crate) fn reached(&self, reached: Reached) {
        if let Some(running) = &self.running {
            running.applied.send_replace(reached);
        }
    }

    /// Waits until [`Rebases::join`] has something to do.
    pub(crate) async fn wait(&mut self) {
        match &mut self.running {
            // A task that ended without a word has dropped its end: that is news, too.
            Some(running) => drop(running.is_level.wait_for(|level| *level).await),
            None => std::future::pending().await,
        }
    }

    /// Begins with the next table. From here on its changes are left out: the caller reads the log anew
    /// from `reached`.
    pub(crate) async fn begin(&mut self, session: &Session, reached: Reached) -> Result<(), Error> {
        let Some(base) = self.next().cloned() else { return Ok(()) };
        let id = base.id.cast_signed();
        let sql = "insert into pgtrail.rebase (pipeline, destination, base_id, relation) \
             select pipeline, destination, $4, $5 from pgtrail.checkpoint \
             where pipeline = $1 and destination = $2 and fence = $3 \
             on conflict (pipeline, destination, base_id) \
             do update set begun_at = now(), joined_at = null";
        let [pipeline, destination] = names(&self.ties.seat);
        let name = format!("{}.{}", base.shape.schema, base.shape.name);
        let fence = (&self.ties.seat.fence as &(dyn ToSql + Sync), Type::INT8);
        let parameters = [pipeline, destination, fence, (&id, Type::INT8), (&name, Type::TEXT)];
        if session.execute_typed(sql, &parameters).await? != 1 {
            return Err(Error::Fenced);
        }
        fail::fail_point!("applier::rebase::begun");
        tracing::info!(
            relation = name,
            base = base.id,
            "taking over a table that was copied again"
        );
        self.begun.insert(base.id);
        let (applied, is_applied) = watch::channel(reached);
        let (level, is_level) = watch::channel(false);
        let (go, gone) = oneshot::channel();
        let keeps = self.ties.config.on_existing == OnExisting::Keep;
        let is_first = self.isolated.contains_key(&base.shape.relation)
            && !self.joined.iter().any(|id| self.relation(*id) == Some(base.shape.relation));
        let takeover = Takeover {
            ties: self.ties.clone(),
            base: Arc::new(base.clone()),
            must_be_empty: is_first && !keeps,
        };
        let task = tokio::spawn(async move { takeover.run(is_applied, level, gone).await });
        self.running = Some(Running { id: base.id, task, applied, is_level, go: Some(go) });
        self.show();
        Ok(())
    }

    /// Lets the table join at `reached`, where the first session stands still meanwhile.
    pub(crate) async fn join(&mut self, reached: Reached) -> Result<(), Error> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        if let Some(go) = running.go.take() {
            // A task that has failed does not listen, and says why.
            let _ = go.send(reached);
        }
        let ended = (&mut running.task).await.map_err(|error| Error::Bug(error.to_string()))?;
        if let Err(error) = ended {
            let Some(table) = error.table().map(str::to_owned) else { return Err(error) };
            tracing::error!(
                relation = table,
                %error,
                "a table that was copied again cannot be taken over; its changes stay left out"
            );
            self.ties.status.table_failed(&table, &error.to_string());
            self.failed.insert(running.id, error);
            return Ok(());
        }
        self.joined.insert(running.id);
        self.begun.remove(&running.id);
        tracing::info!(base = running.id, "table has joined again");
        self.show();
        Ok(())
    }

    fn show(&self) {
        let name = |base: &BaseHeader| format!("{}.{}", base.shape.schema, base.shape.name);
        let waiting = self.bases.values().filter(|base| !self.is_over(base)).map(name).collect();
        let isolated = self
            .isolated
            .iter()
            .filter(|(relation, _)| self.left_out().contains(relation))
            .map(|(_, found)| format!("{}.{}", found.table.schema, found.table.name))
            .collect();
        self.ties.status.set_rebases(waiting, isolated);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One table on its way.
struct Takeover {
    ties: Ties,
    base: Arc<BaseHeader>,
    /// It was never copied: rows that are there are somebody's.
    must_be_empty: bool,
}

impl Takeover {
    async fn run(
        self,
        mut applied: watch::Receiver<Reached>,
        level: watch::Sender<bool>,
        go: oneshot::Receiver<Reached>,
    ) -> Result<(), Error> {
        let Ties { config, seat, status, guard, .. } = &self.ties;
        // Before the ceiling it would bring what the other tables do not have yet.
        let ceiling = self.base.rebase.map(|rebase| rebase.ceiling).unwrap_or_default();
        if applied.wait_for(|reached| reached.end_lsn >= ceiling).await.is_err() {
            return Ok(());
        }
        let destination = Destination::connect(&config.conninfo).await?;
        let pid = destination.pid;
        Box::pin(guard.watch(pid, self.replace_rows(&destination))).await?;
        let (seat, mapping) = (seat.clone(), config.mapping.clone());
        let mut applying =
            Applying::within(destination, seat, mapping, Arc::clone(status), config.policies)
                .await?;
        let mut from = self.before_floor()?;
        for _ in 0..ROUNDS {
            let upto = *applied.borrow();
            let replayed = Box::pin(self.replay(&mut applying, &mut from, upto)).await?;
            if replayed < NEARLY_LEVEL {
                break;
            }
        }
        level.send_replace(true);
        // Nobody who would say so: the process stops.
        let Ok(upto) = go.await else { return Ok(()) };
        Box::pin(self.replay(&mut applying, &mut from, upto)).await?;
        guard.watch(pid, self.commit(applying)).await
    }

    /// Begins the transaction: the old rows go, those of the base come.
    async fn replace_rows(&self, destination: &Destination) -> Result<(), Error> {
        let session = &destination.session;
        let shape = Arc::new(self.base.shape.clone());
        let target = Target::load(session, &self.ties.config.mapping, shape).await?;
        if !destination.replica {
            refuse_side_effects(session, &target).await?;
        }
        session.batch_execute("begin").await?;
        fail::fail_point!("applier::rebase::before_delete");
        if self.must_be_empty {
            let sql = format!("select from {} limit 1", target.only());
            if !session.query_typed(&sql, &[]).await?.is_empty() {
                return Err(Error::NotEmpty { relation: target.relation() });
            }
        }
        session.batch_execute(&format!("delete from {}", target.only())).await?;
        load_whole(session, &target, &self.ties.follower, &self.base).await?;
        fail::fail_point!("applier::rebase::loaded");
        Ok(())
    }

    /// The place in the log before everything that the base may lack.
    fn before_floor(&self) -> Result<Position, Error> {
        let floor = self.base.rebase.map(|rebase| rebase.floor).unwrap_or_default();
        let epoch = self.ties.follower.mark()?.position.epoch.max(Epoch::FIRST);
        let commit_lsn = Lsn::new(floor.as_u64().saturating_sub(1));
        Ok(Position { epoch, commit_lsn, ordinal: u64::MAX })
    }

    /// Applies what happened to the table after `from` up to `upto`; answers with how many changes.
    async fn replay(
        &self,
        applying: &mut Applying,
        from: &mut Position,
        upto: Reached,
    ) -> Result<usize, Error> {
        let Some(position) = upto.position.filter(|position| position > from) else {
            return Ok(0);
        };
        let Ties { config, follower, status, guard, .. } = &self.ties;
        let feed = FeedConfig {
            from: Some(*from),
            stop_at: Some(position.commit_lsn),
            bounds: config.group,
            snapshots: BaseSnapshots::only(self.base.shape.relation, self.base.snapshot.clone()),
        };
        let wake = Arc::new(Notify::new());
        let mut feed = Feed::start(Arc::clone(follower), feed, wake, Arc::clone(status));
        let mut replayed = 0;
        loop {
            let (mut part, _budget) = match feed.next().await? {
                Fed::Part(part, budget) => (part, budget),
                Fed::Idle { .. } => continue,
                Fed::Stopped => break,
            };
            // It goes on until the table joins.
            (part.end, part.transactions) = (None, 0);
            if part.changes.is_empty() {
                continue;
            }
            replayed += part.changes.len();
            let pid = applying.destination.pid;
            let applied = async {
                let targets = applying.resolve(&part).await?;
                let steps = plan(&part.changes, &targets, applying.mode())?;
                applying.apply(&part, steps).await
            };
            Box::pin(guard.watch(pid, applied)).await?;
        }
        *from = position;
        Ok(replayed)
    }

    async fn commit(&self, mut applying: Applying) -> Result<(), Error> {
        applying.settle().await?;
        let session = &applying.destination.session;
        // Whoever takes the seat meanwhile waits for the end of this transaction.
        keep_seat(session, &self.ties.seat).await?;
        // Durable before anybody hears of it: the log then gives up what the base lacked.
        session.batch_execute("set local synchronous_commit = local").await?;
        let sql = "update pgtrail.rebase r set joined_at = now() \
             from pgtrail.checkpoint c \
             where r.pipeline = $1 and r.destination = $2 and r.base_id = $4 \
             and c.pipeline = $1 and c.destination = $2 and c.fence = $3";
        let [pipeline, destination] = names(&self.ties.seat);
        let fence = (&self.ties.seat.fence as &(dyn ToSql + Sync), Type::INT8);
        let id = self.base.id.cast_signed();
        let parameters = [pipeline, destination, fence, (&id, Type::INT8)];
        if session.execute_typed(sql, &parameters).await? != 1 {
            return Err(Error::Fenced);
        }
        fail::fail_point!("applier::rebase::before_commit");
        session.batch_execute("commit").await?;
        fail::fail_point!("applier::rebase::after_commit");
        applying.tell_resolved();
        Ok(())
    }
}

/// Where triggers and foreign keys are at work, taking all rows out could take others with them, and the
/// two sessions could wait for each other where the server does not see it.
async fn refuse_side_effects(session: &Session, target: &Target) -> Result<(), Error> {
    let sql = "select from pg_catalog.pg_constraint \
         where contype = 'f' and $1 in (conrelid, confrelid) and conrelid <> confrelid \
         union all select from pg_catalog.pg_trigger \
         where tgrelid = $1 and not tgisinternal and tgenabled <> 'D'";
    let found = session.query_typed(sql, &[(&target.table.oid, Type::OID)]).await?;
    match found.is_empty() {
        true => Ok(()),
        false => Err(Error::RebaseFiresTriggers { relation: target.relation() }),
    }
}

fn names(seat: &Seat) -> [(&(dyn ToSql + Sync), Type); 2] {
    [(&seat.pipeline, Type::TEXT), (&seat.destination, Type::TEXT)]
}
