//! The receiving side of a connection: takes in what has arrived, hands over what is ready.
//!
//! Bursts are taken in without waiting for anything. A block is handed over when it is full, or when
//! the stream has nothing more ready and the writer has nothing to do; so a single transaction on a
//! quiet source goes out at once, and a backlog goes out in full blocks.
//!
//! The invariant: every place where this can be cancelled leaves the assembler and the queue with
//! everything that was taken in.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pgtrail_log::{DurableMark, LogWriter, Lsn};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::confirm::Confirmer;
use super::positions::Positions;
use super::writer::LogQueue;
use crate::assemble::Assembler;
use crate::relations::TypeName;
use crate::replication::{Event, ReplicationReader};
use crate::retention::Fullness;
use crate::status::ReaderState;
use crate::watch::Side;
use crate::{Error, ReaderStatus};

/// Messages taken in before timers and signals get their turn.
const BURST_MESSAGES: usize = 4096;

/// Sealed blocks and chunks beyond this are handed over in the middle of a burst.
const HAND_OVER_BYTES: usize = 512 << 10;

/// An open block smaller than this is a trickle: latency matters. A larger one shows a stream that is
/// busy: fewer and fuller blocks matter.
const TRICKLE_BYTES: usize = 4 << 10;

/// The time between two open blocks handed over, for a trickle and for a busy stream.
const SPACING: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(15));

/// Idle watermarks are synced writes: not more often than this, unless the source asks.
const WATERMARK_EVERY: Duration = Duration::from_secs(1);

/// How often the source is asked how far it is, while the process waits to end at a position.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Why a connection ended without an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// `stop_at` is reached and the copy complete.
    Done,
    /// A type turned up that must not travel in binary: start again in text.
    TextNeeded,
}

/// What a receiver tells and asks of the rest of the pipeline.
pub(super) struct Links {
    pub(super) queue: Arc<LogQueue>,
    pub(super) confirmer: Arc<Confirmer>,
    pub(super) positions: Arc<Positions>,
    pub(super) status: Arc<ReaderStatus>,
    pub(super) durable: watch::Receiver<DurableMark>,
    /// The initial copy is complete.
    pub(super) copied: watch::Receiver<bool>,
    /// Where changes end, once that is known.
    pub(super) last: watch::Receiver<Option<Lsn>>,
    /// The log has no room.
    pub(super) fullness: watch::Receiver<Fullness>,
}

/// See the module's documentation.
pub(super) struct Receiver {
    assembler: Assembler<LogWriter>,
    links: Links,
    stop_at: Option<Lsn>,
    /// How far the stream has come, and bytes of it not yet told.
    upto: Lsn,
    bytes: u64,
    watermark: Watermark,
    /// Not before this is an open block handed over again.
    next_open: Instant,
    ask: Interval,
}

/// A place up to which the source has nothing for us, to be made durable.
struct Watermark {
    waiting: Option<Lsn>,
    due: Instant,
}

impl Receiver {
    pub(super) fn new(
        assembler: Assembler<LogWriter>,
        links: Links,
        stop_at: Option<Lsn>,
    ) -> Receiver {
        let now = Instant::now();
        let mut ask = interval(ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Receiver {
            assembler,
            links,
            stop_at,
            upto: Lsn::INVALID,
            bytes: 0,
            watermark: Watermark { waiting: None, due: now },
            next_open: now,
            ask,
        }
    }

    pub(super) fn set_built_in_types(&mut self, types: Vec<(u32, TypeName)>) {
        self.assembler.set_built_in_types(types);
    }

    /// A connection begins that streams from the log's end.
    pub(super) fn begin(
        &mut self,
        connection: u64,
        log_end: Lsn,
        binary_types: Option<HashSet<u32>>,
    ) {
        self.assembler.begin_connection(connection, log_end, binary_types);
        self.watermark.waiting = None;
    }

    /// Drops what is unfinished, hands over what is whole, and waits until it is written.
    pub(super) async fn end(&mut self) {
        self.hand_over_rest().await;
        self.links.queue.idle().await;
    }

    /// Drops what is unfinished and hands over what is whole.
    pub(super) async fn hand_over_rest(&mut self) {
        self.assembler.abandon();
        self.hand_over(true).await;
    }

    /// Takes note of where changes end.
    fn note_last(&mut self) {
        let last = *self.links.last.borrow_and_update();
        self.stop_at = last.or(self.stop_at);
    }

    /// Where to end, as far as that is known.
    pub(super) fn stop_at(&self) -> Option<Lsn> {
        self.stop_at
    }

    /// Whether everything that was asked for is in the log.
    pub(super) fn is_done(&self) -> bool {
        let reached = |stop_at| self.links.durable.borrow().end_lsn >= stop_at;
        self.stop_at.is_some_and(reached) && *self.links.copied.borrow()
    }

    /// The relation of the last row that arrived of an unfinished transaction.
    pub(super) fn last_relation(&self) -> Option<String> {
        self.assembler.last_relation()
    }

    /// Receives until the connection fails or there is nothing more to do on it.
    pub(super) async fn receive(
        &mut self,
        reader: &mut ReplicationReader,
        side: &Side,
    ) -> Result<Ended, Error> {
        let mut may_end = true;
        loop {
            self.note_last();
            if self.is_done() {
                return Ok(Ended::Done);
            }
            if *self.links.fullness.borrow() != Fullness::Room {
                self.wait_for_room_on_disk().await;
            }
            let stopping = self.stop_at.is_some();
            let copying = stopping && !*self.links.copied.borrow();
            let quiet = !self.assembler.in_flight();
            tokio::select! {
                biased;
                _ = self.links.fullness.changed() => {}
                _ = self.links.durable.changed(), if stopping => {}
                _ = self.links.copied.changed(), if copying => {}
                // Whoever would tell is gone once the copy has ended.
                told = self.links.last.changed(), if may_end => may_end = told.is_ok(),
                _ = self.ask.tick(), if stopping => self.links.confirmer.ask()?,
                () = sleep_until(self.watermark.due), if quiet && self.watermark.waiting.is_some() => {
                    self.write_watermark().await;
                }
                // Before the hand-over: what is ready on the socket still goes into this block.
                event = reader.next() => {
                    if let Some(ended) = self.burst(event?, reader, side).await? {
                        return Ok(ended);
                    }
                }
                () = open_due(self.next_open, &self.links.queue), if self.assembler.has_output() => {
                    self.hand_over(true).await;
                }
            }
        }
    }

    /// Takes in what is in memory already.
    async fn burst(
        &mut self,
        first: Event,
        reader: &mut ReplicationReader,
        side: &Side,
    ) -> Result<Option<Ended>, Error> {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(event) = next {
            let completed = self.event(event).await?;
            if self.assembler.has_unchecked_types() && !self.check_types(side).await? {
                return Ok(Some(Ended::TextNeeded));
            }
            if self.assembler.ready_bytes() >= HAND_OVER_BYTES {
                self.hand_over(false).await;
            } else if completed && self.links.queue.is_idle() && Instant::now() >= self.next_open {
                self.hand_over(true).await;
            }
            taken += 1;
            // Nothing is taken off the stream that is not taken in: the bound comes before the look.
            next = if taken < BURST_MESSAGES { reader.try_next().transpose()? } else { None };
        }
        self.note_received();
        Ok(None)
    }

    /// Takes in one event. True when it completed a transaction.
    async fn event(&mut self, event: Event) -> Result<bool, Error> {
        match event {
            Event::Data { wal_start, body, .. } => {
                self.bytes += body.len() as u64;
                self.upto = self.upto.max(wal_start);
                self.assembler.push(wal_start, &body)
            }
            Event::Keepalive { wal_end, reply_requested } => {
                self.keepalive(wal_end, reply_requested).await?;
                Ok(false)
            }
            Event::End => Err(Error::Postgres(pgtrail_postgres::Error::Closed { source: None })),
        }
    }

    /// The source has sent everything before `wal_end`.
    async fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) -> Result<(), Error> {
        self.upto = self.upto.max(wal_end);
        if self.assembler.in_flight() || wal_end <= self.assembler.taken_end() {
            if reply_requested {
                self.links.confirmer.tell(false)?;
            }
            return Ok(());
        }
        self.watermark.waiting = Some(wal_end);
        // A source that shuts down asks until it hears that everything is safe.
        let wanted = self.stop_at.is_some_and(|stop_at| wal_end >= stop_at);
        if reply_requested || wanted || Instant::now() >= self.watermark.due {
            self.write_watermark().await;
        }
        Ok(())
    }

    async fn write_watermark(&mut self) {
        let Some(upto) = self.watermark.waiting.take() else { return };
        self.watermark.due = Instant::now() + WATERMARK_EVERY;
        self.assembler.watermark(upto);
        self.hand_over(true).await;
    }

    /// Whether the types that turned up may travel in binary.
    async fn check_types(&mut self, side: &Side) -> Result<bool, Error> {
        let types = self.assembler.take_unchecked_types();
        let safe = side.binary_types(&types).await?;
        let all_safe = types.iter().all(|oid| safe.contains(oid));
        self.assembler.add_binary_types(safe);
        Ok(all_safe)
    }

    async fn hand_over(&mut self, open: bool) {
        self.links.queue.room().await;
        self.note_received();
        let batch = self.assembler.take(open);
        if open {
            let spacing = if batch.bytes < TRICKLE_BYTES { SPACING.0 } else { SPACING.1 };
            self.next_open = Instant::now() + spacing;
        }
        if !batch.is_empty() {
            self.links.queue.push(batch);
        }
    }

    fn note_received(&mut self) {
        let upto = self.upto.max(self.assembler.taken_end());
        self.links.positions.receive(upto, std::mem::take(&mut self.bytes));
        self.links.status.add_skipped(self.assembler.take_skipped());
    }

    /// The source keeps its WAL while we do not read. Feedback goes on.
    async fn wait_for_room_on_disk(&mut self) {
        self.hand_over(true).await;
        self.links.status.set_state(ReaderState::WaitingForSpace);
        // The keeper lives as long as this; if it were gone, there would be nothing to wait for.
        let _ = self.links.fullness.wait_for(|now| *now == Fullness::Room).await;
        self.links.status.set_state(ReaderState::Streaming);
    }
}

/// Until an open block may be handed over.
async fn open_due(next_open: Instant, queue: &LogQueue) {
    sleep_until(next_open).await;
    queue.idle().await;
}
