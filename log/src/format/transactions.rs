//! Blocks read back.
//!
//! Owns the way from a stored block to transactions and records. The invariant: every record that
//! comes out was checked against the block's checksum and against the counts in its header.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use bytes::Bytes;

use crate::error::Error;
use crate::format::block::{Before, BlockHeader, HAS_ORIGIN, IS_PENDING, open};
use crate::format::compress;
use crate::format::payload::{HEADS, Sections};
use crate::format::records::Records;
use crate::format::varint;
use crate::model::{Lsn, Position, Timestamp, TransactionHeader, Xid};
use crate::writer::pending::{PendingKey, PendingRef};

/// A block of changes, decompressed.
#[derive(Debug)]
pub struct Block {
    header: BlockHeader,
    sections: Sections,
    /// Transactions up to here are left out.
    after: Option<Position>,
}

impl Block {
    /// Reads the value stored under `key`.
    pub(crate) fn read(key: Position, value: &[u8]) -> Result<Block, Error> {
        let (header, opened) = open(key, value)?;
        let damaged = || Error::corrupt_at("a block of changes", key);
        let mut raw = Vec::new();
        compress::expand(opened.header.coding, opened.payload, &mut raw).ok_or_else(damaged)?;
        let layout = opened.header.layout;
        let sections = Sections::of_block(layout, Bytes::from(raw)).ok_or_else(damaged)?;
        if sections.runs() as u64 != header.transactions {
            return Err(damaged());
        }
        Ok(Block { header, sections, after: None })
    }

    /// Leaves out the transactions up to `after`.
    pub(crate) fn skip_to_after(mut self, after: Option<Position>) -> Block {
        self.after = after;
        self
    }

    /// What the block says about itself.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Its transactions in commit order, less those the cursor was told to begin after.
    pub fn transactions(&self) -> impl Iterator<Item = Result<LoggedTransaction, Error>> + use<> {
        let after = self.after;
        self.all_transactions().filter(move |transaction| match (transaction, after) {
            (Ok(transaction), Some(after)) => transaction.position > after,
            _ => true,
        })
    }

    fn all_transactions(&self) -> Transactions {
        Transactions {
            sections: self.sections.clone(),
            header: self.header.clone(),
            heads_at: [0; HEADS],
            origins_at: 0,
            references_at: 0,
            run: 0,
            before: None,
            failed: false,
        }
    }
}

/// A transaction in the log.
#[derive(Clone, Debug)]
pub struct LoggedTransaction {
    /// What is known of it before its records.
    pub header: TransactionHeader,
    /// Where it is.
    pub position: Position,
    /// Its records, or where they are.
    pub body: Body,
}

/// The records of a transaction.
#[derive(Clone, Debug)]
pub enum Body {
    /// Here.
    Inline(Records),
    /// In pending chunks.
    Pending(PendingRef),
}

/// The transactions of a block, in commit order.
struct Transactions {
    sections: Sections,
    header: BlockHeader,
    heads_at: [usize; HEADS],
    origins_at: usize,
    references_at: usize,
    run: usize,
    before: Option<Before>,
    failed: bool,
}

impl Transactions {
    fn read(&mut self) -> Option<LoggedTransaction> {
        let mut streams = self.sections.heads.iter().zip(&mut self.heads_at);
        let mut head = |take: fn(&mut &[u8]) -> Option<u64>| {
            let (stream, at) = streams.next()?;
            take_at(stream, at, take)
        };
        let flags = head(take_byte)?;
        let lsn_step = head(take_signed_bits)?;
        let length = head(varint::take)?;
        let time_step = head(take_signed_bits)?;
        let xid_step = head(take_signed_bits)?;
        let count = head(varint::take)?;

        let first_lsn = self.header.first.commit_lsn.as_u64();
        let before = self.before.unwrap_or(Before { end_lsn: first_lsn, commit_time: 0, xid: 0 });
        let commit_lsn = before.end_lsn.wrapping_add(lsn_step);
        let end_lsn = commit_lsn.wrapping_add(length);
        let commit_time = before.commit_time.wrapping_add(time_step.cast_signed());
        let xid = before.xid.wrapping_add(xid_step);
        self.before = Some(Before { end_lsn, commit_time, xid });

        if flags & !u64::from(HAS_ORIGIN | IS_PENDING) != 0 {
            return None;
        }
        let origin = if flags & u64::from(HAS_ORIGIN) != 0 {
            let stream: &[u8] = &self.sections.origins;
            let mut rest = stream.get(self.origins_at..)?;
            let name = varint::take_slice(&mut rest)?;
            self.origins_at = stream.len() - rest.len();
            Some(String::from_utf8(name.to_vec()).ok()?)
        } else {
            None
        };
        let (body, record_count) = if flags & u64::from(IS_PENDING) != 0 {
            let (reference, records) = self.read_reference()?;
            (Body::Pending(reference), records)
        } else {
            (Body::Inline(self.sections.records(self.run, 0, count)?), count)
        };
        self.run += 1;
        let header = TransactionHeader {
            xid: Xid::new(xid),
            commit_lsn: Lsn::new(commit_lsn),
            end_lsn: Lsn::new(end_lsn),
            commit_time: Timestamp(commit_time),
            origin,
            record_count,
        };
        let position = Position::of_transaction(self.header.first.epoch, header.commit_lsn);
        let is_last = self.run as u64 == self.header.transactions;
        let ends_well =
            position == self.header.last && header.end_lsn == self.header.end_lsn && self.used_up();
        (!is_last || ends_well).then_some(LoggedTransaction { header, position, body })
    }

    /// Whether every stream was used up: bytes nobody reads would be a sign of damage.
    fn used_up(&self) -> bool {
        let heads = self.sections.heads.iter().zip(&self.heads_at);
        heads.into_iter().all(|(stream, at)| stream.len() == *at)
            && self.sections.origins.len() == self.origins_at
            && self.sections.references.len() == self.references_at
    }

    fn read_reference(&mut self) -> Option<(PendingRef, u64)> {
        let stream: &[u8] = &self.sections.references;
        let mut rest = stream.get(self.references_at..)?;
        let connection = varint::take(&mut rest)?;
        let xid = Xid::new(varint::take(&mut rest)?);
        let chunks = u32::try_from(varint::take(&mut rest)?).ok()?;
        let records = varint::take(&mut rest)?;
        let (crc, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        let mut aborted = Vec::new();
        let mut before = 0u32;
        for _ in 0..varint::take(&mut rest)? {
            before = before.checked_add(u32::try_from(varint::take(&mut rest)?).ok()?)?;
            aborted.push(before);
        }
        self.references_at = stream.len() - rest.len();
        let key = PendingKey { connection, xid };
        Some((PendingRef { key, chunks, crc: u32::from_le_bytes(*crc), aborted }, records))
    }
}

impl Iterator for Transactions {
    type Item = Result<LoggedTransaction, Error>;

    fn next(&mut self) -> Option<Result<LoggedTransaction, Error>> {
        if self.failed || self.run == self.sections.runs() {
            return None;
        }
        let transaction = self.read();
        self.failed = transaction.is_none();
        let first = self.header.first;
        Some(transaction.ok_or_else(|| Error::corrupt_at("a block of changes", first)))
    }
}

fn take_at(stream: &Bytes, at: &mut usize, take: fn(&mut &[u8]) -> Option<u64>) -> Option<u64> {
    let mut rest = stream.get(*at..)?;
    let value = take(&mut rest)?;
    *at = stream.len() - rest.len();
    Some(value)
}

fn take_byte(bytes: &mut &[u8]) -> Option<u64> {
    let (byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(u64::from(*byte))
}

fn take_signed_bits(bytes: &mut &[u8]) -> Option<u64> {
    varint::take_signed(bytes).map(i64::cast_unsigned)
}
