//! Records of a transaction, encoded as they arrive.
//!
//! Owns the three streams that records become: *ops*, a few bytes a record; *tuples*, row images as
//! pgoutput sent them, end to end; *other*, what is not a row. The invariant: the streams can be
//! appended to each other, so a block is made of transactions by copying.
//!
//! | op | bytes |
//! |---|---|
//! | 1 | bits 0-2 what it is, bit 3 a subxid follows, bit 4 CASCADE, bit 5 RESTART IDENTITY |
//! | varint | for rows: the relation version |
//! | signed varint | with a subxid: its difference from the one before, from 0 |

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use bytes::Bytes;

use crate::error::Error;
use crate::format::varint;
use crate::model::{Change, ChangeRecord, OldTuple, RelationVersionId, Tuple};

const INSERT: u8 = 0;
const UPDATE: u8 = 1;
const UPDATE_KEY: u8 = 2;
const UPDATE_FULL: u8 = 3;
const DELETE_KEY: u8 = 4;
const DELETE_FULL: u8 = 5;
const TRUNCATE: u8 = 6;
const MESSAGE: u8 = 7;

const WHAT: u8 = 0b0000_0111;
const HAS_SUBXID: u8 = 0b0000_1000;
const CASCADE: u8 = 0b0001_0000;
const RESTART_IDENTITY: u8 = 0b0010_0000;

/// The old row image of a record to be pushed: tuple bytes as received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldImage<'a> {
    /// Not sent.
    Absent,
    /// The identity's columns.
    Key(&'a [u8]),
    /// The whole row.
    Full(&'a [u8]),
}

/// The records of a transaction, or of a piece of one, encoded.
///
/// Pushing copies bytes into buffers that are used again after [`RecordBuffer::clear`]; nothing is
/// allocated for a record.
#[derive(Clone, Debug, Default)]
pub struct RecordBuffer {
    pub(crate) ops: Vec<u8>,
    pub(crate) tuples: Vec<u8>,
    pub(crate) other: Vec<u8>,
    records: u64,
    subxid: u32,
}

impl RecordBuffer {
    /// An empty one.
    pub fn new() -> RecordBuffer {
        RecordBuffer::default()
    }

    /// Adds a new row. Row images must be bytes that [`Tuple::measure`] accepted.
    pub fn push_insert(&mut self, subxid: Option<u32>, relation: RelationVersionId, new: &[u8]) {
        self.push_op(INSERT, subxid, Some(relation));
        self.tuples.extend_from_slice(new);
    }

    /// Adds a changed row.
    pub fn push_update(
        &mut self,
        subxid: Option<u32>,
        relation: RelationVersionId,
        old: OldImage<'_>,
        new: &[u8],
    ) {
        let (what, old) = match old {
            OldImage::Absent => (UPDATE, &[][..]),
            OldImage::Key(old) => (UPDATE_KEY, old),
            OldImage::Full(old) => (UPDATE_FULL, old),
        };
        self.push_op(what, subxid, Some(relation));
        self.tuples.extend_from_slice(old);
        self.tuples.extend_from_slice(new);
    }

    /// Adds a removed row.
    ///
    /// # Panics
    /// When there is no old image: PostgreSQL sends no such delete.
    pub fn push_delete(
        &mut self,
        subxid: Option<u32>,
        relation: RelationVersionId,
        old: OldImage<'_>,
    ) {
        let (what, old) = match old {
            OldImage::Absent => panic!("a delete without an old image cannot be replayed"),
            OldImage::Key(old) => (DELETE_KEY, old),
            OldImage::Full(old) => (DELETE_FULL, old),
        };
        self.push_op(what, subxid, Some(relation));
        self.tuples.extend_from_slice(old);
    }

    /// Adds a TRUNCATE of several tables at once.
    pub fn push_truncate(
        &mut self,
        subxid: Option<u32>,
        relations: &[RelationVersionId],
        cascade: bool,
        restart_identity: bool,
    ) {
        let cascade = if cascade { CASCADE } else { 0 };
        let restart = if restart_identity { RESTART_IDENTITY } else { 0 };
        self.push_op(TRUNCATE | cascade | restart, subxid, None);
        varint::put(&mut self.other, relations.len() as u64);
        for relation in relations {
            varint::put(&mut self.other, u64::from(relation.0));
        }
    }

    /// Adds a logical message.
    pub fn push_message(&mut self, subxid: Option<u32>, prefix: &str, content: &[u8]) {
        self.push_op(MESSAGE, subxid, None);
        for part in [prefix.as_bytes(), content] {
            varint::put(&mut self.other, part.len() as u64);
            self.other.extend_from_slice(part);
        }
    }

    /// Encoded length so far.
    pub fn bytes(&self) -> usize {
        self.ops.len() + self.tuples.len() + self.other.len()
    }

    /// Number of records so far.
    pub fn record_count(&self) -> u64 {
        self.records
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Forgets the records and keeps the buffers.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.tuples.clear();
        self.other.clear();
        self.records = 0;
        self.subxid = 0;
    }

    #[inline]
    fn push_op(&mut self, what: u8, subxid: Option<u32>, relation: Option<RelationVersionId>) {
        let flag = if subxid.is_some() { HAS_SUBXID } else { 0 };
        self.ops.push(what | flag);
        if let Some(relation) = relation {
            varint::put(&mut self.ops, u64::from(relation.0));
        }
        if let Some(subxid) = subxid {
            varint::put_signed(&mut self.ops, i64::from(subxid) - i64::from(self.subxid));
            self.subxid = subxid;
        }
        self.records += 1;
    }
}

/// One op, taken off the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    what: u8,
    /// 0 when it is not about rows.
    pub(crate) relation: u32,
    subxid: Option<u32>,
}

impl Op {
    /// Takes one off the front of `ops`; `subxid` is the one before.
    #[inline]
    pub(crate) fn take(ops: &mut &[u8], subxid: &mut u32) -> Option<Op> {
        let (what, rest) = ops.split_first()?;
        *ops = rest;
        let is_truncate = what & WHAT == TRUNCATE;
        let known = WHAT | HAS_SUBXID | if is_truncate { CASCADE | RESTART_IDENTITY } else { 0 };
        if what & !known != 0 {
            return None;
        }
        let relation = match what & WHAT {
            TRUNCATE | MESSAGE => 0,
            _ => u32::try_from(varint::take(ops)?).ok().filter(|id| *id != 0)?,
        };
        if what & HAS_SUBXID != 0 {
            let next = i64::from(*subxid).checked_add(varint::take_signed(ops)?)?;
            *subxid = u32::try_from(next).ok()?;
        }
        let subxid = (what & HAS_SUBXID != 0).then_some(*subxid);
        Some(Op { what: *what, relation, subxid })
    }

    /// Whether an old row image stands in the tuples, and whether a new one does, in this order.
    #[inline]
    pub(crate) fn images(self) -> (bool, bool) {
        match self.what & WHAT {
            INSERT | UPDATE => (false, true),
            UPDATE_KEY | UPDATE_FULL => (true, true),
            DELETE_KEY | DELETE_FULL => (true, false),
            _ => (false, false),
        }
    }

    /// Takes what is not a row off `other`, naming the truncated relations to `truncated`.
    pub(crate) fn skip_other(
        self,
        other: &mut &[u8],
        mut truncated: impl FnMut(u32),
    ) -> Option<()> {
        match self.what & WHAT {
            TRUNCATE => {
                for _ in 0..varint::take(other)? {
                    let id = u32::try_from(varint::take(other)?).ok().filter(|id| *id != 0)?;
                    truncated(id);
                }
            }
            MESSAGE => {
                std::str::from_utf8(varint::take_slice(other)?).ok()?;
                varint::take_slice(other)?;
            }
            _ => {}
        }
        Some(())
    }
}

/// The records of one transaction or chunk, in order. Row images are slices of one buffer.
#[derive(Clone, Debug)]
pub struct Records {
    ops: Bytes,
    tuples: Bytes,
    other: Bytes,
    subxid: u32,
    ordinal: u64,
    left: u64,
}

impl Records {
    pub(crate) fn new(
        ops: Bytes,
        tuples: Bytes,
        other: Bytes,
        first_ordinal: u64,
        count: u64,
    ) -> Records {
        Records { ops, tuples, other, subxid: 0, ordinal: first_ordinal, left: count }
    }

    /// How many are still to come.
    pub fn remaining(&self) -> u64 {
        self.left
    }

    /// Whether every stream was used up: bytes nobody reads would be a sign of damage.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.left == 0 && self.ops.is_empty() && self.tuples.is_empty() && self.other.is_empty()
    }

    fn read(&mut self) -> Option<ChangeRecord> {
        let mut ops: &[u8] = &self.ops;
        let op = Op::take(&mut ops, &mut self.subxid)?;
        let used = self.ops.len() - ops.len();
        let _ = self.ops.split_to(used);
        let relation = RelationVersionId(op.relation);
        let (has_old, has_new) = op.images();
        let old = if has_old { Some(Tuple::split_from(&mut self.tuples).ok()?) } else { None };
        let new = if has_new { Some(Tuple::split_from(&mut self.tuples).ok()?) } else { None };
        let change = match (op.what & WHAT, old, new) {
            (INSERT, None, Some(new)) => Change::Insert { relation, new },
            (UPDATE, None, Some(new)) => Change::Update { relation, old: OldTuple::Absent, new },
            (UPDATE_KEY, Some(old), Some(new)) => {
                Change::Update { relation, old: OldTuple::Key(old), new }
            }
            (UPDATE_FULL, Some(old), Some(new)) => {
                Change::Update { relation, old: OldTuple::Full(old), new }
            }
            (DELETE_KEY, Some(old), None) => Change::Delete { relation, old: OldTuple::Key(old) },
            (DELETE_FULL, Some(old), None) => Change::Delete { relation, old: OldTuple::Full(old) },
            (TRUNCATE, None, None) => self.read_truncate(op)?,
            (MESSAGE, None, None) => self.read_message()?,
            _ => return None,
        };
        Some(ChangeRecord { ordinal: self.ordinal, subxid: op.subxid, change })
    }

    fn read_truncate(&mut self, op: Op) -> Option<Change> {
        let mut other: &[u8] = &self.other;
        let mut relations = Vec::new();
        op.skip_other(&mut other, |id| relations.push(RelationVersionId(id)))?;
        let used = self.other.len() - other.len();
        let _ = self.other.split_to(used);
        let cascade = op.what & CASCADE != 0;
        let restart_identity = op.what & RESTART_IDENTITY != 0;
        Some(Change::Truncate { relations, cascade, restart_identity })
    }

    fn read_message(&mut self) -> Option<Change> {
        let mut other: &[u8] = &self.other;
        let prefix = String::from_utf8(varint::take_slice(&mut other)?.to_vec()).ok()?;
        let content = self.other.slice_ref(varint::take_slice(&mut other)?);
        let used = self.other.len() - other.len();
        let _ = self.other.split_to(used);
        Some(Change::Message { prefix, content })
    }
}

impl Iterator for Records {
    type Item = Result<ChangeRecord, Error>;

    fn next(&mut self) -> Option<Result<ChangeRecord, Error>> {
        self.left = self.left.checked_sub(1)?;
        let record = self.read();
        if record.is_none() {
            self.left = 0;
        }
        self.ordinal += 1;
        Some(record.ok_or_else(|| Error::corrupt("a change record")))
    }
}
