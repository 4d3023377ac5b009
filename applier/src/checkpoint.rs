//! How far a destination is: the row in `pgtrail.checkpoint`, and its copy beside the log.
//!
//! The row is the truth: it changes in the same destination transaction as the data. The file beside the
//! log tells retention what may go. The invariant: the file never names a place that a crash of the
//! destination could take back, although our commits do not wait for its disk.

use std::path::PathBuf;
use std::time::Duration;

use pgtrail_log::{
    AppliedCheckpoint, Epoch, Identity, Incarnation, Lsn, Position, Timestamp, write_applied,
};
use pgtrail_postgres::Session;
use tokio::time::Instant;
use tokio_postgres::types::{PgLsn, Type};

use crate::Error;
use crate::group::End;
use crate::seat::Seat;

/// Changes the row, unless another applier raised the fence.
pub(crate) const ADVANCE: &str = "update pgtrail.checkpoint \
     set epoch = $4, commit_lsn = $5, end_lsn = $6, updated_at = now() \
     where pipeline = $1 and destination = $2 and fence = $3";

/// Types of its parameters.
pub(crate) const ADVANCE_TYPES: [Type; 6] =
    [Type::TEXT, Type::TEXT, Type::INT8, Type::INT8, Type::PG_LSN, Type::PG_LSN];

/// The row as read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Checkpoint {
    system_identifier: Option<String>,
    incarnation: Option<String>,
    /// The last transaction applied, if any.
    pub position: Option<Position>,
    /// Its end.
    pub end_lsn: Lsn,
}

impl Checkpoint {
    pub(crate) async fn read(
        session: &Session,
        pipeline: &str,
        destination: &str,
    ) -> Result<Option<Checkpoint>, Error> {
        let sql = "select system_identifier, incarnation, epoch, commit_lsn, end_lsn \
             from pgtrail.checkpoint where pipeline = $1 and destination = $2";
        let rows = session
            .query_typed(sql, &[(&pipeline, Type::TEXT), (&destination, Type::TEXT)])
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let epoch: i64 = row.try_get(2)?;
        let epoch = u32::try_from(epoch)
            .map_err(|_| Error::Bug("the checkpoint's epoch is out of range".to_owned()))?;
        let lsn = |pg_lsn: PgLsn| Lsn::new(pg_lsn.into());
        let commit_lsn = lsn(row.try_get(3)?);
        Ok(Some(Checkpoint {
            system_identifier: row.try_get(0)?,
            incarnation: row.try_get(1)?,
            position: (epoch != 0).then(|| Position::of_transaction(Epoch(epoch), commit_lsn)),
            end_lsn: lsn(row.try_get(4)?),
        }))
    }

    /// Refuses the state of another log.
    pub(crate) fn belongs_to(&self, identity: &Identity) -> Result<(), Error> {
        let (Some(system), Some(incarnation)) = (&self.system_identifier, &self.incarnation) else {
            return Ok(());
        };
        let same = *system == identity.system_identifier.to_string()
            && *incarnation == identity.incarnation.to_string();
        if same {
            return Ok(());
        }
        Err(Error::WrongDestination {
            system_identifier: identity.system_identifier,
            incarnation: identity.incarnation,
            found_system: system.clone(),
            found_incarnation: incarnation.clone(),
        })
    }
}

/// How often the copy beside the log is brought up to date.
const COPY_EVERY: Duration = Duration::from_millis(200);

/// Keeps the copy beside the log behind what the destination's disk holds.
#[derive(Debug)]
pub(crate) struct Copy {
    log_dir: PathBuf,
    applier: String,
    incarnation: Incarnation,
    /// What has been committed.
    committed: Reached,
    /// What was committed before this place in the destination's WAL.
    waiting: Option<(Reached, u64)>,
    written: Option<Reached>,
    looked: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reached {
    position: Option<Position>,
    end_lsn: Lsn,
    /// The last rebase up to which all are here.
    rebased: u64,
}

impl Copy {
    /// A copy of what `checkpoint` says, the base being loaded.
    pub(crate) fn new(
        log_dir: PathBuf,
        applier: String,
        incarnation: Incarnation,
        checkpoint: &Checkpoint,
    ) -> Copy {
        let committed =
            Reached { position: checkpoint.position, end_lsn: checkpoint.end_lsn, rebased: 0 };
        Copy {
            log_dir,
            applier,
            incarnation,
            committed,
            waiting: None,
            written: None,
            looked: None,
        }
    }

    pub(crate) fn committed(&mut self, end: &End) {
        let End { position, end_lsn, .. } = *end;
        self.committed = Reached { position: Some(position), end_lsn, ..self.committed };
    }

    /// All rebases up to this one are here, on the destination's disk.
    pub(crate) fn rebased(&mut self, id: u64) {
        self.committed.rebased = id;
    }

    /// Whether there is something to look after, sooner or later.
    pub(crate) fn is_behind(&self) -> bool {
        self.written != Some(self.committed)
    }

    /// Asks, now and then, how far the destination's disk is.
    pub(crate) async fn keep_up(&mut self, session: &Session) -> Result<(), Error> {
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= COPY_EVERY);
        if !due || !self.is_behind() {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let sql = "select pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()";
        let rows = session.query_typed(sql, &[]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let lsn = |column: usize| row.try_get::<_, PgLsn>(column).map(u64::from);
        let (inserted, flushed) = (lsn(0)?, lsn(1)?);
        match self.waiting {
            Some((reached, wal)) if wal <= flushed => {
                self.waiting = None;
                self.write(reached)?;
            }
            Some(_) => {}
            None => self.waiting = Some((self.committed, inserted)),
        }
        Ok(())
    }

    /// Makes everything committed durable at the destination, then brings the copy up to date.
    pub(crate) async fn flush(&mut self, session: &Session, seat: &Seat) -> Result<(), Error> {
        if !self.is_behind() {
            return Ok(());
        }
        // "local": a standby that does not answer must not keep us from stopping.
        session.batch_execute("begin; set local synchronous_commit = local").await?;
        let sql = "update pgtrail.checkpoint set updated_at = now() \
             where pipeline = $1 and destination = $2 and fence = $3";
        let mine = session
            .execute_typed(
                sql,
                &[
                    (&seat.pipeline, Type::TEXT),
                    (&seat.destination, Type::TEXT),
                    (&seat.fence, Type::INT8),
                ],
            )
            .await?;
        session.batch_execute(if mine == 1 { "commit" } else { "rollback" }).await?;
        if mine != 1 {
            return Err(Error::Fenced);
        }
        self.write(self.committed)
    }

    fn write(&mut self, reached: Reached) -> Result<(), Error> {
        fail::fail_point!("applier::checkpoint::before_copy");
        write_applied(
            &self.log_dir,
            &AppliedCheckpoint {
                applier: self.applier.clone(),
                incarnation: self.incarnation,
                position: reached.position.unwrap_or_default(),
                end_lsn: reached.end_lsn,
                initial_loaded: true,
                rebased: reached.rebased,
                updated: Timestamp::now(),
            },
        )?;
        fail::fail_point!("applier::checkpoint::after_copy");
        self.written = Some(reached);
        Ok(())
    }
}
