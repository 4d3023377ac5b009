//! The base: rows of the initial copy, and which tables belong to it.
//!
//! Owns the values only; [`crate::BaseWriter`] writes them, [`crate::LogFollower`] reads them. The
//! one invariant: a [`BaseHeader`] exists in a log only after every block it counts is durable.

use bytes::Bytes;

use crate::model::{Lsn, RelationVersion, Snapshot};

/// A table of the initial copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseTable {
    /// `pg_class.oid` at the source.
    pub relation: u32,
    /// Schema at the source.
    pub schema: String,
    /// Name at the source.
    pub name: String,
    /// How large it was.
    pub size: TableSize,
}

/// About how large a table was when the set was planned, to tell how far a copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableSize {
    /// Bytes on disk, without indexes; 0 when unknown.
    pub bytes: u64,
    /// Rows by the source's statistics; 0 when unknown.
    pub rows: u64,
}

/// A table whose rows could not be copied. Its changes are not applied before it has been copied
/// after all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Isolated {
    /// Which.
    pub table: BaseTable,
    /// Why, in the words of the error.
    pub reason: String,
}

/// How a base that was read beside the stream meets the changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rebase {
    /// The base holds every transaction that committed before this place.
    pub floor: Lsn,
    /// It holds none that committed at or after this one.
    pub ceiling: Lsn,
}

/// The tables whose bases must be complete before changes may be applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialSet {
    /// The tables, without those that vanished at the source.
    pub tables: Vec<BaseTable>,
    /// Whether all their bases are complete.
    pub complete: bool,
    /// Tables that were left out, because they could not be copied.
    pub isolated: Vec<Isolated>,
    /// Relations that were gone at the source before they were copied: what the stream says of them
    /// is of no use.
    pub gone: Vec<u32>,
}

/// How COPY wrote the rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CopyFormat {
    /// Lines of COPY's text format, each ending in a newline.
    Text,
    /// Tuples of COPY BINARY, without the file's header and trailer.
    Binary,
}

/// What is known of a base before its first row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseStart {
    /// The table; its columns are exactly those copied, in COPY's order.
    pub shape: RelationVersion,
    /// What the rows were read under.
    pub snapshot: Snapshot,
    /// How they were written.
    pub format: CopyFormat,
    /// Whether it replaces what a running pipeline has of the table.
    pub rebase: Option<Rebase>,
}

/// A complete base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseHeader {
    /// Its number in the log; never used again.
    pub id: u64,
    /// The table; its columns are exactly those copied, in COPY's order.
    pub shape: RelationVersion,
    /// What the rows were read under: a change is in the base exactly when this sees its transaction.
    pub snapshot: Snapshot,
    /// How the rows were written.
    pub format: CopyFormat,
    /// Number of blocks, numbered from 0.
    pub blocks: u64,
    /// Number of rows.
    pub rows: u64,
    /// Length of all rows before compression.
    pub raw_bytes: u64,
    /// CRC-32 over the blocks' CRCs in order.
    pub crc: u32,
    /// Whether the rows were purged and only this header is left.
    pub purged: bool,
    /// Whether it replaces what a running pipeline has of the table.
    pub rebase: Option<Rebase>,
}

/// A base that was begun and is not complete: its blocks are not synced and may vanish, as a whole,
/// with whatever ends the writer. Its number then never comes again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenBase {
    /// Its number in the log.
    pub id: u64,
    /// The table, and what its rows are read under.
    pub start: BaseStart,
}

/// Some rows of a base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseBlock {
    /// Whole rows in the base's [`CopyFormat`].
    pub rows: Bytes,
    /// How many.
    pub row_count: u64,
}
