//! The messages of pgoutput as values that borrow from the bytes they came in.

use pgtrail_log::{Lsn, OldImage, ReplicaIdentity, Timestamp};

/// One message.
#[derive(Clone, PartialEq, Debug)]
pub enum Message<'a> {
    /// `B`: a transaction follows, whole.
    Begin(Begin),
    /// `C`: its end.
    Commit(Commit),
    /// `O`: the transaction was replayed from elsewhere.
    Origin { commit_lsn: Lsn, name: &'a str },
    /// `R`: a table's shape, before its first row and whenever it changed.
    Relation(RelationDescription<'a>),
    /// `Y`: the name of a type that is not built in, before the relation that uses it.
    Type(TypeDescription<'a>),
    /// `I`: a new row.
    Insert { row: Row, new: &'a [u8] },
    /// `U`: a changed row.
    Update { row: Row, old: OldImage<'a>, new: &'a [u8] },
    /// `D`: a removed row; `old` is never absent.
    Delete { row: Row, old: OldImage<'a> },
    /// `T`: emptied tables.
    Truncate { xid: Option<u32>, relations: Oids<'a>, cascade: bool, restart_identity: bool },
    /// `M`: a logical message, which any role can send.
    Logical { xid: Option<u32>, transactional: bool, lsn: Lsn, prefix: &'a str, content: &'a [u8] },
    /// `S`: a chunk of a transaction in progress begins.
    StreamStart { xid: u32, first_segment: bool },
    /// `E`: the chunk ends.
    StreamStop,
    /// `c`: a transaction sent in chunks committed.
    StreamCommit { xid: u32, commit: Commit },
    /// `A`: one sent in chunks, or a subtransaction of it, was rolled back. Both ids are the same
    /// when all of it was.
    StreamAbort { xid: u32, subxid: u32 },
    /// `b`: a transaction follows that was prepared, not committed.
    BeginPrepare(Prepared<'a>),
    /// `P`: its end.
    Prepare(Prepared<'a>),
    /// `K`: a prepared transaction committed.
    CommitPrepared { xid: u32, gid: &'a str, commit: Commit },
    /// `r`: a prepared transaction was rolled back.
    RollbackPrepared(RollbackPrepared<'a>),
    /// `p`: a transaction sent in chunks was prepared.
    StreamPrepare(Prepared<'a>),
}

/// The start of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begin {
    /// LSN of the commit record.
    pub commit_lsn: Lsn,
    /// When it committed.
    pub commit_time: Timestamp,
    /// The top-level id.
    pub xid: u32,
}

/// The end of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    /// LSN of the commit record.
    pub commit_lsn: Lsn,
    /// End of the commit record.
    pub end_lsn: Lsn,
    /// When it committed.
    pub commit_time: Timestamp,
}

/// A transaction at PREPARE TRANSACTION.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prepared<'a> {
    /// LSN of the prepare record.
    pub prepare_lsn: Lsn,
    /// End of the prepare record.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time: Timestamp,
    /// The top-level id.
    pub xid: u32,
    /// The name the application gave it.
    pub gid: &'a str,
}

/// The end of a prepared transaction that came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RollbackPrepared<'a> {
    /// End of the prepare record.
    pub prepare_end_lsn: Lsn,
    /// End of the rollback record.
    pub rollback_end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time: Timestamp,
    /// When it was rolled back.
    pub rollback_time: Timestamp,
    /// The top-level id.
    pub xid: u32,
    /// The name the application gave it.
    pub gid: &'a str,
}

/// Which table a row belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The (sub)transaction that made the change; only inside a chunk of a transaction in progress.
    pub xid: Option<u32>,
    /// `pg_class.oid`.
    pub relation: u32,
}

/// A table's shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelationDescription<'a> {
    /// The (sub)transaction, inside a chunk of a transaction in progress.
    pub xid: Option<u32>,
    /// `pg_class.oid`.
    pub relation: u32,
    /// Schema; `pg_catalog` where the wire has an empty string.
    pub schema: &'a str,
    /// Table.
    pub name: &'a str,
    /// What is sent of old rows.
    pub replica_identity: ReplicaIdentity,
    /// Columns in the order tuples carry them.
    pub columns: Vec<ColumnDescription<'a>>,
}

/// A column of a [`RelationDescription`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ColumnDescription<'a> {
    /// Whether it belongs to the replica identity.
    pub is_key: bool,
    /// `attname`.
    pub name: &'a str,
    /// `atttypid`.
    pub type_oid: u32,
    /// `atttypmod`.
    pub typmod: i32,
}

/// The name of a type. For a domain it is its base type's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TypeDescription<'a> {
    /// The (sub)transaction, inside a chunk of a transaction in progress.
    pub xid: Option<u32>,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// Schema; `pg_catalog` where the wire has an empty string.
    pub schema: &'a str,
    /// Type.
    pub name: &'a str,
}

/// Relation oids of a TRUNCATE, still in wire order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oids<'a>(&'a [u8]);

impl<'a> Oids<'a> {
    /// Takes bytes whose length is a multiple of four.
    pub(super) fn new(bytes: &'a [u8]) -> Oids<'a> {
        Oids(bytes)
    }

    /// Number of oids.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The oids, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        self.0.chunks_exact(4).filter_map(|chunk| chunk.try_into().ok().map(u32::from_be_bytes))
    }
}
