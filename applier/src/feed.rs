//! Reads the log ahead of the destination, on a thread of its own.
//!
//! Owns the cursor, so it decides what has been durable long enough to be applied: nothing beyond the
//! log's mark ever leaves here. The invariant: parts come out in log order, and what is under way
//! between log and destination stays within a budget of bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pgtrail_log::{
    Body, ChangeRecord, LogCursor, LogFollower, LoggedTransaction, Lsn, Position, RelationVersion,
    RelationVersionId,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::Error;
use crate::config::GroupBounds;
use crate::group::{BaseSnapshots, Filling, Part, image_bytes, relations_of};
use crate::status::ApplierStatus;

/// How often the mark is looked at when nobody calls.
const POLL: Duration = Duration::from_millis(100);

/// Parts that wait to be applied. Reading is faster than applying: one waiting is enough to keep the
/// destination busy.
const PARTS_WAITING: usize = 1;

/// What may be under way between log and destination, in KiB: a few groups.
const BUDGET_KIB: u32 = 32 * 1024;

/// What comes out of a feed.
#[derive(Debug)]
pub(crate) enum Fed {
    /// Something to apply, and the share of the budget it holds.
    Part(Part, OwnedSemaphorePermit),
    /// Everything up to here has been handed out.
    Idle { end_lsn: Lsn },
    /// The place to stop at has been handed out.
    Stopped,
}

/// Where the log is to be read, and how far.
#[derive(Clone, Debug)]
pub(crate) struct FeedConfig {
    pub from: Option<Position>,
    pub stop_at: Option<Lsn>,
    pub bounds: GroupBounds,
    pub snapshots: BaseSnapshots,
}

/// The receiving end. Dropping it ends the thread at its next step.
#[derive(Debug)]
pub(crate) struct Feed {
    receiver: mpsc::Receiver<Result<Fed, Error>>,
}

impl Feed {
    /// Starts to read.
    pub(crate) fn start(
        follower: Arc<LogFollower>,
        config: FeedConfig,
        wake: Arc<Notify>,
        status: Arc<ApplierStatus>,
    ) -> Feed {
        let (sender, receiver) = mpsc::channel(PARTS_WAITING);
        let handle = Handle::current();
        tokio::task::spawn_blocking(move || {
            let reader = Reader {
                follower: &follower,
                handle,
                wake,
                status,
                filling: Filling::new(config.bounds),
                config,
                shapes: HashMap::new(),
                budget: Arc::new(Semaphore::new(BUDGET_KIB as usize)),
                sender: sender.clone(),
            };
            if let Err(Ended::Failed(error)) = reader.run() {
                // When nobody listens any more there is nobody to tell.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Feed { receiver }
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Result<Fed, Error> {
        match self.receiver.recv().await {
            Some(fed) => fed,
            None => Err(Error::Bug("the feed ended without a word".to_owned())),
        }
    }
}

/// Why the thread ends.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    Failed(Error),
}

impl From<pgtrail_log::Error> for Ended {
    fn from(error: pgtrail_log::Error) -> Ended {
        Ended::Failed(error.into())
    }
}

struct Reader<'l> {
    follower: &'l LogFollower,
    handle: Handle,
    wake: Arc<Notify>,
    status: Arc<ApplierStatus>,
    config: FeedConfig,
    filling: Filling,
    shapes: HashMap<RelationVersionId, Arc<RelationVersion>>,
    budget: Arc<Semaphore>,
    sender: mpsc::Sender<Result<Fed, Error>>,
}

impl Reader<'_> {
    fn run(mut self) -> Result<(), Ended> {
        let mut cursor = self.follower.cursor_after(self.config.from)?;
        let mut idle_at = None;
        loop {
            // Before the blocks: everything this mark covers has been read once there are no more.
            let mark = self.follower.mark()?;
            self.status.saw(&mark);
            if self.read_to_end(&mut cursor)?.is_break() {
                return self.hand_over(Fed::Stopped);
            }
            if self.config.stop_at.is_some_and(|stop| mark.end_lsn >= stop) {
                return self.hand_over(Fed::Stopped);
            }
            if idle_at != Some(mark.end_lsn) {
                idle_at = Some(mark.end_lsn);
                self.hand_over(Fed::Idle { end_lsn: mark.end_lsn })?;
            }
            self.wait(mark.seq)?;
        }
    }

    /// Waits until the log is longer, or there may be something else to see.
    fn wait(&self, seq: u64) -> Result<(), Ended> {
        if self.sender.is_closed() {
            return Err(Ended::Unheard);
        }
        if self.follower.mark()?.seq == seq {
            let called = tokio::time::timeout(POLL, self.wake.notified());
            let _ = self.handle.block_on(called);
        }
        Ok(())
    }

    /// Hands out what is durable. Breaks when the place to stop at was passed.
    fn read_to_end(
        &mut self,
        cursor: &mut LogCursor<'_>,
    ) -> Result<std::ops::ControlFlow<()>, Ended> {
        while let Some(block) = cursor.next_block()? {
            for transaction in block.transactions() {
                let transaction = transaction?;
                let beyond = |stop: Lsn| transaction.header.commit_lsn > stop;
                if self.config.stop_at.is_some_and(beyond) {
                    self.hand_over_filling()?;
                    return Ok(std::ops::ControlFlow::Break(()));
                }
                self.take(transaction)?;
            }
        }
        // Never wait for more while there is something to apply.
        self.hand_over_filling()?;
        Ok(std::ops::ControlFlow::Continue(()))
    }

    fn take(&mut self, transaction: LoggedTransaction) -> Result<(), Ended> {
        let LoggedTransaction { header, position, body } = transaction;
        match body {
            Body::Inline(records) => {
                for record in records {
                    self.push(&header, position, record?)?;
                }
                self.filling.part.finish(position, &header);
                if self.filling.is_full() {
                    self.hand_over_filling()?;
                }
            }
            Body::Pending(reference) => {
                // It gets a destination transaction of its own: parts are cut inside it.
                self.hand_over_filling()?;
                for n in 0..reference.chunks {
                    // A very large part holds the whole budget: nothing is read before it is applied.
                    self.await_budget()?;
                    for record in self.follower.pending_chunk(&reference, n)? {
                        let bytes = image_bytes(&record.change);
                        // A very large row is a part alone.
                        if bytes >= self.config.bounds.bytes && !self.filling.part.is_empty() {
                            self.hand_over_filling()?;
                        }
                        self.push(&header, position, record)?;
                        if self.filling.is_full() {
                            self.hand_over_filling()?;
                        }
                    }
                }
                self.filling.part.finish(position, &header);
                self.hand_over_filling()?;
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        header: &pgtrail_log::TransactionHeader,
        position: Position,
        record: ChangeRecord,
    ) -> Result<(), Ended> {
        let place = Position { ordinal: record.ordinal, ..position };
        let (shapes, follower) = (&mut self.shapes, self.follower);
        let mut shape = |id: RelationVersionId| -> Result<_, pgtrail_log::Error> {
            if let Some(shape) = shapes.get(&id) {
                return Ok(Arc::clone(shape));
            }
            let shape = follower.relation(id)?;
            shapes.insert(id, Arc::clone(&shape));
            Ok(shape)
        };
        let Some(change) = self.config.snapshots.remaining(header, record, &mut shape)? else {
            return Ok(());
        };
        for id in relations_of(&change) {
            if !self.filling.part.relations.contains_key(id) {
                self.filling.part.relations.insert(*id, shape(*id)?);
            }
        }
        self.filling.part.push(place, change);
        Ok(())
    }

    fn hand_over_filling(&mut self) -> Result<(), Ended> {
        let part = self.filling.take();
        if part.is_empty() {
            return Ok(());
        }
        let kib = u32::try_from(part.bytes / 1024 + 1).unwrap_or(BUDGET_KIB).min(BUDGET_KIB);
        let budget = Arc::clone(&self.budget);
        let permit = self.handle.block_on(budget.acquire_many_owned(kib));
        let permit = permit.map_err(|_| Ended::Unheard)?;
        self.hand_over(Fed::Part(part, permit))
    }

    fn await_budget(&self) -> Result<(), Ended> {
        let permit = self.handle.block_on(self.budget.acquire());
        permit.map(drop).map_err(|_| Ended::Unheard)
    }

    fn hand_over(&self, fed: Fed) -> Result<(), Ended> {
        self.sender.blocking_send(Ok(fed)).map_err(|_| Ended::Unheard)
    }
}
