//! What an applier tells about itself: counters that any thread may bump and anyone may read.
//!
//! Owns no decision: nothing here is ever read back to decide what to apply.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use pgtrail_log::{DurableMark, Epoch, Lsn, Position, Timestamp};

use crate::conflict::ConflictKind;

/// What the applier is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ApplierState {
    /// Opening the log, connecting.
    Starting = 0,
    /// Another process holds the seat, or just held it.
    WaitingForSeat = 1,
    /// Making the schema at the destination, or waiting for it in the log.
    MakingSchema = 2,
    /// Loading the base, or waiting for its blocks.
    LoadingBase = 3,
    /// Applying changes, or waiting for some.
    Applying = 4,
    /// Not connected; tries again.
    Reconnecting = 5,
    /// Finishing the transaction in hand, then ending.
    Stopping = 6,
    /// Ended.
    Stopped = 7,
}

impl ApplierState {
    const ALL: [ApplierState; 8] = [
        ApplierState::Starting,
        ApplierState::WaitingForSeat,
        ApplierState::MakingSchema,
        ApplierState::LoadingBase,
        ApplierState::Applying,
        ApplierState::Reconnecting,
        ApplierState::Stopping,
        ApplierState::Stopped,
    ];

    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            ApplierState::Starting => "starting",
            ApplierState::WaitingForSeat => "waiting for seat",
            ApplierState::MakingSchema => "making schema",
            ApplierState::LoadingBase => "loading base",
            ApplierState::Applying => "applying",
            ApplierState::Reconnecting => "reconnecting",
            ApplierState::Stopping => "stopping",
            ApplierState::Stopped => "stopped",
        }
    }
}

/// Progress of one applier, shared between its tasks and whoever shows it.
#[derive(Debug)]
pub struct ApplierStatus {
    state: AtomicU8,
    applied_epoch: AtomicU32,
    applied_commit_lsn: AtomicU64,
    applied_end_lsn: AtomicU64,
    durable_lsn: AtomicU64,
    last_commit_time: AtomicI64,
    transactions: AtomicU64,
    changes: AtomicU64,
    groups: AtomicU64,
    replays: AtomicU64,
    conflicts: AtomicU64,
    insert_exists_resolved: AtomicU64,
    update_missing_resolved: AtomicU64,
    connections: AtomicU64,
    base_tables_total: AtomicU64,
    base_tables_done: AtomicU64,
    base_blocks: AtomicU64,
    base_rows: AtomicU64,
    base_rows_total: AtomicU64,
    last_error: Mutex<Option<String>>,
    started: Timestamp,
}

/// [`ApplierStatus`] at one moment, as plain values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusSnapshot {
    /// What it is doing.
    pub state: ApplierState,
    /// The last transaction committed at the destination, if any.
    pub applied: Option<Position>,
    /// Everything before it has been applied.
    pub applied_end_lsn: Lsn,
    /// The log's durable end, as last seen.
    pub durable_lsn: Lsn,
    /// When the last applied transaction committed at the source.
    pub last_commit_time: Option<Timestamp>,
    /// Transactions applied since the start.
    pub transactions: u64,
    /// Row changes applied since the start.
    pub changes: u64,
    /// Destination transactions committed since the start.
    pub groups: u64,
    /// Groups that had to be replayed row by row.
    pub replays: u64,
    /// Conflicts met since the start, resolved ones included.
    pub conflicts: u64,
    /// Of them, inserts that met a row, and the source's took its place.
    pub insert_exists_resolved: u64,
    /// Of them, updates that found no row, and the source's was added.
    pub update_missing_resolved: u64,
    /// Times the destination was connected to.
    pub connections: u64,
    /// Tables of the initial set.
    pub base_tables_total: u64,
    /// Of them, those loaded.
    pub base_tables_done: u64,
    /// Base blocks loaded since the start.
    pub base_blocks: u64,
    /// Base rows loaded since the start.
    pub base_rows: u64,
    /// Rows of the bases that are complete in the log.
    pub base_rows_total: u64,
    /// The last error, if it is not over.
    pub last_error: Option<String>,
    /// When the process started.
    pub started: Timestamp,
}

impl Default for ApplierStatus {
    fn default() -> ApplierStatus {
        ApplierStatus::new()
    }
}

impl ApplierStatus {
    /// An applier that has done nothing yet.
    pub fn new() -> ApplierStatus {
        ApplierStatus {
            state: AtomicU8::new(ApplierState::Starting as u8),
            applied_epoch: AtomicU32::new(0),
            applied_commit_lsn: AtomicU64::new(0),
            applied_end_lsn: AtomicU64::new(0),
            durable_lsn: AtomicU64::new(0),
            last_commit_time: AtomicI64::new(i64::MIN),
            transactions: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            replays: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            insert_exists_resolved: AtomicU64::new(0),
            update_missing_resolved: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            base_tables_total: AtomicU64::new(0),
            base_tables_done: AtomicU64::new(0),
            base_blocks: AtomicU64::new(0),
            base_rows: AtomicU64::new(0),
            base_rows_total: AtomicU64::new(0),
            last_error: Mutex::new(None),
            started: Timestamp::now(),
        }
    }

    /// All values, each as of a moment during this call.
    pub fn snapshot(&self) -> StatusSnapshot {
        let number = |value: &AtomicU64| value.load(Ordering::Relaxed);
        // Read in the order in which they trail each other: no one sees more applied than durable.
        let applied_end_lsn = Lsn::new(self.applied_end_lsn.load(Ordering::Acquire));
        let durable_lsn = Lsn::new(number(&self.durable_lsn)).max(applied_end_lsn);
        let epoch = self.applied_epoch.load(Ordering::Relaxed);
        let commit_lsn = Lsn::new(number(&self.applied_commit_lsn));
        let last_commit_time = self.last_commit_time.load(Ordering::Relaxed);
        StatusSnapshot {
            state: self.state(),
            applied: (epoch != 0).then(|| Position::of_transaction(Epoch(epoch), commit_lsn)),
            applied_end_lsn,
            durable_lsn,
            last_commit_time: (last_commit_time != i64::MIN).then_some(Timestamp(last_commit_time)),
            transactions: number(&self.transactions),
            changes: number(&self.changes),
            groups: number(&self.groups),
            replays: number(&self.replays),
            conflicts: number(&self.conflicts),
            insert_exists_resolved: number(&self.insert_exists_resolved),
            update_missing_resolved: number(&self.update_missing_resolved),
            connections: number(&self.connections),
            base_tables_total: number(&self.base_tables_total),
            base_tables_done: number(&self.base_tables_done),
            base_blocks: number(&self.base_blocks),
            base_rows: number(&self.base_rows),
            base_rows_total: number(&self.base_rows_total),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            started: self.started,
        }
    }

    /// What it is doing.
    pub fn state(&self) -> ApplierState {
        let state = self.state.load(Ordering::Relaxed);
        ApplierState::ALL.get(usize::from(state)).copied().unwrap_or(ApplierState::Stopped)
    }

    pub(crate) fn set_state(&self, state: ApplierState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn set_last_error(&self, error: Option<String>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The log was seen to reach this far.
    pub(crate) fn saw(&self, mark: &DurableMark) {
        self.durable_lsn.fetch_max(mark.end_lsn.as_u64(), Ordering::Release);
    }

    /// Everything before `end_lsn` is at the destination.
    pub(crate) fn reached(&self, position: Option<Position>, end_lsn: Lsn) {
        if let Some(position) = position {
            self.applied_epoch.store(position.epoch.0, Ordering::Relaxed);
            self.applied_commit_lsn.store(position.commit_lsn.as_u64(), Ordering::Relaxed);
        }
        self.durable_lsn.fetch_max(end_lsn.as_u64(), Ordering::Release);
        self.applied_end_lsn.store(end_lsn.as_u64(), Ordering::Release);
    }

    pub(crate) fn applied(&self, transactions: u64, changes: u64, commit_time: Timestamp) {
        self.transactions.fetch_add(transactions, Ordering::Relaxed);
        self.changes.fetch_add(changes, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.last_commit_time.store(commit_time.0, Ordering::Relaxed);
    }

    pub(crate) fn replayed(&self) {
        self.replays.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn conflicted(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    /// Conflicts in which the source's row won.
    pub(crate) fn resolved(&self, kind: ConflictKind, count: u64) {
        self.conflicts.fetch_add(count, Ordering::Relaxed);
        match kind {
            ConflictKind::InsertExists => &self.insert_exists_resolved,
            ConflictKind::UpdateMissing => &self.update_missing_resolved,
            _ => return,
        }
        .fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set_base(&self, done: u64, total: u64, rows_total: u64) {
        self.base_tables_done.store(done, Ordering::Relaxed);
        self.base_tables_total.store(total, Ordering::Relaxed);
        self.base_rows_total.store(rows_total, Ordering::Relaxed);
    }

    pub(crate) fn loaded(&self, blocks: u64, rows: u64) {
        self.base_blocks.fetch_add(blocks, Ordering::Relaxed);
        self.base_rows.fetch_add(rows, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing_applied_at_first() {
        let seen = ApplierStatus::new().snapshot();
        assert_eq!(seen.applied, None);
        assert_eq!(seen.last_commit_time, None);
    }

    #[test]
    fn never_shows_more_applied_than_durable() {
        let status = ApplierStatus::new();
        let position = Position::of_transaction(Epoch::FIRST, Lsn::new(90));
        status.reached(Some(position), Lsn::new(100));
        let seen = status.snapshot();
        assert_eq!(seen.applied, Some(position));
        assert!(seen.applied_end_lsn <= seen.durable_lsn);
    }

    #[test]
    fn every_state_survives_the_atomic() {
        let status = ApplierStatus::new();
        for state in ApplierState::ALL {
            status.set_state(state);
            assert_eq!(status.state(), state);
        }
    }
}
