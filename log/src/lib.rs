//! The change log: its vocabulary, its on-disk format, and the RocksDB store that keeps it.
//!
//! This crate is the only meeting point of reader and applier. It knows no network and no
//! PostgreSQL client, so a log can be dumped and checked on a machine without a server.
//! [`model`] holds pure values; everything else is about keeping them.
//!
//! One process writes ([`LogWriter`]), any number follow ([`LogFollower`], [`LogCursor`]). What a
//! follower may read is bounded by the [`DurableMark`], a small file beside the database that is
//! rewritten after every synced write; it is also the witness against a database that lost its end.

mod applied;
mod base;
mod check;
mod copying;
mod cursor;
mod error;
mod follower;
mod format;
mod framing;
mod identity;
mod keys;
mod mark;
mod recovery;
mod sequence;
mod store;
#[cfg(test)]
mod tests;
mod writer;

#[cfg(fuzzing)]
pub mod fuzzing;
pub mod model;

pub use applied::{AppliedCheckpoint, read_applied, remove_applied, write_applied};
pub use base::{
    BaseBlock, BaseHeader, BaseStart, BaseTable, CopyFormat, InitialSet, Isolated, OpenBase,
    Rebase, TableSize,
};
pub use check::{CheckProgress, CheckReport, Problem, check};
pub use copying::{CopySnapshot, Copying, TableSnapshot};
pub use cursor::LogCursor;
pub use error::Error;
pub use follower::LogFollower;
pub use format::block::{BlockBuilder, BlockHeader, RelationCount};
pub use format::records::{OldImage, RecordBuffer, Records};
pub use format::transactions::{Block, Body, LoggedTransaction};
pub use identity::{EpochStart, Identity, Incarnation};
pub use mark::DurableMark;
pub use model::{
    Change, ChangeRecord, Column, Datum, Disposition, Epoch, Lsn, OldTuple, Position,
    RelationVersion, RelationVersionId, ReplicaIdentity, Snapshot, Timestamp, TransactionHeader,
    Tuple, Xid,
};
pub use sequence::{SequenceMark, SequenceValue, SequenceValues};
pub use writer::pending::{PendingKey, PendingRef};
pub use writer::{BaseWriter, LogWriter, PendingChunk, Purged, WriteSet};
