//! Runs plans at the destination: one transaction a group, statements pipelined.
//!
//! Owns the destination transaction and the prepared statements. Sets are tried first; when one meets a
//! conflict or touches another number of rows than it names, the group is rolled back and replayed row
//! by row, where each row is judged. The invariant: data and checkpoint are committed together, by the
//! holder of the seat, or not at all.

mod flight;
mod judge;
mod resolve;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pgtrail_log::{CopyFormat, Datum, Position, RelationVersionId};
use pgtrail_postgres::mapping::Mapping;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use crate::Error;
use crate::checkpoint::{ADVANCE, ADVANCE_TYPES};
use crate::conflict::{Intent, Policies, Resolution};
use crate::destination::{Destination, SCANS_OFF, SCANS_ON};
use crate::group::{End, Part};
use crate::plan::{CopyStep, Mode, RowStep, SetStep, Step, Targets, plan};
use crate::seat::Seat;
use crate::statement::encode::Value;
use crate::statement::{RowStatement, Shape, compile, copy_in, sql, truncate};
use crate::status::ApplierStatus;
use crate::target::Target;
use flight::{Check, Flights, Parameters};
use judge::{Failure, judge_error, judge_row};
use resolve::{Resolved, Told};

/// Single-row statements on their way at once: enough to hide the round trip, few enough that a failed
/// one is seen soon.
const ROWS_IN_FLIGHT: usize = 256;

/// Prepared statements kept. A table has a handful; beyond this they are all made again.
const STATEMENTS_KEPT: usize = 2000;

/// The targets that were found, shared with whoever plans ahead.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetCache(Arc<Mutex<Targets>>);

impl TargetCache {
    /// The targets of a part's relations, if all are known.
    pub(crate) fn of(&self, part: &Part) -> Option<Targets> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |id: &_| known.get(id).map(|target| (*id, Arc::clone(target)));
        part.relations.keys().map(find).collect()
    }

    fn get(&self, id: RelationVersionId) -> Option<Arc<Target>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn insert(&self, id: RelationVersionId, target: Arc<Target>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, target);
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A session that applies changes.
#[derive(Debug)]
pub(crate) struct Applying {
    pub destination: Destination,
    pub targets: TargetCache,
    seat: Seat,
    mapping: Mapping,
    status: Arc<ApplierStatus>,
    prepared: HashMap<(u64, Shape), Statement>,
    copies: HashMap<(u64, CopyFormat), Statement>,
    advance: Statement,
    transaction: Transaction,
    policies: Policies,
    told: Told,
}

/// The destination transaction that is open.
#[derive(Debug, Default)]
struct Transaction {
    open: bool,
    /// It holds earlier parts of a source transaction, so that it cannot simply be rolled back.
    has_parts: bool,
    scans_on: bool,
    changes: u64,
    /// Values that deferrable constraints must find unique at the end.
    collisions: Vec<Collision>,
    /// Conflicts in which the source's row won, in earlier parts and in this one.
    resolved: Resolved,
    resolved_in_part: Resolved,
}

/// See [`Shape::Collisions`].
#[derive(Debug)]
struct Collision {
    target: Arc<Target>,
    constraint: usize,
    intent: Intent,
    position: Position,
    /// Each value and whether it is binary.
    values: Vec<(Vec<u8>, bool)>,
}

impl Applying {
    pub(crate) async fn new(
        destination: Destination,
        seat: Seat,
        mapping: Mapping,
        status: Arc<ApplierStatus>,
        policies: Policies,
    ) -> Result<Applying, Error> {
        let advance = destination.session.prepare_typed(ADVANCE, &ADVANCE_TYPES).await?;
        Ok(Applying {
            destination,
            targets: TargetCache::default(),
            seat,
            mapping,
            status,
            prepared: HashMap::new(),
            copies: HashMap::new(),
            advance,
            transaction: Transaction::default(),
            policies,
            told: Told::default(),
        })
    }

    /// A session in whose open transaction parts are applied until somebody else commits it.
    pub(crate) async fn within(
        destination: Destination,
        seat: Seat,
        mapping: Mapping,
        status: Arc<ApplierStatus>,
        policies: Policies,
    ) -> Result<Applying, Error> {
        let mut applying = Applying::new(destination, seat, mapping, status, policies).await?;
        applying.transaction =
            Transaction { open: true, has_parts: true, ..Transaction::default() };
        Ok(applying)
    }

    /// Tells of the conflicts that such a transaction resolved, once it is committed.
    pub(crate) fn tell_resolved(&mut self) {
        let resolved = std::mem::take(&mut self.transaction.resolved);
        self.told.tell(&self.status, resolved);
    }

    /// Looks after what is left before such a transaction may be committed.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        self.check_collisions().await
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// How changes are planned in this session.
    pub(crate) fn mode(&self) -> Mode {
        if self.destination.replica { Mode::Sets } else { Mode::Rows }
    }

    /// The targets of a part's relations; those not known yet are looked up.
    pub(crate) async fn resolve(&mut self, part: &Part) -> Result<Targets, Error> {
        if let Some(targets) = self.targets.of(part) {
            return Ok(targets);
        }
        let mut targets = Targets::new();
        for (id, shape) in &part.relations {
            let target = match self.targets.get(*id) {
                Some(target) => target,
                None => {
                    let session = &self.destination.session;
                    let loaded = Target::load(session, &self.mapping, Arc::clone(shape)).await;
                    let place = first_use(part, *id);
                    Arc::new(loaded.map_err(|error| error.at(place))?)
                }
            };
            self.targets.insert(*id, Arc::clone(&target));
            targets.insert(*id, target);
        }
        Ok(targets)
    }

    /// Applies a part with the steps planned for it; commits when it ends a group.
    pub(crate) async fn apply(&mut self, part: &Part, steps: Vec<Step>) -> Result<(), Error> {
        let mut flights = Flights::default();
        self.begin(part, &mut flights).await.map_err(Failure::into_error)?;
        if let Err(failure) = self.run(&steps, part, self.mode(), flights).await {
            drop(steps);
            self.recover(part, failure).await?;
        }
        self.transaction.changes += part.changes.len() as u64;
        let resolved = std::mem::take(&mut self.transaction.resolved_in_part);
        self.transaction.resolved.add(resolved);
        match &part.end {
            Some(end) => self.commit(end, part.transactions).await,
            None => {
                self.transaction.has_parts = true;
                Ok(())
            }
        }
    }

    /// After a failed try: with fresh knowledge of the tables, or row by row.
    async fn recover(&mut self, part: &Part, failure: Failure) -> Result<(), Error> {
        let mut failure = failure;
        if let Failure::Stale { .. } = failure {
            // Somebody changed a table at the destination.
            self.undo(part).await?;
            self.targets.clear();
            self.prepared.clear();
            self.copies.clear();
            let targets = self.resolve(part).await?;
            let steps = plan(&part.changes, &targets, self.mode())?;
            failure = match self.run(&steps, part, self.mode(), Flights::default()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
        }
        let mut mode = Mode::Rows;
        // At most: row by row; again, rows of a table that was seen to leave out rows being judged one
        // by one; and once more by the policies.
        for _ in 0..4 {
            match failure {
                Failure::Fatal(error) => return Err(error),
                Failure::Stale { error, .. } => return Err(error),
                Failure::Conflict(conflict) => {
                    let resolved = mode == Mode::Resolving;
                    match crate::conflict::resolve(conflict, &self.policies, resolved) {
                        Resolution::Halt(error) => return Err(error),
                        Resolution::ApplyRemote => mode = Mode::Resolving,
                    }
                }
                Failure::Replay(target) => {
                    if let Some(target) = &target {
                        target.note_replay();
                    }
                    self.status.replayed();
                    tracing::info!(
                        relation = target.map(|target| target.relation()),
                        changes = part.changes.len(),
                        "replaying a group row by row"
                    );
                }
            }
            self.undo(part).await?;
            let targets = self.resolve(part).await?;
            let steps = plan(&part.changes, &targets, mode)?;
            failure = match self.run(&steps, part, mode, Flights::default()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
        }
        match failure {
            Failure::Conflict(conflict) => Err(conflict.into_error()),
            Failure::Fatal(error) | Failure::Stale { error, .. } => Err(error),
            Failure::Replay(_) => Err(Error::Bug("a replay asked for a replay".to_owned())),
        }
    }

    async fn begin(&mut self, part: &Part, flights: &mut Flights) -> Result<(), Failure> {
        fail::fail_point!("applier::session::begin");
        let session = &self.destination.session;
        if !self.transaction.open {
            flights.control(session, "begin").await?;
            self.transaction = Transaction { open: true, ..Transaction::default() };
        }
        if part.end.is_none() || self.transaction.has_parts {
            flights.control(session, "savepoint part").await?;
        }
        Ok(())
    }

    /// Back to where this part began.
    async fn undo(&mut self, part: &Part) -> Result<(), Error> {
        let session = &self.destination.session;
        if part.end.is_none() || self.transaction.has_parts {
            session.batch_execute("rollback to savepoint part").await?;
        } else {
            session.batch_execute("rollback").await?;
            session.batch_execute("begin").await?;
        }
        // The setting went back with the rest.
        self.transaction.scans_on = false;
        self.transaction.resolved_in_part = Resolved::default();
        self.transaction.collisions.retain(|collision| {
            part.changes.first().is_some_and(|(first, _)| collision.position < *first)
        });
        Ok(())
    }

    async fn commit(&mut self, end: &End, transactions: u64) -> Result<(), Error> {
        self.check_collisions().await?;
        fail::fail_point!("applier::session::before_commit");
        flight::commit(&self.destination.session).await?;
        let changes = self.transaction.changes;
        let resolved = std::mem::take(&mut self.transaction.resolved);
        self.transaction = Transaction::default();
        self.told.tell(&self.status, resolved);
        self.status.applied(transactions, changes, end.commit_time);
        self.status.reached(Some(end.position), end.end_lsn);
        Ok(())
    }

    /// Runs steps, and moves the checkpoint when they end a group. `flights` are statements sent before.
    async fn run(
        &mut self,
        steps: &[Step],
        part: &Part,
        mode: Mode,
        mut flights: Flights,
    ) -> Result<(), Failure> {
        if self.prepared.len() + self.copies.len() > STATEMENTS_KEPT {
            self.prepared.clear();
            self.copies.clear();
        }
        let mut done = self.send(steps, mode, &mut flights).await;
        if let (Ok(()), Some(end)) = (&done, &part.end) {
            done = self.advance(end, &mut flights).await;
        }
        // What was sent before a failure has the first word: the rest only failed with it.
        let landed = flights.land(0).await;
        let place = part.changes.first().map(|(position, _)| *position);
        landed.and(done).map_err(|failure| failure.at(place))
    }

    /// Moves the checkpoint, unless another applier raised the fence.
    async fn advance(&self, end: &End, flights: &mut Flights) -> Result<(), Failure> {
        fail::fail_point!("applier::session::before_checkpoint");
        let parameters = vec![
            Bytes::copy_from_slice(self.seat.pipeline.as_bytes()),
            Bytes::copy_from_slice(self.seat.destination.as_bytes()),
            Bytes::copy_from_slice(&self.seat.fence.to_be_bytes()),
            Bytes::copy_from_slice(&i64::from(end.position.epoch.0).to_be_bytes()),
            Bytes::copy_from_slice(&end.position.commit_lsn.as_u64().to_be_bytes()),
            Bytes::copy_from_slice(&end.end_lsn.as_u64().to_be_bytes()),
        ];
        let session = &self.destination.session;
        flights.send(session, &self.advance, Parameters::Set(parameters), Check::Fence).await
    }

    async fn send(
        &mut self,
        steps: &[Step],
        mode: Mode,
        flights: &mut Flights,
    ) -> Result<(), Failure> {
        for step in steps {
            fail::fail_point!("applier::session::statement");
            match step {
                Step::Set(step) => self.send_set(step, flights).await?,
                Step::Copy(step) => self.send_copy(step, flights).await?,
                Step::Rows(rows) => self.send_rows(rows, mode, flights).await?,
                Step::Truncate { targets, restart_identity, position } => {
                    flights.land(0).await?;
                    self.truncate(targets, *restart_identity, *position).await?;
                }
            }
        }
        Ok(())
    }

    async fn send_set(&mut self, step: &SetStep, flights: &mut Flights) -> Result<(), Failure> {
        self.turn_scans(step.target.key.is_none() && !is_insert(&step.shape), flights).await?;
        let statement = self.prepare(&step.target, &step.shape).await?;
        let check = Check::Set { target: Arc::clone(&step.target), rows: step.rows };
        let parameters = Parameters::Set(step.parameters.clone());
        flights.send(&self.destination.session, &statement, parameters, check).await
    }

    async fn send_copy(&mut self, step: &CopyStep, flights: &mut Flights) -> Result<(), Failure> {
        // The driver cannot recover from a COPY that is refused because of an earlier failure.
        flights.land(0).await?;
        let target = &step.target;
        let session = &self.destination.session;
        let statement = match self.copies.get(&(target.id, step.format)) {
            Some(statement) => statement.clone(),
            None => {
                let text = copy_in(target, step.format);
                let prepared = session.prepare(&text).await;
                let statement = prepared.map_err(|error| judge_error(target, error))?;
                self.copies.insert((target.id, step.format), statement.clone());
                statement
            }
        };
        let copied = flight::copy(session, &statement, step.data.clone()).await;
        match copied.map_err(|error| judge_error(target, error))? {
            rows if rows == step.rows => Ok(()),
            _ => Err(Failure::Replay(Some(Arc::clone(target)))),
        }
    }

    async fn send_rows(
        &mut self,
        rows: &[RowStep],
        mode: Mode,
        flights: &mut Flights,
    ) -> Result<(), Failure> {
        for row in rows {
            let Some(statement) = compile(&row.target, &row.change) else {
                let what = "a change came without the row image it needs";
                let hint = "Give the source's table a replica identity, and copy it anew.";
                let error = row.target.mismatch(what, hint).at(Some(row.position));
                return Err(Failure::Fatal(error));
            };
            self.turn_scans(
                row.target.key.is_none() && statement.intent != Intent::Insert,
                flights,
            )
            .await?;
            self.note_collisions(row, &statement);
            if mode == Mode::Resolving {
                flights.land(0).await?;
                self.resolve_row(row, statement).await?;
                continue;
            }
            let one_by_one = row.target.suppresses()
                || mode == Mode::Rows && row.target.has_identity_beside_key();
            if one_by_one {
                flights.land(0).await?;
                self.run_row(row, statement).await?;
                continue;
            }
            let prepared = self.prepare(&row.target, &statement.shape).await?;
            let check = Check::Row {
                target: Arc::clone(&row.target),
                position: row.position,
                intent: statement.intent,
                judge: mode == Mode::Rows,
            };
            let parameters = Parameters::Row(statement);
            flights.send(&self.destination.session, &prepared, parameters, check).await?;
            let large = crate::group::image_bytes(&row.change) > LARGE_ROW;
            flights.land(if large { 0 } else { ROWS_IN_FLIGHT }).await?;
        }
        Ok(())
    }

    /// Runs a row statement and waits for it, where no row touched may still mean that all is well.
    async fn run_row(&mut self, row: &RowStep, statement: RowStatement) -> Result<(), Failure> {
        let touched = self.execute_row(row, &statement).await?;
        if touched == 0 && statement.intent == Intent::Insert && row.target.may_suppress() {
            // A unique violation would have been an error: a trigger or rule left the row out.
            return Ok(());
        }
        if touched == 0 && statement.intent != Intent::Insert {
            let found = self.execute_row(row, &statement.find(&row.target)).await?;
            if found > 0
                && statement.intent == Intent::Update
                && row.target.has_identity_beside_key()
            {
                let replaced = self.execute_row(row, &statement.replacement(&row.target)).await?;
                return judge_row(&row.target, row.position, Intent::Update, replaced);
            }
            if found > 0 && row.target.may_suppress() {
                return Ok(());
            }
        }
        judge_row(&row.target, row.position, statement.intent, touched)
    }

    async fn execute_row(
        &mut self,
        row: &RowStep,
        statement: &RowStatement,
    ) -> Result<u64, Failure> {
        let prepared = self.prepare(&row.target, &statement.shape).await?;
        let values: Vec<Value<'_>> = statement.values().into_iter().map(Value).collect();
        let done = self.destination.session.execute_raw(&prepared, values).await;
        done.map_err(|error| {
            judge::judge_row_error(&row.target, row.position, statement.intent, error)
        })
    }

    async fn truncate(
        &mut self,
        targets: &[Arc<Target>],
        restart_identity: bool,
        position: Position,
    ) -> Result<(), Failure> {
        let text = truncate(targets.iter().map(Arc::as_ref), restart_identity);
        let done = self.destination.session.batch_execute(&text).await;
        done.map_err(|error| judge::judge_truncate(targets, position, error))
    }

    async fn prepare(&mut self, target: &Arc<Target>, shape: &Shape) -> Result<Statement, Failure> {
        let key = (target.id, shape.clone());
        if let Some(statement) = self.prepared.get(&key) {
            return Ok(statement.clone());
        }
        let sql = sql(target, shape);
        let types: Vec<Type> = sql.types.iter().map(|oid| type_of(*oid)).collect();
        let prepared = self.destination.session.prepare_typed(&sql.text, &types).await;
        let statement = prepared.map_err(|error| judge_error(target, error))?;
        self.prepared.insert(key, statement.clone());
        Ok(statement)
    }

    async fn turn_scans(&mut self, on: bool, flights: &mut Flights) -> Result<(), Failure> {
        if self.transaction.scans_on == on {
            return Ok(());
        }
        let session = &self.destination.session;
        flights.land(0).await?;
        let done = session.batch_execute(if on { SCANS_ON } else { SCANS_OFF }).await;
        done.map_err(|error| Failure::Fatal(error.into()))?;
        self.transaction.scans_on = on;
        Ok(())
    }

    fn note_collisions(&mut self, row: &RowStep, statement: &RowStatement) {
        let new = match &row.change {
            pgtrail_log::Change::Insert { new, .. } | pgtrail_log::Change::Update { new, .. } => {
                new
            }
            _ => return,
        };
        for (constraint, found) in row.target.deferrable.iter().enumerate() {
            let value = |number: usize| match new.iter().nth(number)? {
                Datum::Text(value) => Some((value.to_vec(), false)),
                Datum::Binary(value) => Some((value.to_vec(), true)),
                // Null collides with nothing; what was not sent did not change.
                Datum::Null | Datum::Unchanged => None,
            };
            let values = found.columns.iter().map(|(number, _)| value(*number));
            if let Some(values) = values.collect::<Option<Vec<_>>>() {
                self.transaction.collisions.push(Collision {
                    target: Arc::clone(&row.target),
                    constraint,
                    intent: statement.intent,
                    position: row.position,
                    values,
                });
            }
        }
    }

    /// What role replica leaves unenforced is looked after here, where the source would: at the end.
    async fn check_collisions(&mut self) -> Result<(), Error> {
        for collision in std::mem::take(&mut self.transaction.collisions) {
            let shape = Shape::Collisions { constraint: collision.constraint };
            let statement =
                self.prepare(&collision.target, &shape).await.map_err(Failure::into_error)?;
            let values: Vec<Value<'_>> = collision
                .values
                .iter()
                .map(|(value, binary)| {
                    Value(if *binary { Datum::Binary(value) } else { Datum::Text(value) })
                })
                .collect();
            let rows = self.destination.session.execute_raw(&statement, values).await?;
            if rows > 1 {
                let name = collision.target.deferrable.get(collision.constraint);
                let name = name.map(|found| found.name.clone());
                return Err(judge::collided(
                    &collision.target,
                    collision.position,
                    collision.intent,
                    name,
                ));
            }
        }
        Ok(())
    }
}

/// A row above this waits for nothing and lets nothing wait: it is in memory several times.
const LARGE_ROW: usize = 1 << 20;

fn is_insert(shape: &Shape) -> bool {
    matches!(shape, Shape::InsertSet { .. } | Shape::Insert { .. })
}

fn first_use(part: &Part, id: pgtrail_log::RelationVersionId) -> Option<Position> {
    let uses = |change: &pgtrail_log::Change| crate::group::relations_of(change).contains(&id);
    part.changes.iter().find(|(_, change)| uses(change)).map(|(position, _)| *position)
}

/// The driver's name for a type. Only the oid goes to the server.
fn type_of(oid: u32) -> Type {
    Type::from_oid(oid).unwrap_or_else(|| {
        let kind = tokio_postgres::types::Kind::Simple;
        Type::new(String::new(), oid, kind, String::new())
    })
}
