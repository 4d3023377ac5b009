//! Loads one table's base, as far as it is there.
//!
//! Owns the transactions: some blocks and the progress that tells of them, in each. The invariant: a
//! base is done only when it is complete in the log and every block it counts is committed here.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use pgtrail_log::{BaseBlock, BaseHeader, CopyFormat, LogFollower};
use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::{Session, Throttle};
use tokio::sync::mpsc;
use tokio_postgres::types::Type;

use super::progress::{self, Progress};
use super::stage::{STAGE, copy_to_stage, create_stage, empty_stage, needs_stage};
use super::view::Chosen;
use crate::Error;
use crate::destination::Destination;
use crate::guard::{Guard, stop_asked};
use crate::keep;
use crate::seat::Seat;
use crate::statement::copy_in;
use crate::statement::encode::{COPY_HEADER, COPY_TRAILER};
use crate::status::ApplierStatus;
use crate::target::Target;

/// What is loaded in one destination transaction. A kill repeats at most this much work.
const TRANSACTION_BYTES: usize = 16 << 20;

/// Blocks read ahead of the destination: expanding one takes about as long as the server takes to
/// store it, so a second is there in time.
const BLOCKS_AHEAD: usize = 2;

/// A base on its way.
#[derive(Debug)]
pub(super) struct Load {
    pub base: Chosen,
    /// `None`: nothing of it is at the destination.
    pub progress: Option<Progress>,
    target: Option<Arc<Target>>,
}

impl Load {
    pub(super) fn new(base: Chosen, progress: Option<Progress>) -> Load {
        Load { base, progress, target: None }
    }

    pub(super) fn is_done(&self) -> bool {
        self.progress.is_some_and(|progress| progress.done)
    }

    fn next_block(&self) -> u64 {
        self.progress.map_or(0, |progress| progress.next_block)
    }

    fn header(&self) -> Option<&BaseHeader> {
        self.base.header.as_ref()
    }
}

/// What loading needs, whatever the table.
#[derive(Clone)]
pub(super) struct Loader {
    pub follower: Arc<LogFollower>,
    pub mapping: Mapping,
    pub seat: Seat,
    pub status: Arc<ApplierStatus>,
    pub guard: Guard,
    /// Rows that are there stay.
    pub keep: bool,
    pub throttle: Throttle,
}

impl Loader {
    /// Loads what is there of a base, or as much as there is time for.
    pub(super) async fn load(
        &self,
        destination: &Destination,
        load: &mut Load,
    ) -> Result<(), Error> {
        while !*self.guard.shutdown.borrow() && !load.is_done() {
            let Some(mut blocks) = self.next_blocks(load).await? else { return Ok(()) };
            let transaction = self.load_transaction(&destination.session, load, &mut blocks);
            let (progress, rows, bytes) =
                Box::pin(self.guard.watch(destination.pid, transaction)).await?;
            load.progress = Some(progress);
            // Between transactions: one that waits for us looks like one that hangs.
            let mut shutdown = self.guard.shutdown.clone();
            tokio::select! {
                () = self.throttle.pass(rows, bytes) => {}
                () = stop_asked(&mut shutdown) => {}
            }
        }
        Ok(())
    }

    /// What can be loaded now; `None` when that is nothing.
    async fn next_blocks(&self, load: &Load) -> Result<Option<Blocks>, Error> {
        let mut blocks = Blocks::read(Arc::clone(&self.follower), load, self.transaction_bytes());
        if load.header().is_some() {
            return Ok(Some(blocks));
        }
        // Rows without columns have no form in COPY: their number is all, and it comes last.
        let there = !load.base.start.shape.columns.is_empty() && blocks.wait().await?;
        Ok(there.then_some(blocks))
    }

    /// A bounded rate is kept from block to block, not in bursts.
    fn transaction_bytes(&self) -> usize {
        if self.throttle.is_unbounded() { TRANSACTION_BYTES } else { 1 }
    }

    /// Loads some blocks in one transaction.
    async fn load_transaction(
        &self,
        session: &Session,
        load: &mut Load,
        blocks: &mut Blocks,
    ) -> Result<(Progress, u64, u64), Error> {
        let target = match &load.target {
            Some(target) => Arc::clone(target),
            None => {
                let shape = Arc::new(load.base.start.shape.clone());
                let target = Arc::new(Target::load(session, &self.mapping, shape).await?);
                Arc::clone(load.target.insert(target))
            }
        };
        fail::fail_point!("applier::base::begin");
        session.batch_execute("begin").await?;
        progress::keep_seat(session, &self.seat).await?;
        if load.progress.is_none() {
            progress::begin(session, &self.seat, &target, &load.base, self.keep).await?;
        }
        let from = load.next_block();
        let loaded = match load.header() {
            Some(header) if header.blocks <= from => Amount { next: from, rows: 0, bytes: 0 },
            Some(header) if header.shape.columns.is_empty() => {
                load_rows_without_columns(session, &target, header).await?
            }
            _ => load_some(session, &target, load, blocks, self.keep).await?,
        };
        let done = load.header().is_some_and(|header| loaded.next >= header.blocks);
        let reached = Progress { next_block: loaded.next, done };
        progress::advance(session, &self.seat, load.base.id, from, reached).await?;
        fail::fail_point!("applier::base::before_commit");
        session.batch_execute("commit").await?;
        fail::fail_point!("applier::base::after_commit");
        let relation = load.base.start.shape.relation;
        self.status.loaded(relation, loaded.next - from, loaded.rows, loaded.bytes);
        Ok((reached, loaded.rows, loaded.bytes))
    }
}

/// Loads all of a complete base inside the transaction that is open; answers with its rows.
pub(crate) async fn load_whole(
    session: &Session,
    target: &Target,
    follower: &Arc<LogFollower>,
    base: &BaseHeader,
) -> Result<u64, Error> {
    if base.purged {
        return Err(pgtrail_log::Error::BasePurged { id: base.id }.into());
    }
    if base.blocks > 0 && base.shape.columns.is_empty() {
        return Ok(load_rows_without_columns(session, target, base).await?.rows);
    }
    if base.blocks == 0 {
        return Ok(0);
    }
    let load = Load::new(Chosen::of(base), Some(Progress::default()));
    let mut blocks = Blocks::read(Arc::clone(follower), &load, usize::MAX);
    let amount = load_some(session, target, &load, &mut blocks, false).await?;
    match (amount.next, amount.rows) == (base.blocks, base.rows) {
        true => Ok(amount.rows),
        false => {
            Err(Error::Bug(format!("{} of {} base blocks were read", amount.next, base.blocks)))
        }
    }
}

/// What one transaction brought.
#[derive(Clone, Copy, Debug)]
struct Amount {
    /// The block to go on with.
    next: u64,
    rows: u64,
    bytes: u64,
}

/// Blocks for one transaction, read by a thread of their own while the destination stores the ones
/// before. Dropping it ends the thread at its next block.
struct Blocks {
    receiver: mpsc::Receiver<Result<BaseBlock, pgtrail_log::Error>>,
    first: Option<BaseBlock>,
}

impl Blocks {
    fn read(follower: Arc<LogFollower>, load: &Load, transaction_bytes: usize) -> Blocks {
        let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
        let (id, header, mut n) = (load.base.id, load.header().cloned(), load.next_block());
        tokio::task::spawn_blocking(move || {
            let mut bytes = 0;
            while bytes < transaction_bytes {
                let read = match &header {
                    Some(header) if n >= header.blocks => return,
                    Some(header) => follower.base_block(header, n),
                    None => match follower.open_base_block(id, n) {
                        Ok(Some(block)) => Ok(block),
                        Ok(None) => return,
                        Err(error) => Err(error),
                    },
                };
                n += 1;
                bytes += read.as_ref().map_or(0, |block| block.rows.len());
                let failed = read.is_err();
                if sender.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
        Blocks { receiver, first: None }
    }

    /// Whether there is any.
    async fn wait(&mut self) -> Result<bool, Error> {
        self.first = self.next().await?;
        Ok(self.first.is_some())
    }

    async fn next(&mut self) -> Result<Option<BaseBlock>, Error> {
        match self.first.take() {
            Some(block) => Ok(Some(block)),
            None => Ok(self.receiver.recv().await.transpose()?),
        }
    }
}

/// Copies blocks into the table.
async fn load_some(
    session: &Session,
    target: &Target,
    load: &Load,
    blocks: &mut Blocks,
    keep: bool,
) -> Result<Amount, Error> {
    let format = load.base.start.format;
    let staged = keep || needs_stage(target);
    let text = if staged {
        session.batch_execute(&create_stage(session, target).await?).await?;
        copy_to_stage(target, format)
    } else {
        copy_in(target, format)
    };
    let rejected = |error: tokio_postgres::Error| rejected(target, error);
    let statement = session.prepare(&text).await.map_err(rejected)?;
    let sink = session.copy_in::<_, Bytes>(&statement).await.map_err(rejected)?;
    let mut sink = std::pin::pin!(sink);
    let mut amount = Amount { next: load.next_block(), rows: 0, bytes: 0 };
    let mut ended = false;
    if format == CopyFormat::Binary {
        ended = sink.send(Bytes::from_static(COPY_HEADER)).await.is_err();
    }
    while !ended {
        let Some(block) = blocks.next().await? else { break };
        fail::fail_point!("applier::base::block");
        amount.bytes += block.rows.len() as u64;
        amount.rows += block.row_count;
        amount.next += 1;
        let data = match format {
            CopyFormat::Binary => target.localised_rows(block.rows)?,
            CopyFormat::Text => block.rows,
        };
        // A failed send means that the server ended the COPY; finishing it brings the reason.
        ended = sink.send(data).await.is_err();
    }
    if format == CopyFormat::Binary && !ended {
        let mut trailer = BytesMut::new();
        trailer.extend_from_slice(COPY_TRAILER);
        let _ = sink.send(trailer.freeze()).await;
    }
    let copied = sink.finish().await.map_err(rejected)?;
    // Only an ALWAYS trigger may leave rows out.
    if copied != amount.rows && !target.may_suppress() {
        return Err(Error::Bug(format!("{copied} of {} base rows were copied", amount.rows)));
    }
    if keep {
        let added = session.execute(&keep::empty_stage(target, STAGE), &[]).await;
        keep::tell(target, amount.rows, added.map_err(rejected)?);
    } else if staged {
        session.batch_execute(&empty_stage(target)).await.map_err(rejected)?;
    }
    Ok(amount)
}

/// COPY has no form for a table without columns; its rows are but a number.
async fn load_rows_without_columns(
    session: &Session,
    target: &Target,
    base: &BaseHeader,
) -> Result<Amount, Error> {
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
    Ok(Amount { next: base.blocks, rows: base.rows, bytes: 0 })
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
