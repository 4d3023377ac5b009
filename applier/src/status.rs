//! What an applier tells about itself: counters that any thread may bump and anyone may read.
//!
//! Owns no decision: nothing here is ever read back to decide what to apply.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pgtrail_log::{CopySnapshot, Copying, DurableMark, Epoch, Lsn, Position, Timestamp};

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

/// What became of a sequence of the source's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SequenceState {
    /// It was as far already.
    Level,
    /// It was last set here.
    Set {
        /// To this value.
        last_value: i64,
        /// By this clock.
        at: Timestamp,
    },
    /// It is not set.
    Left {
        /// Why.
        reason: &'static str,
    },
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
    pub(crate) copying: Copying,
    base_blocks: AtomicU64,
    base_rows_total: AtomicU64,
    sequences: Mutex<BTreeMap<String, SequenceState>>,
    rebases: Mutex<(Vec<String>, Vec<String>)>,
    failed_tables: Mutex<BTreeMap<String, String>>,
    last_error: Mutex<Option<String>>,
    started: Timestamp,
}

/// [`ApplierStatus`] at one moment, as plain values.
#[derive(Clone, PartialEq, Debug)]
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
    /// What became of the source's sequences, by their names here.
    pub sequences: BTreeMap<String, SequenceState>,
    /// Tables copied again that are not at the destination yet.
    pub rebases: Vec<String>,
    /// Tables whose changes are not applied, because they were never copied.
    pub isolated: Vec<String>,
    /// Tables that could not be loaded in this process, and why.
    pub failed_tables: BTreeMap<String, String>,
    /// How far loading the base is.
    pub copy: CopySnapshot,
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
            copying: Copying::default(),
            base_blocks: AtomicU64::new(0),
            base_rows_total: AtomicU64::new(0),
            sequences: Mutex::default(),
            rebases: Mutex::default(),
            failed_tables: Mutex::default(),
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
        let (rebases, isolated) = self.rebases().clone();
        let epoch = self.applied_epoch.load(Ordering::Relaxed);
        let commit_lsn = Lsn::new(number(&self.applied_commit_lsn));
        let last_commit_time = self.last_commit_time.load(Ordering::Relaxed);
        let copy = self.copying.snapshot();
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
            base_tables_total: copy.tables_total,
            base_tables_done: copy.tables_done,
            base_blocks: number(&self.base_blocks),
            base_rows: copy.rows,
            base_rows_total: number(&self.base_rows_total),
            sequences: self.sequences().clone(),
            rebases,
            isolated,
            failed_tables: self.failed_tables().clone(),
            copy,
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

    fn failed_tables(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.failed_tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn table_failed(&self, table: &str, reason: &str) {
        self.failed_tables().insert(table.to_owned(), reason.to_owned());
    }

    fn rebases(&self) -> MutexGuard<'_, (Vec<String>, Vec<String>)> {
        self.rebases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_rebases(&self, waiting: Vec<String>, isolated: Vec<String>) {
        *self.rebases() = (waiting, isolated);
    }

    fn sequences(&self) -> MutexGuard<'_, BTreeMap<String, SequenceState>> {
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what became of a sequence; answers whether that is new.
    pub(crate) fn set_sequence(&self, name: &str, state: SequenceState) -> bool {
        self.sequences().insert(name.to_owned(), state) != Some(state)
    }

    /// A sequence is as far as the source's. When it was set stays known.
    pub(crate) fn sequence_is_level(&self, name: &str) {
        let mut sequences = self.sequences();
        let state = sequences.entry(name.to_owned()).or_insert(SequenceState::Level);
        if matches!(state, SequenceState::Left { .. }) {
            *state = SequenceState::Level;
        }
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

    pub(crate) fn set_base_rows(&self, rows_total: u64) {
        self.base_rows_total.store(rows_total, Ordering::Relaxed);
    }

    pub(crate) fn loaded(&self, relation: u32, blocks: u64, rows: u64, bytes: u64) {
        self.base_blocks.fetch_add(blocks, Ordering::Relaxed);
        self.copying.add(relation, rows, bytes);
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
