//! What a reader tells about itself: counters that any thread may bump and anyone may read.
//!
//! Owns no decision: nothing here is ever read back to decide what to confirm.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use pgtrail_log::{BaseTable, CopySnapshot, Copying, Lsn, Timestamp};

/// What the reader is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ReaderState {
    /// Opening the log, checking slot and publication.
    Starting = 0,
    /// Connected, receiving changes.
    Streaming = 1,
    /// Not connected; tries again.
    Reconnecting = 2,
    /// Connected, but not reading because the log's disk has too little room.
    WaitingForSpace = 3,
    /// Another process holds the slot.
    WaitingForSlot = 4,
    /// Writing what it has, then ending.
    Stopping = 5,
    /// Ended.
    Stopped = 6,
}

impl ReaderState {
    const ALL: [ReaderState; 7] = [
        ReaderState::Starting,
        ReaderState::Streaming,
        ReaderState::Reconnecting,
        ReaderState::WaitingForSpace,
        ReaderState::WaitingForSlot,
        ReaderState::Stopping,
        ReaderState::Stopped,
    ];

    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            ReaderState::Starting => "starting",
            ReaderState::Streaming => "streaming",
            ReaderState::Reconnecting => "reconnecting",
            ReaderState::WaitingForSpace => "waiting for space",
            ReaderState::WaitingForSlot => "waiting for slot",
            ReaderState::Stopping => "stopping",
            ReaderState::Stopped => "stopped",
        }
    }
}

/// Progress of one reader, shared between its tasks and whoever shows it.
#[derive(Debug)]
pub struct ReaderStatus {
    state: AtomicU8,
    received_lsn: AtomicU64,
    durable_lsn: AtomicU64,
    confirmed_flush_lsn: AtomicU64,
    transactions: AtomicU64,
    changes: AtomicU64,
    bytes_received: AtomicU64,
    skipped_changes: AtomicU64,
    connections: AtomicU64,
    binary: AtomicBool,
    hidden_sequences: AtomicU64,
    rebases: Mutex<Vec<String>>,
    failed_tables: Mutex<BTreeMap<String, String>>,
    copying: Copying,
    last_error: Mutex<Option<String>>,
    notice: Mutex<Option<String>>,
    started: Timestamp,
}

/// [`ReaderStatus`] at one moment, as plain values.
#[derive(Clone, PartialEq, Debug)]
pub struct StatusSnapshot {
    /// What it is doing.
    pub state: ReaderState,
    /// The furthest place in the source's WAL that arrived.
    pub received_lsn: Lsn,
    /// Everything before it is in the log, synced.
    pub durable_lsn: Lsn,
    /// What the slot was told. Never beyond `durable_lsn`.
    pub confirmed_flush_lsn: Lsn,
    /// Transactions written since the start.
    pub transactions: u64,
    /// Records written since the start.
    pub changes: u64,
    /// Bytes of pgoutput received since the start.
    pub bytes_received: u64,
    /// Rows of relations that are not selected, dropped on arrival.
    pub skipped_changes: u64,
    /// Times the stream was started.
    pub connections: u64,
    /// Whether the stream asks for binary values.
    pub binary: bool,
    /// Tables of the initial copy.
    pub base_tables_total: u64,
    /// Of them, those whose base is complete in the log.
    pub base_tables_done: u64,
    /// Rows copied since the start.
    pub base_rows: u64,
    /// Bytes of COPY data copied since the start.
    pub base_bytes: u64,
    /// Tables that wait to be copied again, or are being.
    pub rebases: Vec<String>,
    /// Tables that could not be copied, and why.
    pub failed_tables: BTreeMap<String, String>,
    /// Selected sequences that the role may not read: their values are not in the log.
    pub hidden_sequences: u64,
    /// How far the initial copy is.
    pub copy: CopySnapshot,
    /// The last error, if it is not over.
    pub last_error: Option<String>,
    /// A condition that is worth knowing but stops nothing.
    pub notice: Option<String>,
    /// When the process started.
    pub started: Timestamp,
}

impl Default for ReaderStatus {
    fn default() -> ReaderStatus {
        ReaderStatus::new()
    }
}

impl ReaderStatus {
    /// A reader that has done nothing yet.
    pub fn new() -> ReaderStatus {
        ReaderStatus {
            state: AtomicU8::new(ReaderState::Starting as u8),
            received_lsn: AtomicU64::new(0),
            durable_lsn: AtomicU64::new(0),
            confirmed_flush_lsn: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            skipped_changes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            binary: AtomicBool::new(false),
            hidden_sequences: AtomicU64::new(0),
            rebases: Mutex::default(),
            failed_tables: Mutex::default(),
            copying: Copying::default(),
            last_error: Mutex::new(None),
            notice: Mutex::new(None),
            started: Timestamp::now(),
        }
    }

    /// All values, each as of a moment during this call.
    pub fn snapshot(&self) -> StatusSnapshot {
        let number = |value: &AtomicU64| value.load(Ordering::Relaxed);
        // Read in the order in which they trail each other, so that no reader of a snapshot sees
        // more confirmed than durable, or more durable than received.
        let confirmed_flush_lsn = Lsn::new(self.confirmed_flush_lsn.load(Ordering::Acquire));
        let durable_lsn = Lsn::new(self.durable_lsn.load(Ordering::Acquire));
        let received_lsn = Lsn::new(self.received_lsn.load(Ordering::Acquire)).max(durable_lsn);
        let copy = self.copying.snapshot();
        StatusSnapshot {
            state: self.state(),
            received_lsn,
            durable_lsn,
            confirmed_flush_lsn,
            transactions: number(&self.transactions),
            changes: number(&self.changes),
            bytes_received: number(&self.bytes_received),
            skipped_changes: number(&self.skipped_changes),
            connections: number(&self.connections),
            binary: self.binary.load(Ordering::Relaxed),
            hidden_sequences: number(&self.hidden_sequences),
            rebases: lock(&self.rebases).clone(),
            failed_tables: lock(&self.failed_tables).clone(),
            base_tables_total: copy.tables_total,
            base_tables_done: copy.tables_done,
            base_rows: copy.rows,
            base_bytes: copy.bytes,
            copy,
            last_error: text(&self.last_error),
            notice: text(&self.notice),
            started: self.started,
        }
    }

    /// What it is doing.
    pub fn state(&self) -> ReaderState {
        let state = self.state.load(Ordering::Relaxed);
        ReaderState::ALL.get(usize::from(state)).copied().unwrap_or(ReaderState::Stopped)
    }

    /// Notes what it is doing now.
    pub fn set_state(&self, state: ReaderState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Notes an error that keeps the reader from its work, or that it is over.
    pub fn set_last_error(&self, error: Option<String>) {
        set_text(&self.last_error, error);
    }

    /// Notes a condition worth knowing, or that it is over.
    pub fn set_notice(&self, notice: Option<String>) {
        set_text(&self.notice, notice);
    }

    /// Notes the tables of the initial copy, and which of them are complete in the log.
    pub(crate) fn set_base_tables(&self, tables: &[BaseTable], is_complete: impl Fn(u32) -> bool) {
        self.copying.plan(tables, is_complete);
    }

    /// A table of the initial copy is being read.
    pub(crate) fn base_table_begun(&self, relation: u32) {
        self.copying.begin(relation);
    }

    /// One more table of the initial copy is complete in the log, or gone.
    pub(crate) fn base_table_done(&self, relation: u32) {
        self.copying.done(relation);
    }

    /// Rows of the initial copy went into the log.
    pub(crate) fn add_base(&self, relation: u32, rows: u64, bytes: u64) {
        self.copying.add(relation, rows, bytes);
    }

    pub(crate) fn set_rebases(&self, tables: Vec<String>) {
        *lock(&self.rebases) = tables;
    }

    pub(crate) fn table_failed(&self, table: &str, reason: &str) {
        lock(&self.failed_tables).insert(table.to_owned(), reason.to_owned());
    }

    pub(crate) fn table_works(&self, table: &str) {
        lock(&self.failed_tables).remove(table);
    }

    pub(crate) fn set_hidden_sequences(&self, count: u64) {
        self.hidden_sequences.store(count, Ordering::Relaxed);
    }

    pub(crate) fn set_binary(&self, binary: bool) {
        self.binary.store(binary, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, upto: Lsn, bytes: u64) {
        self.received_lsn.fetch_max(upto.as_u64(), Ordering::Release);
        self.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_skipped(&self, changes: u64) {
        self.skipped_changes.fetch_add(changes, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, durable: Lsn, transactions: u64, changes: u64) {
        self.received_lsn.fetch_max(durable.as_u64(), Ordering::Release);
        self.durable_lsn.fetch_max(durable.as_u64(), Ordering::Release);
        self.transactions.fetch_add(transactions, Ordering::Relaxed);
        self.changes.fetch_add(changes, Ordering::Relaxed);
    }

    pub(crate) fn confirmed(&self, upto: Lsn) {
        self.confirmed_flush_lsn.fetch_max(upto.as_u64(), Ordering::Release);
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn text(slot: &Mutex<Option<String>>) -> Option<String> {
    lock(slot).clone()
}

fn set_text(slot: &Mutex<Option<String>>, value: Option<String>) {
    *lock(slot) = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_positions_in_their_order() {
        let status = ReaderStatus::new();
        status.received(Lsn::new(30), 10);
        status.written(Lsn::new(20), 1, 4);
        status.confirmed(Lsn::new(20));
        let seen = status.snapshot();
        assert_eq!(
            (seen.received_lsn, seen.durable_lsn, seen.confirmed_flush_lsn),
            (Lsn::new(30), Lsn::new(20), Lsn::new(20))
        );
        assert_eq!((seen.transactions, seen.changes, seen.bytes_received), (1, 4, 10));
    }

    #[test]
    fn every_state_survives_the_atomic() {
        let status = ReaderStatus::new();
        for state in ReaderState::ALL {
            status.set_state(state);
            assert_eq!(status.state(), state);
        }
    }
}
