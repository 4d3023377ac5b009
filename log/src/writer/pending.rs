//! Pending transactions: those whose records are written before their commit is known.
//!
//! Owns the account of chunks written for each open transaction, from which the commit's reference
//! is made. The invariant: chunks of a key are numbered densely, and a key that was referred to or
//! discarded is never written to again.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;

use crate::error::Error;
use crate::format::block::Codec;
use crate::format::envelope::{self, Kind};
use crate::format::messages::ChunkHeader;
use crate::format::payload::Parts;
use crate::format::pieces;
use crate::keys;
use crate::model::Xid;
use crate::store::Store;
use crate::writer::PendingChunk;

/// What is gathered in memory before it is handed to the database, unsynced.
const BATCH_BYTES: usize = 8 << 20;

/// Names a transaction whose records are in pending chunks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PendingKey {
    /// The connection it was received on: after a reconnect the same transaction comes again.
    pub connection: u64,
    /// The top-level transaction.
    pub xid: Xid,
}

/// A commit's reference to its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingRef {
    /// Where they are.
    pub key: PendingKey,
    /// Number of chunks.
    pub chunks: u32,
    /// Checksum over the checksums of all pieces in order.
    pub crc: u32,
    /// Low 32 bits of the subtransactions that rolled back, sorted.
    pub aborted: Vec<u32>,
}

/// What was written for an open transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingAccount {
    pub(crate) chunks: u32,
    pub(crate) chain: u32,
    pub(crate) records: u64,
    /// Records by relation version.
    pub(crate) relations: BTreeMap<u32, u64>,
}

impl PendingAccount {
    /// Adds a chunk to `batch` and to the account. A batch grown large is written, unsynced, and
    /// begun anew: the chunk stays invisible until its commit is.
    pub(crate) fn add(
        &mut self,
        chunk: &PendingChunk,
        relations: u32,
        codec: &mut Codec,
        store: &Store,
        batch: &mut WriteBatch,
    ) -> Result<(), Error> {
        if chunk.n != self.chunks {
            return Err(Error::Invariant("chunks of a pending transaction are not in order"));
        }
        let Codec { layouter, compressor, raw } = codec;
        let records = &chunk.records;
        let parts = Parts {
            ops: &records.ops,
            tuples: &records.tuples,
            other: &records.other,
            ..Parts::default()
        };
        let run = std::iter::once(records.record_count());
        let (layout, slices) = layouter.lay_out(&parts, run, relations)?;
        let total_length = slices.iter().map(|slice| slice.len() as u64).sum();
        if total_length > pieces::MAX_TOTAL_BYTES {
            return Err(Error::Invariant("a pending chunk is too long"));
        }
        pieces::cut(&slices, raw, |piece, pieces, bytes| {
            let (coding, payload) = compressor.compress(bytes)?;
            let header = ChunkHeader {
                connection: chunk.key.connection,
                xid: chunk.key.xid.as_u64(),
                n: chunk.n,
                piece,
                pieces,
                coding: Some(coding),
                total_length,
                layout,
                first_ordinal: self.records,
                records: records.record_count(),
                chain: self.chain,
            };
            let (value, crc) = envelope::seal(Kind::PendingChunk, &header, payload);
            batch.put_cf(store.pending(), keys::pending(chunk.key, chunk.n, piece), value);
            self.chain = envelope::chain(self.chain, crc);
            write_if_large(store, batch)
        })?;
        for entry in layouter.tally.take() {
            *self.relations.entry(entry.relation).or_default() += entry.records;
        }
        self.chunks += 1;
        self.records += records.record_count();
        Ok(())
    }
}

/// Writes a batch grown large, unsynced, and begins it anew.
pub(crate) fn write_if_large(store: &Store, batch: &mut WriteBatch) -> Result<(), Error> {
    if batch.size_in_bytes() >= BATCH_BYTES {
        store.write(std::mem::take(batch), false)?;
    }
    Ok(())
}

/// Removes all chunks of a transaction.
pub(crate) fn discard(store: &Store, batch: &mut WriteBatch, key: PendingKey) {
    let (from, to) = (keys::pending(key, 0, 0), keys::pending_end(key));
    batch.delete_range_cf(store.pending(), from.as_slice(), to.as_slice());
}
