//! Blocks of changes: many transactions, compressed together under one key.
//!
//! Owns how transactions become a block ([`BlockBuilder`]) and what its header says without
//! decompressing it ([`BlockHeader`]); [`super::transactions`] reads them back. The invariant: the
//! transactions of a block, and blocks among each other, grow in commit LSN.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use crate::error::Error;
use crate::format::compress::{Compressor, MAX_RAW_BYTES};
use crate::format::envelope::{self, Kind};
use crate::format::messages::{ChangesHeader, RelationRecords};
use crate::format::payload::{HEADS, Layouter, Parts};
use crate::format::records::RecordBuffer;
use crate::format::varint;
use crate::model::{Epoch, Lsn, Position, RelationVersionId, Timestamp, TransactionHeader};
use crate::writer::pending::{PendingAccount, PendingKey};

pub(crate) const HAS_ORIGIN: u8 = 1;
pub(crate) const IS_PENDING: u8 = 2;

/// How many records of a relation version a block holds or refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelationCount {
    /// The relation version.
    pub relation: RelationVersionId,
    /// Number of records.
    pub records: u64,
}

/// What a block says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// Number of the block in its log, dense from 1.
    pub seq: u64,
    /// `end_lsn` of the last transaction of the block before.
    pub prev_end_lsn: Lsn,
    /// Its first transaction.
    pub first: Position,
    /// Its last transaction.
    pub last: Position,
    /// Where the last transaction ends.
    pub end_lsn: Lsn,
    /// Number of transactions.
    pub transactions: u64,
    /// Number of records, those in pending chunks it refers to included.
    pub records: u64,
    /// The earliest commit time in it.
    pub first_commit_time: Timestamp,
    /// The latest commit time in it.
    pub last_commit_time: Timestamp,
    /// The relation versions in it, by id.
    pub relations: Vec<RelationCount>,
    /// Length before compression.
    pub raw_length: u64,
    /// Length of the whole value in the database.
    pub stored_length: u64,
}

impl BlockHeader {
    /// From the stored header; `None` when a part is missing.
    pub(crate) fn from_message(
        message: &ChangesHeader,
        stored_length: usize,
    ) -> Option<BlockHeader> {
        let count = |entry: &RelationRecords| RelationCount {
            relation: RelationVersionId(entry.relation),
            records: entry.records,
        };
        Some(BlockHeader {
            seq: message.seq,
            prev_end_lsn: Lsn::new(message.prev_end_lsn),
            first: message.first?.into(),
            last: message.last?.into(),
            end_lsn: Lsn::new(message.end_lsn),
            transactions: message.transactions,
            records: message.records,
            first_commit_time: Timestamp(message.first_commit_time),
            last_commit_time: Timestamp(message.last_commit_time),
            relations: message.relations.iter().map(count).collect(),
            raw_length: message.coding?.raw_length,
            stored_length: stored_length as u64,
        })
    }
}

/// Opens a stored block and checks that its header is one.
pub(crate) fn open(
    key: Position,
    value: &[u8],
) -> Result<(BlockHeader, envelope::Opened<'_, ChangesHeader>), Error> {
    let damaged = || Error::corrupt_at("a block of changes", key);
    let opened = envelope::open::<ChangesHeader>(Kind::Changes, value, || {
        format!("the block of changes at {key}")
    })?;
    let header = BlockHeader::from_message(&opened.header, value.len()).ok_or_else(damaged)?;
    let in_order = header.first <= header.last && header.first.epoch == header.last.epoch;
    if header.first != key || header.transactions == 0 || header.seq == 0 || !in_order {
        return Err(damaged());
    }
    Ok((header, opened))
}

/// The transaction before, from which the next one's header is a difference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    pub(crate) end_lsn: u64,
    pub(crate) commit_time: i64,
    pub(crate) xid: u64,
}

#[derive(Debug)]
struct Pending {
    key: PendingKey,
    commit_lsn: Lsn,
    aborted: Vec<u32>,
}

/// Transactions on their way into a block.
///
/// Pushing copies bytes and appends a few variable-length integers; compression happens when the
/// block is written.
#[derive(Debug)]
pub struct BlockBuilder {
    epoch: Epoch,
    heads: [Vec<u8>; HEADS],
    origins: Vec<u8>,
    runs: Vec<u64>,
    pending: Vec<Pending>,
    ops: Vec<u8>,
    tuples: Vec<u8>,
    other: Vec<u8>,
    first_lsn: Lsn,
    last_lsn: Lsn,
    last_end_lsn: Lsn,
    first_commit_time: Timestamp,
    last_commit_time: Timestamp,
    before: Option<Before>,
    out_of_order: bool,
}

impl BlockBuilder {
    /// An empty one for transactions of this epoch.
    pub fn new(epoch: Epoch) -> BlockBuilder {
        BlockBuilder {
            epoch,
            heads: Default::default(),
            origins: Vec::new(),
            runs: Vec::new(),
            pending: Vec::new(),
            ops: Vec::new(),
            tuples: Vec::new(),
            other: Vec::new(),
            first_lsn: Lsn::INVALID,
            last_lsn: Lsn::INVALID,
            last_end_lsn: Lsn::INVALID,
            first_commit_time: Timestamp(i64::MAX),
            last_commit_time: Timestamp(i64::MIN),
            before: None,
            out_of_order: false,
        }
    }

    /// Adds a transaction with its records. How many it has is taken from `records`.
    pub fn push(&mut self, header: &TransactionHeader, records: &RecordBuffer) {
        self.push_head(header, 0, records.record_count());
        self.ops.extend_from_slice(&records.ops);
        self.tuples.extend_from_slice(&records.tuples);
        self.other.extend_from_slice(&records.other);
    }

    /// Adds a transaction whose records went to pending chunks, without those of the `aborted`
    /// subtransactions. How many it has is taken from the writer's account of the key.
    pub fn push_pending(&mut self, header: &TransactionHeader, key: PendingKey, aborted: &[u32]) {
        self.push_head(header, IS_PENDING, 0);
        let mut aborted = aborted.to_vec();
        aborted.sort_unstable();
        aborted.dedup();
        self.pending.push(Pending { key, commit_lsn: header.commit_lsn, aborted });
    }

    /// Length before compression, so far.
    pub fn raw_bytes(&self) -> usize {
        let heads: usize = self.heads.iter().map(Vec::len).sum();
        let aborted: usize = self.pending.iter().map(|pending| 32 + pending.aborted.len()).sum();
        heads + self.origins.len() + self.ops.len() + self.tuples.len() + self.other.len() + aborted
    }

    /// Number of transactions so far.
    pub fn transaction_count(&self) -> u64 {
        self.runs.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Where the last transaction ends; [`Lsn::INVALID`] when there is none.
    pub fn last_end_lsn(&self) -> Lsn {
        self.last_end_lsn
    }

    /// The first transaction.
    pub(crate) fn first(&self) -> Position {
        Position::of_transaction(self.epoch, self.first_lsn)
    }

    /// The last transaction.
    pub(crate) fn last(&self) -> Position {
        Position::of_transaction(self.epoch, self.last_lsn)
    }

    /// The pending transactions in it, and where they committed.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (PendingKey, Position)> {
        let position = |lsn| Position::of_transaction(self.epoch, lsn);
        self.pending.iter().map(move |pending| (pending.key, position(pending.commit_lsn)))
    }

    fn push_head(&mut self, header: &TransactionHeader, flags: u8, records: u64) {
        if self.runs.is_empty() {
            self.first_lsn = header.commit_lsn;
        } else if header.commit_lsn <= self.last_lsn {
            self.out_of_order = true;
        }
        let commit_lsn = header.commit_lsn.as_u64();
        let before = self.before.unwrap_or(Before { end_lsn: commit_lsn, commit_time: 0, xid: 0 });
        let flags = flags | if header.origin.is_some() { HAS_ORIGIN } else { 0 };
        let [h0, h1, h2, h3, h4, h5] = &mut self.heads;
        h0.push(flags);
        varint::put_signed(h1, commit_lsn.wrapping_sub(before.end_lsn).cast_signed());
        varint::put(h2, header.end_lsn.as_u64().wrapping_sub(commit_lsn));
        varint::put_signed(h3, header.commit_time.0.wrapping_sub(before.commit_time));
        varint::put_signed(h4, header.xid.as_u64().wrapping_sub(before.xid).cast_signed());
        varint::put(h5, records);
        if let Some(origin) = &header.origin {
            varint::put(&mut self.origins, origin.len() as u64);
            self.origins.extend_from_slice(origin.as_bytes());
        }
        self.before = Some(Before {
            end_lsn: header.end_lsn.as_u64(),
            commit_time: header.commit_time.0,
            xid: header.xid.as_u64(),
        });
        self.last_lsn = header.commit_lsn;
        self.last_end_lsn = header.end_lsn;
        self.first_commit_time = self.first_commit_time.min(header.commit_time);
        self.last_commit_time = self.last_commit_time.max(header.commit_time);
        self.runs.push(records);
    }

    /// Makes the block's value. `account` gives what is known of a pending transaction.
    pub(crate) fn encode<'a>(
        &self,
        place: Sequel,
        relations: u32,
        codec: &mut Codec,
        account: impl Fn(PendingKey) -> Option<&'a PendingAccount>,
    ) -> Result<Vec<u8>, Error> {
        if self.out_of_order || self.is_empty() || self.first() <= place.after {
            return Err(Error::Invariant("transactions to be written are not in commit order"));
        }
        let Codec { layouter, compressor, raw } = codec;
        let mut references = Vec::new();
        let mut records: u64 = self.runs.iter().sum();
        for pending in &self.pending {
            let account = account(pending.key).ok_or(Error::Invariant(
                "a transaction refers to pending chunks that were never written",
            ))?;
            put_reference(&mut references, pending, account);
            records += account.records;
            for entry in &account.relations {
                layouter.tally.add(*entry.0, *entry.1);
            }
        }
        let [h0, h1, h2, h3, h4, h5] = &self.heads;
        let parts = Parts {
            heads: [h0, h1, h2, h3, h4, h5],
            origins: &self.origins,
            references: &references,
            ops: &self.ops,
            tuples: &self.tuples,
            other: &self.other,
        };
        let (layout, slices) = layouter.lay_out(&parts, self.runs.iter().copied(), relations)?;
        raw.clear();
        for slice in slices {
            raw.extend_from_slice(slice);
        }
        if raw.len() > MAX_RAW_BYTES {
            return Err(Error::Invariant("a block is too long: its transactions belong in chunks"));
        }
        let (coding, payload) = compressor.compress(raw)?;
        let header = ChangesHeader {
            seq: place.seq,
            coding: Some(coding),
            prev_end_lsn: place.prev_end_lsn.as_u64(),
            first: Some(self.first().into()),
            last: Some(self.last().into()),
            end_lsn: self.last_end_lsn.as_u64(),
            transactions: self.transaction_count(),
            records,
            first_commit_time: self.first_commit_time.0,
            last_commit_time: self.last_commit_time.0,
            relations: layouter.tally.take(),
            layout,
        };
        Ok(envelope::seal(Kind::Changes, &header, payload).0)
    }
}

/// Where a block goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequel {
    pub(crate) seq: u64,
    /// The last transaction before it.
    pub(crate) after: Position,
    pub(crate) prev_end_lsn: Lsn,
}

/// Everything that encoding needs again and again.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) layouter: Layouter,
    pub(crate) compressor: Compressor,
    pub(crate) raw: Vec<u8>,
}

impl Codec {
    pub(crate) fn new() -> Result<Codec, Error> {
        let compressor = Compressor::new()?;
        Ok(Codec { layouter: Layouter::default(), compressor, raw: Vec::new() })
    }
}

/// varint connection, xid, chunks, records; 4 bytes checksum; varint number of aborted subxids and
/// the differences between them.
fn put_reference(out: &mut Vec<u8>, pending: &Pending, account: &PendingAccount) {
    let Pending { key, aborted, .. } = pending;
    for value in [key.connection, key.xid.as_u64(), u64::from(account.chunks), account.records] {
        varint::put(out, value);
    }
    out.extend_from_slice(&account.chain.to_le_bytes());
    varint::put(out, aborted.len() as u64);
    let mut before = 0;
    for subxid in aborted {
        varint::put(out, u64::from(subxid - before));
        before = *subxid;
    }
}
