//! The change log: its vocabulary, its on-disk format, and the RocksDB store that keeps it.
//!
//! This crate is the only meeting point of reader and applier. It knows no network and no
//! PostgreSQL client, so a log can be dumped and checked on a machine without a server.
//! [`model`] holds pure values; everything else is about keeping them.

pub mod model;

pub use model::{
    Change, ChangeRecord, Column, Datum, Disposition, Epoch, Lsn, OldTuple, Position,
    RelationVersion, RelationVersionId, ReplicaIdentity, Snapshot, Timestamp, TransactionHeader,
    Tuple, Xid,
};
