//! The headers and small values of format version 1, as protocol buffers.
//!
//! Fields may be added with new numbers; a number is never given another meaning.

use crate::model::{Epoch, Lsn, Position};

/// A place in the log.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Place {
    #[prost(uint32, tag = "1")]
    pub(crate) epoch: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) commit_lsn: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) ordinal: u64,
}

/// How a payload was made from its raw form.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Coding {
    /// See [`super::compress`].
    #[prost(uint32, tag = "1")]
    pub(crate) codec: u32,
    /// Key it is encrypted with; 0: not encrypted.
    #[prost(uint32, tag = "2")]
    pub(crate) key_id: u32,
    /// Length of the raw form.
    #[prost(uint64, tag = "3")]
    pub(crate) raw_length: u64,
}

/// How many records of a relation version.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct RelationRecords {
    #[prost(uint32, tag = "1")]
    pub(crate) relation: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) records: u64,
}

/// Header of a block of changes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ChangesHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) seq: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) coding: Option<Coding>,
    /// `end_lsn` of the last transaction of the block before: the chain.
    #[prost(uint64, tag = "3")]
    pub(crate) prev_end_lsn: u64,
    #[prost(message, optional, tag = "4")]
    pub(crate) first: Option<Place>,
    #[prost(message, optional, tag = "5")]
    pub(crate) last: Option<Place>,
    #[prost(uint64, tag = "6")]
    pub(crate) end_lsn: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) transactions: u64,
    /// Inline records and those of pending chunks it refers to.
    #[prost(uint64, tag = "8")]
    pub(crate) records: u64,
    #[prost(sint64, tag = "9")]
    pub(crate) first_commit_time: i64,
    #[prost(sint64, tag = "10")]
    pub(crate) last_commit_time: i64,
    #[prost(message, repeated, tag = "11")]
    pub(crate) relations: Vec<RelationRecords>,
    /// Layout of the raw form, see [`super::payload`].
    #[prost(uint32, tag = "12")]
    pub(crate) layout: u32,
}

/// Header of one piece of a pending chunk. The first piece's describes the whole chunk.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ChunkHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) connection: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) xid: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) n: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) piece: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) pieces: u32,
    #[prost(message, optional, tag = "6")]
    pub(crate) coding: Option<Coding>,
    /// Raw length of all pieces.
    #[prost(uint64, tag = "7")]
    pub(crate) total_length: u64,
    #[prost(uint32, tag = "8")]
    pub(crate) layout: u32,
    /// Ordinal of its first record in the transaction.
    #[prost(uint64, tag = "9")]
    pub(crate) first_ordinal: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) records: u64,
    /// Checksum over the checksums of all pieces before this one, from the transaction's first.
    #[prost(fixed32, tag = "11")]
    pub(crate) chain: u32,
}

/// Says that a pending transaction committed, and where.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct PendingCommit {
    #[prost(uint64, tag = "1")]
    pub(crate) seq: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) position: Option<Place>,
}

/// Header of one piece of a base block.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct BasePieceHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) base: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) n: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) piece: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) pieces: u32,
    #[prost(message, optional, tag = "5")]
    pub(crate) coding: Option<Coding>,
    #[prost(uint64, tag = "6")]
    pub(crate) total_length: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) rows: u64,
}

/// A column of a relation version.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ColumnMessage {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) type_oid: u32,
    #[prost(string, tag = "3")]
    pub(crate) type_schema: String,
    #[prost(string, tag = "4")]
    pub(crate) type_name: String,
    #[prost(sint32, tag = "5")]
    pub(crate) typmod: i32,
    #[prost(bool, tag = "6")]
    pub(crate) is_key: bool,
}

/// A relation version.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RelationMessage {
    #[prost(uint32, tag = "1")]
    pub(crate) relation: u32,
    #[prost(string, tag = "2")]
    pub(crate) schema: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    /// `pg_class.relreplident`, one character.
    #[prost(uint32, tag = "4")]
    pub(crate) replica_identity: u32,
    #[prost(message, repeated, tag = "5")]
    pub(crate) columns: Vec<ColumnMessage>,
}

/// A complete base.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BaseMessage {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) shape: Option<RelationMessage>,
    #[prost(string, tag = "3")]
    pub(crate) snapshot: String,
    /// COPY BINARY rather than text.
    #[prost(bool, tag = "4")]
    pub(crate) binary: bool,
    #[prost(uint64, tag = "5")]
    pub(crate) blocks: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) rows: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) raw_bytes: u64,
    #[prost(fixed32, tag = "8")]
    pub(crate) crc: u32,
    #[prost(bool, tag = "9")]
    pub(crate) purged: bool,
    #[prost(message, optional, tag = "10")]
    pub(crate) rebase: Option<RebaseMessage>,
}

/// How a base read beside the stream meets the changes.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct RebaseMessage {
    #[prost(uint64, tag = "1")]
    pub(crate) floor: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) ceiling: u64,
}

/// A table that could not be copied.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IsolatedMessage {
    #[prost(message, optional, tag = "1")]
    pub(crate) table: Option<TableMessage>,
    #[prost(string, tag = "2")]
    pub(crate) reason: String,
}

/// A table of the initial set.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TableMessage {
    #[prost(uint32, tag = "1")]
    pub(crate) relation: u32,
    #[prost(string, tag = "2")]
    pub(crate) schema: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    /// About how large it was when the set was planned.
    #[prost(uint64, tag = "4")]
    pub(crate) bytes: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) rows: u64,
}

/// The initial set.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InitialSetMessage {
    #[prost(message, repeated, tag = "1")]
    pub(crate) tables: Vec<TableMessage>,
    #[prost(bool, tag = "2")]
    pub(crate) complete: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) isolated: Vec<IsolatedMessage>,
    #[prost(uint32, repeated, tag = "4")]
    pub(crate) gone: Vec<u32>,
}

/// What the pieces of the schema add up to.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SchemaMessage {
    #[prost(uint64, tag = "1")]
    pub(crate) pieces: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) raw_length: u64,
    /// Checksum over the pieces' checksums.
    #[prost(uint32, tag = "3")]
    pub(crate) crc: u32,
}

/// Header of one piece of the schema.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SchemaPieceHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) n: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) coding: Option<Coding>,
}

/// Where a sequence stands.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SequenceMessage {
    #[prost(string, tag = "1")]
    pub(crate) schema: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(sint64, tag = "3")]
    pub(crate) last_value: i64,
    #[prost(bool, tag = "4")]
    pub(crate) is_called: bool,
}

/// Where all selected sequences stand: the payload, before compression.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SequencesMessage {
    #[prost(sint64, tag = "1")]
    pub(crate) read_at: i64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) values: Vec<SequenceMessage>,
}

/// What stands before it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SequencesHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) coding: Option<Coding>,
}

/// A number that only grows, or an LSN.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Counter {
    #[prost(uint64, tag = "1")]
    pub(crate) value: u64,
}

/// Up to where the changes were purged.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct PurgedMessage {
    /// The last block that is gone.
    #[prost(uint64, tag = "1")]
    pub(crate) seq: u64,
    /// Its last transaction.
    #[prost(message, optional, tag = "2")]
    pub(crate) last: Option<Place>,
    /// Where that one ends.
    #[prost(uint64, tag = "3")]
    pub(crate) end_lsn: u64,
}

/// An epoch of the identity marker.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct EpochMessage {
    #[prost(uint32, tag = "1")]
    pub(crate) epoch: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) timeline: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) begins_at: u64,
}

/// The identity marker.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IdentityMessage {
    #[prost(string, tag = "1")]
    pub(crate) pipeline: String,
    #[prost(uint64, tag = "2")]
    pub(crate) system_identifier: u64,
    #[prost(string, tag = "3")]
    pub(crate) database: String,
    #[prost(string, tag = "4")]
    pub(crate) slot: String,
    #[prost(string, tag = "5")]
    pub(crate) publication: String,
    #[prost(string, tag = "6")]
    pub(crate) incarnation: String,
    #[prost(message, repeated, tag = "7")]
    pub(crate) epochs: Vec<EpochMessage>,
    #[prost(uint64, tag = "8")]
    pub(crate) consistent_point: u64,
    #[prost(string, tag = "9")]
    pub(crate) exported_snapshot: String,
    #[prost(sint64, tag = "10")]
    pub(crate) created: i64,
}

/// The durable mark.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MarkMessage {
    #[prost(string, tag = "1")]
    pub(crate) incarnation: String,
    /// Grows with every publication; the greater of the file's two copies counts.
    #[prost(uint64, tag = "2")]
    pub(crate) generation: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) seq: u64,
    #[prost(message, optional, tag = "4")]
    pub(crate) position: Option<Place>,
    #[prost(uint64, tag = "5")]
    pub(crate) end_lsn: u64,
    #[prost(uint32, tag = "6")]
    pub(crate) relations: u32,
    #[prost(uint32, tag = "7")]
    pub(crate) bases_complete: u32,
    #[prost(bool, tag = "8")]
    pub(crate) initial_complete: bool,
    /// Number of changes to the `meta` family: a witness for values that are replaced in place.
    #[prost(uint64, tag = "9")]
    pub(crate) revision: u64,
    /// Number of the set of sequence values, and the place they are at least as new as.
    #[prost(uint64, tag = "10")]
    pub(crate) sequences: u64,
    #[prost(uint64, tag = "11")]
    pub(crate) sequences_as_of: u64,
}

/// An applier's progress.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppliedMessage {
    #[prost(string, tag = "1")]
    pub(crate) applier: String,
    #[prost(string, tag = "2")]
    pub(crate) incarnation: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) position: Option<Place>,
    #[prost(uint64, tag = "4")]
    pub(crate) end_lsn: u64,
    #[prost(bool, tag = "5")]
    pub(crate) initial_loaded: bool,
    #[prost(sint64, tag = "6")]
    pub(crate) updated: i64,
    /// The last rebase that its destination has.
    #[prost(uint64, tag = "7")]
    pub(crate) rebased: u64,
}

impl From<Position> for Place {
    fn from(position: Position) -> Place {
        Place {
            epoch: position.epoch.0,
            commit_lsn: position.commit_lsn.as_u64(),
            ordinal: position.ordinal,
        }
    }
}

impl From<Place> for Position {
    fn from(place: Place) -> Position {
        Position {
            epoch: Epoch(place.epoch),
            commit_lsn: Lsn::new(place.commit_lsn),
            ordinal: place.ordinal,
        }
    }
}
