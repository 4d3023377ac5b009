use bytes::Bytes;

use super::{Lsn, RelationVersionId, Timestamp, Tuple, Xid};

/// What the log knows of a transaction before its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionHeader {
    /// The top-level id, widened.
    pub xid: Xid,
    /// Start of the commit record: orders transactions.
    pub commit_lsn: Lsn,
    /// End of the commit record: what is confirmed to the slot and resumed from.
    pub end_lsn: Lsn,
    /// When it committed, by the source's clock.
    pub commit_time: Timestamp,
    /// Name of the replication origin it was replayed from, if any.
    pub origin: Option<String>,
    /// Number of records in it (of a pending one: rows of aborted subtransactions included).
    pub record_count: u64,
}

/// What is known of the row before an update or delete, as the replica identity allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OldTuple {
    /// Not sent: the identity did not change, so the new image carries it.
    Absent,
    /// Only the identity's columns; the others are null and mean "not sent".
    Key(Tuple),
    /// The whole row.
    Full(Tuple),
}

impl OldTuple {
    /// The image, if one was sent.
    pub fn tuple(&self) -> Option<&Tuple> {
        match self {
            OldTuple::Absent => None,
            OldTuple::Key(tuple) | OldTuple::Full(tuple) => Some(tuple),
        }
    }
}

/// One change, in the source's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new row.
    Insert { relation: RelationVersionId, new: Tuple },
    /// A changed row.
    Update { relation: RelationVersionId, old: OldTuple, new: Tuple },
    /// A removed row. `old` is never [`OldTuple::Absent`].
    Delete { relation: RelationVersionId, old: OldTuple },
    /// Emptied tables, all in one statement.
    Truncate { relations: Vec<RelationVersionId>, cascade: bool, restart_identity: bool },
    /// A transactional logical message. Any role can send one: untrusted.
    Message { prefix: String, content: Bytes },
}

/// A change at its place in its transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangeRecord {
    /// Number in the transaction, from 0, as received; never renumbered when subtransactions abort.
    pub ordinal: u64,
    /// Low 32 bits of the subtransaction that made it; only records of streamed transactions carry
    /// one, because only there an abort can come after the rows.
    pub subxid: Option<u32>,
    /// What happened.
    pub change: Change,
}
