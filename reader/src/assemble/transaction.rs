//! A transaction as far as it has arrived.
//!
//! Owns its records in memory and the account of what of it went out already. The invariant: chunk
//! numbers of one transaction start at 0 and have no gap.

use std::collections::HashSet;

use pgtrail_log::{Lsn, PendingChunk, PendingKey, RecordBuffer, RelationVersionId, Xid};

use crate::relations::Overlay;

/// How the transaction arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Between BEGIN and COMMIT: committed already, sent whole.
    Whole { commit_lsn: Lsn },
    /// In chunks, while it is in progress at the source.
    Streamed,
    /// Prepared, neither committed nor rolled back.
    Prepared { prepare_lsn: Lsn },
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Transaction {
    /// As the stream names it.
    pub(super) xid: u32,
    /// The same, widened.
    pub(super) full_xid: Xid,
    pub(super) kind: Kind,
    /// The log has it already; its rows are dropped on arrival.
    pub(super) in_log: bool,
    pub(super) origin: Option<String>,
    /// Whose row came last, for messages.
    pub(super) last_version: Option<RelationVersionId>,
    /// What has not gone out yet.
    pub(super) records: RecordBuffer,
    /// Chunks that went out.
    pub(super) chunks: u32,
    /// Records in them.
    spilled: u64,
    /// Subtransactions that were rolled back.
    pub(super) aborted: Vec<u32>,
    /// Which (sub)transactions made records, in order; neighbours are noted once.
    authors: Vec<u32>,
    overlay: Overlay,
}

impl Transaction {
    pub(super) fn new(
        xid: u32,
        full_xid: Xid,
        kind: Kind,
        in_log: bool,
        records: RecordBuffer,
    ) -> Transaction {
        Transaction {
            xid,
            full_xid,
            kind,
            in_log,
            origin: None,
            last_version: None,
            records,
            chunks: 0,
            spilled: 0,
            aborted: Vec::new(),
            authors: Vec::new(),
            overlay: Overlay::default(),
        }
    }

    /// The tag of the next record, and a note of whose it is. Only chunks of a transaction in
    /// progress name a subtransaction; the top level's own records need no tag.
    pub(super) fn subxid(&mut self, xid: Option<u32>) -> Option<u32> {
        let xid = xid?;
        if self.authors.last() != Some(&xid) {
            self.authors.push(xid);
        }
        (xid != self.xid).then_some(xid)
    }

    pub(super) fn record_count(&self) -> u64 {
        self.spilled + self.records.record_count()
    }

    /// Whether any record is left when those of aborted subtransactions are not counted.
    pub(super) fn has_visible_records(&self) -> bool {
        if self.aborted.is_empty() {
            return self.record_count() > 0;
        }
        let aborted: HashSet<u32> = self.aborted.iter().copied().collect();
        self.authors.iter().any(|author| !aborted.contains(author))
    }

    /// What is in memory, as the next chunk.
    pub(super) fn take_chunk(&mut self, key: PendingKey) -> Option<PendingChunk> {
        if self.records.is_empty() {
            return None;
        }
        let records = std::mem::replace(&mut self.records, RecordBuffer::new());
        let n = self.chunks;
        self.chunks += 1;
        self.spilled += records.record_count();
        Some(PendingChunk { key, n, records })
    }

    /// Where it was prepared, if it was.
    pub(super) fn prepare_lsn(&self) -> Option<Lsn> {
        match self.kind {
            Kind::Prepared { prepare_lsn } => Some(prepare_lsn),
            Kind::Whole { .. } | Kind::Streamed => None,
        }
    }

    /// Where it keeps relations of its own; none when it is committed already.
    pub(super) fn overlay(&self) -> Option<&Overlay> {
        matches!(self.kind, Kind::Streamed).then_some(&self.overlay)
    }

    /// The same, to be added to.
    pub(super) fn overlay_mut(&mut self) -> Option<&mut Overlay> {
        matches!(self.kind, Kind::Streamed).then_some(&mut self.overlay)
    }

    /// What it knew and the others did not, when it commits.
    pub(super) fn take_overlay(&mut self) -> Option<Overlay> {
        match self.kind {
            Kind::Whole { .. } => None,
            Kind::Streamed | Kind::Prepared { .. } => Some(std::mem::take(&mut self.overlay)),
        }
    }
}
