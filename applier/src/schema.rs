//! The schema at the destination, made from the log.
//!
//! Owns its two halves: what the rows need, before the base is loaded, and all else after it. Nothing
//! is kept of how far a half is: each try compares what is there with what the log holds, and makes
//! what is missing. So a kill at any moment costs a comparison. The invariant: a half is noted as done
//! only when nothing of it is missing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgtrail_log::LogFollower;
use pgtrail_postgres::schema::diff::{self, MissingRoles, Options, Phase, Plan, Statement};
use pgtrail_postgres::schema::snapshot::{Class, Snapshot};
use pgtrail_postgres::{Session, SessionSettings, connect};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_postgres::types::Type;

use crate::Error;
use crate::config::{ApplierConfig, OnExisting};
use crate::guard::stop_asked;
use crate::seat::Seat;

/// How often the log is looked at while the reader has not stored the schema yet.
const POLL: Duration = Duration::from_millis(200);

/// Statements of one transaction. A statement locks what it makes, and the server's lock table holds
/// some thousands (`max_locks_per_transaction` times `max_connections`).
const STATEMENTS: usize = 200;

/// How many names an error lists.
const NAMES: usize = 5;

/// How far the schema is, as the destination has it in `pgtrail.checkpoint`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    /// Nothing of the selection was there, and we have begun.
    Begun,
    /// What the rows need is there.
    ForRows,
    /// All of it.
    Complete,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Stage::Begun => "begun",
            Stage::ForRows => "for rows",
            Stage::Complete => "complete",
        }
    }

    fn parse(text: &str) -> Result<Stage, Error> {
        [Stage::Begun, Stage::ForRows, Stage::Complete]
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| Error::Bug(format!("schema stage {text:?}")))
    }
}

/// Which half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Half {
    /// Before the base.
    ForRows,
    /// After it.
    Rest,
}

/// What making the schema needs.
pub(crate) struct Making<'a> {
    pub config: &'a ApplierConfig,
    pub follower: &'a Arc<LogFollower>,
    pub seat: &'a Seat,
    pub wake: &'a Arc<Notify>,
    pub shutdown: &'a mut watch::Receiver<bool>,
}

impl Making<'_> {
    /// Makes what is missing of a half. `false`: a stop was asked for.
    pub(crate) async fn run(&mut self, half: Half) -> Result<bool, Error> {
        let settings = Plan::SESSION
            .iter()
            .fold(SessionSettings::pinned(), |settings, (name, value)| settings.with(name, value));
        let session = connect(&self.config.conninfo, settings.clone()).await?;
        let stage = self.stage(&session).await?;
        let wanted = match half {
            Half::ForRows => Stage::ForRows,
            Half::Rest => Stage::Complete,
        };
        if stage >= Some(wanted) {
            return Ok(true);
        }
        let Some(schema) = self.schema_of_log().await? else { return Ok(false) };
        let present = Snapshot::read(&session).await?;
        if stage.is_none() {
            let kept = match self.config.on_existing {
                OnExisting::Fail => refuse_existing(&present, &schema).map(|()| Vec::new())?,
                OnExisting::Keep => diff::namesakes(&present, &schema, &self.config.mapping),
            };
            self.begin(&session, &kept).await?;
        }
        let options = Options {
            mapping: self.config.mapping.clone(),
            missing_roles: MissingRoles::ApplyingRole,
            leave: self.kept(&session).await?,
            ..Options::default()
        };
        let plan = diff::diff(&present, &schema, &options);
        drop((present, schema));
        refuse_unsupported(&plan)?;
        if half == Half::ForRows {
            for note in &plan.notes {
                tracing::info!(object = note.object, note = note.text, "schema");
            }
        }
        let due = |phase: Phase| match half {
            Half::ForRows => phase == Phase::BeforeRows,
            Half::Rest => true,
        };
        let statements: Vec<Statement> =
            plan.statements.into_iter().filter(|statement| due(statement.phase)).collect();
        tracing::info!(statements = statements.len(), ?half, "making the schema");
        if !self.make(&session, &settings, statements).await? {
            return Ok(false);
        }
        self.note(&session, wanted).await?;
        Ok(true)
    }

    /// Runs the statements, those of one wave of keys side by side. `false`: a stop was asked for.
    async fn make(
        &self,
        session: &Session,
        settings: &SessionSettings,
        statements: Vec<Statement>,
    ) -> Result<bool, Error> {
        let mut left = VecDeque::from(statements);
        while let Some(first) = left.front() {
            if *self.shutdown.borrow() {
                return Ok(false);
            }
            let (phase, wave) = (first.phase, first.wave);
            let together = |statement: &Statement| match phase {
                Phase::Keys => {
                    (statement.phase, statement.wave) == (phase, wave) && statement.table.is_some()
                }
                _ => statement.phase == phase && statement.transactional,
            };
            let count = left.iter().take_while(|statement| together(statement)).count();
            match (phase, count) {
                (_, 0) => {
                    if let Some(alone) = left.pop_front() {
                        execute(session, &alone).await?;
                    }
                }
                (Phase::Keys, _) => {
                    self.side_by_side(settings, left.drain(..count).collect()).await?;
                }
                (_, count) => {
                    let batch: Vec<Statement> = left.drain(..count.min(STATEMENTS)).collect();
                    session.batch_execute("begin").await?;
                    for statement in &batch {
                        execute(session, statement).await?;
                    }
                    session.batch_execute("commit").await?;
                }
            }
        }
        Ok(true)
    }

    /// Keys and indexes: one table's in order, several tables at once.
    async fn side_by_side(
        &self,
        settings: &SessionSettings,
        statements: Vec<Statement>,
    ) -> Result<(), Error> {
        let mut by_table: HashMap<Option<String>, Vec<Statement>> = HashMap::new();
        for statement in statements {
            by_table.entry(statement.table.clone()).or_default().push(statement);
        }
        let queue: Queue = Arc::new(Mutex::new(by_table.into_values().collect()));
        let mut workers = JoinSet::new();
        for _ in 0..self.config.copy_jobs.max(1) {
            let (queue, shutdown) = (Arc::clone(&queue), self.shutdown.clone());
            let (conninfo, settings) = (self.config.conninfo.clone(), settings.clone());
            workers.spawn(async move {
                let session = connect(&conninfo, settings).await?;
                while !*shutdown.borrow() {
                    let Some(statements) = next_table(&queue) else { break };
                    for statement in &statements {
                        execute(&session, statement).await?;
                    }
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|error| Error::Bug(error.to_string()))??;
        }
        Ok(())
    }

    /// The schema the log holds, as soon as it does; `None` when a stop was asked for.
    async fn schema_of_log(&mut self) -> Result<Option<Snapshot>, Error> {
        loop {
            let follower = Arc::clone(self.follower);
            let read = tokio::task::spawn_blocking(move || {
                follower.catch_up()?;
                follower.schema()
            });
            if let Some(json) = read.await.map_err(|error| Error::Bug(error.to_string()))?? {
                let schema = Snapshot::from_json(&json)
                    .map_err(|source| Error::SchemaUnread { what: source.to_string() })?;
                return Ok(Some(schema));
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                () = stop_asked(self.shutdown) => return Ok(None),
            }
        }
    }

    async fn stage(&self, session: &Session) -> Result<Option<Stage>, Error> {
        let sql = "select schema_stage from pgtrail.checkpoint \
             where pipeline = $1 and destination = $2";
        let rows = session
            .query_typed(
                sql,
                &[(&self.seat.pipeline, Type::TEXT), (&self.seat.destination, Type::TEXT)],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let stage: Option<String> = row.try_get(0)?;
        stage.as_deref().map(Stage::parse).transpose()
    }

    /// Notes that the first statement comes next, and what was there before it: later nobody could
    /// tell what was made here from what somebody else made.
    async fn begin(&self, session: &Session, kept: &[String]) -> Result<(), Error> {
        tracing::info!(kept = kept.len(), "making the schema begins");
        let sql = "update pgtrail.checkpoint set schema_stage = $4, schema_kept = $5, \
             updated_at = now() where pipeline = $1 and destination = $2 and fence = $3";
        let mine = session
            .execute_typed(
                sql,
                &[
                    (&self.seat.pipeline, Type::TEXT),
                    (&self.seat.destination, Type::TEXT),
                    (&self.seat.fence, Type::INT8),
                    (&Stage::Begun.as_str(), Type::TEXT),
                    (&kept, Type::TEXT_ARRAY),
                ],
            )
            .await?;
        if mine == 1 { Ok(()) } else { Err(Error::Fenced) }
    }

    async fn kept(&self, session: &Session) -> Result<HashSet<String>, Error> {
        let sql = "select schema_kept from pgtrail.checkpoint \
             where pipeline = $1 and destination = $2";
        let rows = session
            .query_typed(
                sql,
                &[(&self.seat.pipeline, Type::TEXT), (&self.seat.destination, Type::TEXT)],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(HashSet::new()) };
        let kept: Option<Vec<String>> = row.try_get(0)?;
        Ok(kept.unwrap_or_default().into_iter().collect())
    }

    async fn note(&self, session: &Session, stage: Stage) -> Result<(), Error> {
        let sql = "update pgtrail.checkpoint set schema_stage = $4, updated_at = now() \
             where pipeline = $1 and destination = $2 and fence = $3";
        let mine = session
            .execute_typed(
                sql,
                &[
                    (&self.seat.pipeline, Type::TEXT),
                    (&self.seat.destination, Type::TEXT),
                    (&self.seat.fence, Type::INT8),
                    (&stage.as_str(), Type::TEXT),
                ],
            )
            .await?;
        if mine == 1 { Ok(()) } else { Err(Error::Fenced) }
    }
}

/// The statements of tables that nobody works on yet.
type Queue = Arc<Mutex<VecDeque<Vec<Statement>>>>;

fn next_table(queue: &Queue) -> Option<Vec<Statement>> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.pop_front()
}

async fn execute(session: &Session, statement: &Statement) -> Result<(), Error> {
    tracing::debug!(object = statement.object, "making");
    session.batch_execute(&statement.sql).await.map_err(|error| {
        let error = pgtrail_postgres::Error::from(error);
        match error.server() {
            Some(server) if error.disposition() == pgtrail_log::Disposition::Halt => {
                Error::SchemaRefused {
                    object: statement.object.clone(),
                    sqlstate: server.sqlstate.clone(),
                    message: server.message.clone(),
                }
            }
            _ => error.into(),
        }
    })
}

/// Nothing of the selection may be there: what is there is somebody's.
fn refuse_existing(present: &Snapshot, schema: &Snapshot) -> Result<(), Error> {
    let relations = |snapshot: &'_ Snapshot| -> HashSet<String> {
        let relations = snapshot.objects.iter().filter(|object| object.id.class == Class::Relation);
        relations
            .map(|object| format!("{}.{}", object.schema.as_deref().unwrap_or(""), object.name))
            .collect()
    };
    let (present, wanted) = (relations(present), relations(schema));
    let mut found: Vec<&String> = present.intersection(&wanted).collect();
    found.sort_unstable();
    let mut found = found.into_iter();
    let names: Vec<&str> = found.by_ref().take(NAMES).map(String::as_str).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(Error::SchemaExists { names: names.join(", "), more: found.count() }),
    }
}

fn refuse_unsupported(plan: &Plan) -> Result<(), Error> {
    let mut unsupported = plan.unsupported.iter();
    let names: Vec<String> = unsupported
        .by_ref()
        .take(NAMES)
        .map(|found| format!("{} ({})", found.object, found.reason))
        .collect();
    match names.is_empty() {
        true => Ok(()),
        false => {
            Err(Error::SchemaUnsupported { names: names.join(", "), more: unsupported.count() })
        }
    }
}
