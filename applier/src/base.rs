//! Loads the base: COPY blocks from the log into the destination's tables.
//!
//! Owns the progress in `pgtrail.base_load`, which changes in the same transaction as the rows. The
//! invariant: each block's rows are committed exactly once, whatever is killed; a table that has rows
//! of somebody else is refused before the first.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use pgtrail_log::{BaseBlock, BaseHeader, BaseTable, CopyFormat, LogFollower};
use pgtrail_postgres::Session;
use pgtrail_postgres::mapping::Mapping;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_postgres::types::Type;

use crate::Error;
use crate::config::{ApplierConfig, OnExisting};
use crate::destination::Destination;
use crate::group::BaseSnapshots;
use crate::guard::{Guard, stop_asked};
use crate::keep;
use crate::seat::Seat;
use crate::statement::encode::{COPY_HEADER, COPY_TRAILER};
use crate::statement::{copy_in, written};
use crate::status::ApplierStatus;
use crate::target::Target;

/// What is loaded in one destination transaction. A kill repeats at most this much work.
const TRANSACTION_BYTES: usize = 16 << 20;

/// How often the log is looked at for new bases when nobody calls.
const POLL: Duration = Duration::from_millis(100);

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

impl Loading<'_> {
    /// Loads every base of the initial set, as each becomes complete in the log.
    pub(crate) async fn run(&mut self, destination: &Destination) -> Result<Loaded, Error> {
        let progress = read_progress(&destination.session, self.seat).await?;
        let mut done: HashSet<u64> =
            progress.iter().filter(|(_, progress)| progress.done).map(|(id, _)| *id).collect();
        let mut started: HashSet<u64> = done.clone();
        let mut waiting: VecDeque<BaseHeader> = VecDeque::new();
        let mut workers: JoinSet<Result<(Destination, u64), Error>> = JoinSet::new();
        let mut idle: Vec<Destination> = Vec::new();
        let jobs = if destination.replica { self.config.copy_jobs.max(1) } else { 1 };
        let mut view = View::default();
        loop {
            self.look(&mut view).await?;
            let latest = latest_by_relation(&view.bases);
            self.show(&done, &view, &latest);
            if view.is_complete(&latest) && latest.iter().all(|base| done.contains(&base.id)) {
                return Ok(Loaded::Complete(snapshots(&latest)));
            }
            // Foreign keys at work: no table before those it refers to, so all must be known.
            if destination.replica || view.initial_complete {
                let fresh: Vec<&BaseHeader> =
                    latest.iter().copied().filter(|base| started.insert(base.id)).collect();
                let fresh = match destination.replica {
                    true => fresh,
                    false => self.referenced_first(&destination.session, fresh).await?,
                };
                waiting.extend(fresh.into_iter().cloned());
            }
            while workers.len() < jobs {
                let Some(base) = waiting.pop_front() else { break };
                if base.purged {
                    return Err(pgtrail_log::Error::BasePurged { id: base.id }.into());
                }
                let destination = match idle.pop() {
                    Some(destination) => destination,
                    None => Destination::connect(&self.config.conninfo).await?,
                };
                let loader = Loader {
                    follower: Arc::clone(self.follower),
                    mapping: self.config.mapping.clone(),
                    seat: self.seat.clone(),
                    status: Arc::clone(self.status),
                    guard: self.guard.clone(),
                    keep: self.config.on_existing == OnExisting::Keep,
                };
                workers.spawn(async move {
                    let id = base.id;
                    loader.load(&destination, base).await?;
                    Ok((destination, id))
                });
            }
            tokio::select! {
                finished = workers.join_next(), if !workers.is_empty() => {
                    let finished = finished.transpose().map_err(|error| Error::Bug(error.to_string()))?;
                    if let Some((destination, id)) = finished.transpose()? {
                        if *self.shutdown.borrow() {
                            continue;
                        }
                        done.insert(id);
                        idle.push(destination);
                    }
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                () = stop_asked(self.shutdown) => {}
            }
            if *self.shutdown.borrow() {
                // Each ends after the transaction in hand.
                while let Some(finished) = workers.join_next().await {
                    finished.map_err(|error| Error::Bug(error.to_string()))??;
                }
                return Ok(Loaded::Stopped);
            }
        }
    }

    /// Brings the view up to date, if the log has something new about bases.
    async fn look(&self, view: &mut View) -> Result<(), Error> {
        let follower = Arc::clone(self.follower);
        let known = (view.looked, view.bases.len(), view.initial_complete);
        let looked = blocking(move || {
            // The mark first: every base it covers is seen after catching up.
            let mark = follower.mark()?;
            let there = (true, mark.bases_complete as usize, mark.initial_complete);
            if known == there {
                return Ok((mark, None));
            }
            follower.catch_up()?;
            let bases = follower.bases()?;
            let set = follower.initial_set()?;
            let view = View {
                looked: true,
                bases,
                tables: set.map(|set| set.tables).unwrap_or_default(),
                initial_complete: mark.initial_complete,
            };
            Ok((mark, Some(view)))
        });
        let (mark, fresh) = looked.await?;
        self.status.saw(&mark);
        if let Some(fresh) = fresh {
            *view = fresh;
        }
        Ok(())
    }

    fn show(&self, done: &HashSet<u64>, view: &View, latest: &[&BaseHeader]) {
        let loaded = latest.iter().filter(|base| done.contains(&base.id)).count();
        let rows = latest.iter().map(|base| base.rows).sum();
        self.status.set_base(loaded as u64, view.tables.len() as u64, rows);
    }

    /// The bases in such an order that a table comes after those it refers to.
    async fn referenced_first<'b>(
        &self,
        session: &Session,
        bases: Vec<&'b BaseHeader>,
    ) -> Result<Vec<&'b BaseHeader>, Error> {
        let mut tables = Vec::with_capacity(bases.len());
        for base in bases {
            let shape = Arc::new(base.shape.clone());
            let target = Target::load(session, &self.config.mapping, shape).await?;
            let own = target.table.oid;
            let refers: HashSet<u32> =
                target.table.foreign_keys.iter().map(|key| key.referenced).collect();
            tables.push((base, own, refers));
        }
        let mut ordered = Vec::with_capacity(tables.len());
        while !tables.is_empty() {
            let left: HashSet<u32> = tables.iter().map(|(_, own, _)| *own).collect();
            let ready = |(_, own, refers): &(&BaseHeader, u32, HashSet<u32>)| {
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

/// What the log holds of the base, as last seen.
#[derive(Debug, Default)]
struct View {
    looked: bool,
    bases: Vec<BaseHeader>,
    tables: Vec<BaseTable>,
    initial_complete: bool,
}

impl View {
    /// Whether every table of the initial set has its base in the log, for good.
    fn is_complete(&self, latest: &[&BaseHeader]) -> bool {
        let based: HashSet<u32> = latest.iter().map(|base| base.shape.relation).collect();
        self.initial_complete && self.tables.iter().all(|table| based.contains(&table.relation))
    }
}

/// Of each relation the newest base.
fn latest_by_relation(bases: &[BaseHeader]) -> Vec<&BaseHeader> {
    let mut latest: HashMap<u32, &BaseHeader> = HashMap::new();
    for base in bases {
        let known = latest.entry(base.shape.relation).or_insert(base);
        if base.id > known.id {
            *known = base;
        }
    }
    let mut latest: Vec<&BaseHeader> = latest.into_values().collect();
    latest.sort_unstable_by_key(|base| base.id);
    latest
}

fn snapshots(bases: &[&BaseHeader]) -> BaseSnapshots {
    let mut snapshots = BaseSnapshots::default();
    for base in bases {
        snapshots.insert(base.shape.relation, base.snapshot.clone());
    }
    snapshots
}

/// Runs log reading where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, pgtrail_log::Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Error::Bug(error.to_string()))??)
}

/// COPY has no form for a table without columns; its rows are but a number.
async fn load_rows_without_columns(
    session: &Session,
    target: &Target,
    base: &BaseHeader,
) -> Result<(u64, u64), Error> {
    let table = target.table.qualified();
    let sql = format!("insert into {table} select from pg_catalog.generate_series(1, $1)");
    let rows = base.rows.cast_signed();
    let inserted = session
        .execute_typed(&sql, &[(&rows, Type::INT8)])
        .await
        .map_err(|error| rejected(target, error))?;
    if inserted != base.rows && !target.may_suppress() {
        return Err(Error::Bug(format!("{inserted} of {} base rows were inserted", base.rows)));
    }
    Ok((base.blocks, base.rows))
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    next_block: u64,
    done: bool,
}

async fn read_progress(session: &Session, seat: &Seat) -> Result<HashMap<u64, Progress>, Error> {
    let sql = "select base_id, next_block, done from pgtrail.base_load \
         where pipeline = $1 and destination = $2";
    let rows = session
        .query_typed(sql, &[(&seat.pipeline, Type::TEXT), (&seat.destination, Type::TEXT)])
        .await?;
    let mut progress = HashMap::with_capacity(rows.len());
    for row in rows {
        let id: i64 = row.try_get(0)?;
        let next_block: i64 = row.try_get(1)?;
        let done = row.try_get(2)?;
        progress
            .insert(id.cast_unsigned(), Progress { next_block: next_block.cast_unsigned(), done });
    }
    Ok(progress)
}

/// Loads one table's base.
struct Loader {
    follower: Arc<LogFollower>,
    mapping: Mapping,
    seat: Seat,
    status: Arc<ApplierStatus>,
    guard: Guard,
    /// Rows that are there stay.
    keep: bool,
}

impl Loader {
    /// Loads what is left of `base`, or as much as there is time for.
    async fn load(&self, destination: &Destination, base: BaseHeader) -> Result<(), Error> {
        let session = &destination.session;
        let shape = Arc::new(base.shape.clone());
        let target = Target::load(session, &self.mapping, shape).await?;
        let base = Arc::new(base);
        let mut progress: Option<Progress> = None;
        while !*self.guard.shutdown.borrow() && !progress.is_some_and(|progress| progress.done) {
            let transaction = self.load_transaction(session, &target, &base, progress);
            progress = Some(self.guard.watch(destination.pid, transaction).await?);
        }
        Ok(())
    }

    /// Loads some blocks in one transaction. `progress` is where the last one left off.
    async fn load_transaction(
        &self,
        session: &Session,
        target: &Target,
        base: &Arc<BaseHeader>,
        progress: Option<Progress>,
    ) -> Result<Progress, Error> {
        fail::fail_point!("applier::base::begin");
        session.batch_execute("begin").await?;
        self.keep_seat(session).await?;
        let known = match progress {
            Some(progress) => progress,
            None => self.first_look(session, target, base).await?,
        };
        if known.done {
            session.batch_execute("rollback").await?;
            return Ok(known);
        }
        let (next, rows) = self.load_some(session, target, base, known.next_block).await?;
        let done = next >= base.blocks;
        self.advance(session, base, known.next_block, next, done).await?;
        fail::fail_point!("applier::base::before_commit");
        session.batch_execute("commit").await?;
        fail::fail_point!("applier::base::after_commit");
        self.status.loaded(next - known.next_block, rows);
        Ok(Progress { next_block: next, done })
    }

    /// Holds the checkpoint row until the end of this transaction: whoever takes the seat meanwhile
    /// waits for it before looking how far we are.
    async fn keep_seat(&self, session: &Session) -> Result<(), Error> {
        let sql = "select from pgtrail.checkpoint \
             where pipeline = $1 and destination = $2 and fence = $3 for share";
        let mine = session.query_typed(sql, &self.seat_parameters()).await?;
        if mine.is_empty() { Err(Error::Fenced) } else { Ok(()) }
    }

    fn seat_parameters(&self) -> [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] {
        [
            (&self.seat.pipeline, Type::TEXT),
            (&self.seat.destination, Type::TEXT),
            (&self.seat.fence, Type::INT8),
        ]
    }

    async fn first_look(
        &self,
        session: &Session,
        target: &Target,
        base: &BaseHeader,
    ) -> Result<Progress, Error> {
        let progress = read_progress(session, &self.seat).await?;
        if let Some(progress) = progress.get(&base.id) {
            return Ok(*progress);
        }
        let sql = format!("select from {} limit 1", target.only());
        if !self.keep && !session.query_typed(&sql, &[]).await?.is_empty() {
            return Err(Error::NotEmpty { relation: target.relation() });
        }
        let sql = "insert into pgtrail.base_load (pipeline, destination, base_id, relation) \
             values ($1, $2, $3, $4)";
        let (id, relation) = (base.id.cast_signed(), target.relation());
        session
            .execute_typed(
                sql,
                &[
                    (&self.seat.pipeline, Type::TEXT),
                    (&self.seat.destination, Type::TEXT),
                    (&id, Type::INT8),
                    (&relation, Type::TEXT),
                ],
            )
            .await?;
        Ok(Progress::default())
    }

    /// Copies blocks from `first` on; returns the next one and how many rows went in.
    async fn load_some(
        &self,
        session: &Session,
        target: &Target,
        base: &Arc<BaseHeader>,
        first: u64,
    ) -> Result<(u64, u64), Error> {
        if base.blocks == 0 {
            return Ok((0, 0));
        }
        if base.shape.columns.is_empty() {
            return load_rows_without_columns(session, target, base).await;
        }
        let staged = self.keep || needs_stage(target);
        let text = if staged {
            session.batch_execute(&create_stage(session, target).await?).await?;
            copy_to_stage(target, base.format)
        } else {
            copy_in(target, base.format)
        };
        let rejected = |error: tokio_postgres::Error| rejected(target, error);
        let statement = session.prepare(&text).await.map_err(rejected)?;
        let sink = session.copy_in::<_, Bytes>(&statement).await.map_err(rejected)?;
        let mut sink = std::pin::pin!(sink);
        let (mut next, mut bytes, mut rows) = (first, 0, 0);
        let mut ended = false;
        if base.format == CopyFormat::Binary {
            ended = sink.send(Bytes::from_static(COPY_HEADER)).await.is_err();
        }
        while !ended && next < base.blocks && bytes < TRANSACTION_BYTES {
            let block = self.block(base, next).await?;
            fail::fail_point!("applier::base::block");
            bytes += block.rows.len();
            rows += block.row_count;
            next += 1;
            let data = match base.format {
                CopyFormat::Binary => target.localised_rows(block.rows)?,
                CopyFormat::Text => block.rows,
            };
            // A failed send means that the server ended the COPY; finishing it brings the reason.
            ended = sink.send(data).await.is_err();
        }
        if base.format == CopyFormat::Binary && !ended {
            let mut trailer = BytesMut::new();
            trailer.extend_from_slice(COPY_TRAILER);
            let _ = sink.send(trailer.freeze()).await;
        }
        let copied = sink.finish().await.map_err(rejected)?;
        if copied != rows {
            // Only an ALWAYS trigger may leave rows out.
            if !target.may_suppress() {
                return Err(Error::Bug(format!("{copied} of {rows} base rows were copied")));
            }
        }
        if self.keep {
            let added = session.execute(&keep::empty_stage(target, STAGE), &[]).await;
            keep::tell(target, rows, added.map_err(rejected)?);
        } else if staged {
            session.batch_execute(&empty_stage(target)).await.map_err(rejected)?;
        }
        Ok((next, rows))
    }

    async fn block(&self, base: &Arc<BaseHeader>, n: u64) -> Result<BaseBlock, Error> {
        let (follower, base) = (Arc::clone(&self.follower), Arc::clone(base));
        blocking(move || follower.base_block(&base, n)).await
    }

    async fn advance(
        &self,
        session: &Session,
        base: &BaseHeader,
        from: u64,
        to: u64,
        done: bool,
    ) -> Result<(), Error> {
        fail::fail_point!("applier::base::before_progress");
        let sql = "update pgtrail.base_load set next_block = $5, done = $6, updated_at = now() \
             where pipeline = $1 and destination = $2 and base_id = $3 and next_block = $4";
        let (id, from, to) = (base.id.cast_signed(), from.cast_signed(), to.cast_signed());
        let mine = session
            .execute_typed(
                sql,
                &[
                    (&self.seat.pipeline, Type::TEXT),
                    (&self.seat.destination, Type::TEXT),
                    (&id, Type::INT8),
                    (&from, Type::INT8),
                    (&to, Type::INT8),
                    (&done, Type::BOOL),
                ],
            )
            .await?;
        if mine == 1 { Ok(()) } else { Err(Error::Fenced) }
    }
}

/// Rows of differing types, or with values for generated columns, go through a table of the source's
/// shape.
fn needs_stage(target: &Target) -> bool {
    target.columns.iter().any(|column| !column.same_type || column.generated)
}

const STAGE: &str = "pg_temp.pgtrail_stage";

async fn create_stage(session: &Session, target: &Target) -> Result<String, Error> {
    let mut columns = Vec::with_capacity(target.columns.len());
    for column in &target.columns {
        let sql = "select pg_catalog.format_type($1, -1)";
        let rows = session.query_typed(sql, &[(&column.source_type_oid, Type::OID)]).await?;
        let name: Option<String> = rows.first().map(|row| row.try_get(0)).transpose()?;
        let name = name.unwrap_or_else(|| column.cast.clone());
        columns.push(format!("{} {name}", column.name));
    }
    Ok(format!("create temp table pgtrail_stage ({}) on commit drop", columns.join(", ")))
}

fn copy_to_stage(target: &Target, format: CopyFormat) -> String {
    let names: Vec<&str> = target.columns.iter().map(|column| column.name.as_str()).collect();
    let format = match format {
        CopyFormat::Text => "text",
        CopyFormat::Binary => "binary",
    };
    format!("copy {STAGE} ({}) from stdin (format {format})", names.join(", "))
}

fn empty_stage(target: &Target) -> String {
    let names: Vec<&str> = written(target).map(|(_, column)| column.name.as_str()).collect();
    let names = names.join(", ");
    format!(
        "insert into {} ({names}) overriding system value select {names} from {STAGE}",
        target.table.qualified()
    )
}

/// An error about a table's rows names the table, and no value.
fn rejected(target: &Target, error: tokio_postgres::Error) -> Error {
    let error = pgtrail_postgres::Error::from(error);
    let about_rows = |sqlstate: &str| {
        matches!(sqlstate.get(..2), Some("22" | "23" | "42" | "44" | "0A" | "P0" | "54"))
    };
    match error.sqlstate() {
        Some(sqlstate) if about_rows(sqlstate) => Error::Rejected {
            relation: target.relation(),
            sqlstate: sqlstate.to_owned(),
            object: error.server().and_then(|server| server.constraint.clone()),
            position: None,
        },
        _ => error.into(),
    }
}
