//! The assembler: messages of one connection become transactions, blocks and pending chunks.
//!
//! Small transactions are gathered and put whole into the open block when they commit. A transaction
//! beyond a bound, streamed in progress or not, goes out in *pending chunks* as it arrives; its commit
//! then only adds a reference, in commit order. Several transactions in progress share one memory
//! bound, and the largest is spilled first.
//!
//! Owns no input or output: [`Assembler::push`] takes a message, [`Assembler::take`] hands over what
//! is ready to be written.
//!
//! The invariants: transactions leave in commit order, each once; one whose commit record ends at or
//! before the log's end is dropped, since the log has it; rows of a transaction that was rolled back
//! leave no record; a chunk is never handed over after the transaction that refers to it.

mod transaction;

use pgtrail_log::{
    BlockBuilder, Epoch, Lsn, PendingKey, RecordBuffer, RelationVersionId, TransactionHeader,
    WriteSet,
};
use pgtrail_postgres::selection::Selection;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use self::transaction::{Kind, Transaction};
use crate::Error;
use crate::pgoutput::{
    Begin, Commit, Decoder, Message, Oids, Prepared, RelationDescription, RollbackPrepared, Row,
};
use crate::relations::{OidMap, Overlay, Relation, Relations, Shapes, TypeName};
use crate::xid::NextXid;

/// How much is held in memory before it goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A transaction's records beyond this go out as a pending chunk.
    pub(crate) chunk_bytes: usize,
    /// All transactions in progress together hold at most this, plus one row.
    pub(crate) streams_bytes: usize,
    /// A block is sealed at this many bytes before compression.
    pub(crate) block_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // Large enough to compress well, small enough that a dozen of them are no burden.
            chunk_bytes: 4 << 20,
            // The source streams from 64 MB on (logical_decoding_work_mem), so this rarely binds.
            streams_bytes: 64 << 20,
            // Beyond half a megabyte zstd gains nothing more, and a reader of the log waits longer.
            block_bytes: 512 << 10,
        }
    }
}

/// What is ready to be written, together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// For the log.
    pub(crate) set: WriteSet,
    /// Its size before compression, for the bounds on queues and writes.
    pub(crate) bytes: usize,
    /// Transactions in it.
    pub(crate) transactions: u64,
    /// Records of these transactions.
    pub(crate) changes: u64,
    /// The last place it makes durable, if it moves the log's end.
    pub(crate) upto: Lsn,
    /// The slot must not be confirmed beyond this, even when the log is: a prepared transaction is
    /// open, and its rows come again only if the slot is still before its PREPARE.
    pub(crate) hold: Option<Lsn>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.set.pending.is_empty()
            && self.set.blocks.is_empty()
            && self.set.discarded.is_empty()
            && self.set.watermark.is_none()
    }

    /// Adds what comes after it.
    pub(crate) fn append(&mut self, later: Batch) {
        self.set.pending.extend(later.set.pending);
        self.set.blocks.extend(later.set.blocks);
        self.set.watermark = self.set.watermark.max(later.set.watermark);
        self.set.discarded.extend(later.set.discarded);
        self.bytes += later.bytes;
        self.transactions += later.transactions;
        self.changes += later.changes;
        self.upto = self.upto.max(later.upto);
        self.hold = later.hold;
    }

    /// Chunks of transactions that were rolled back before they reached the disk need not go there.
    pub(crate) fn drop_discarded_chunks(&mut self) {
        if !self.set.discarded.is_empty() {
            let discarded: HashSet<PendingKey> = self.set.discarded.iter().copied().collect();
            self.set.pending.retain(|chunk| !discarded.contains(&chunk.key));
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Assembler<S> {
    shapes: Arc<S>,
    next_xid: Arc<NextXid>,
    limits: Limits,
    epoch: Epoch,
    relations: Relations,

    // One connection's state, from here on.
    decoder: Decoder,
    connection: u64,
    /// Where the log ended when the connection began: what ends at or before it is in the log.
    log_end: Lsn,
    /// Where the last transaction or watermark taken in ends.
    taken_end: Lsn,
    current: Option<Transaction>,
    streams: OidMap<Transaction>,
    /// Bytes held by `streams`; the current one, if streamed, is not among them.
    streams_bytes: usize,
    prepared: BTreeMap<String, Transaction>,
    /// Kept between transactions so that the next one need not grow it again.
    spare: RecordBuffer,
    /// With a binary stream: the types known to travel well. None: text, all do.
    binary_types: Option<HashSet<u32>>,
    unchecked_types: Vec<u32>,
    skipped: u64,

    open: BlockBuilder,
    open_changes: u64,
    /// Where the earliest transaction of the open block that had been prepared was prepared.
    open_hold: Option<Lsn>,
    ready: Batch,
}

impl<S: Shapes> Assembler<S> {
    pub(crate) fn new(
        shapes: Arc<S>,
        next_xid: Arc<NextXid>,
        selection: Selection,
        epoch: Epoch,
        limits: Limits,
    ) -> Assembler<S> {
        Assembler {
            shapes,
            next_xid,
            limits,
            epoch,
            relations: Relations::new(selection),
            decoder: Decoder::new(),
            connection: 0,
            log_end: Lsn::INVALID,
            taken_end: Lsn::INVALID,
            current: None,
            streams: OidMap::default(),
            streams_bytes: 0,
            prepared: BTreeMap::new(),
            spare: RecordBuffer::new(),
            binary_types: None,
            unchecked_types: Vec::new(),
            skipped: 0,
            open: BlockBuilder::new(epoch),
            open_changes: 0,
            open_hold: None,
            ready: Batch::default(),
        }
    }

    /// The names of the built-in types, which the stream never spells out.
    pub(crate) fn set_built_in_types(&mut self, types: Vec<(u32, TypeName)>) {
        self.relations.set_built_in_types(types);
    }

    /// A new connection streams from `log_end` on. With a binary stream, `binary_types` are those
    /// known to travel well.
    pub(crate) fn begin_connection(
        &mut self,
        connection: u64,
        log_end: Lsn,
        binary_types: Option<HashSet<u32>>,
    ) {
        self.abandon();
        self.relations.reset();
        self.decoder = Decoder::new();
        self.connection = connection;
        self.log_end = log_end;
        self.taken_end = log_end;
        self.binary_types = binary_types;
        self.unchecked_types.clear();
    }

    /// Drops every unfinished transaction: the server sends them again to the next connection.
    pub(crate) fn abandon(&mut self) {
        let streams = std::mem::take(&mut self.streams).into_values();
        let prepared = std::mem::take(&mut self.prepared).into_values();
        let unfinished: Vec<_> =
            self.current.take().into_iter().chain(streams).chain(prepared).collect();
        for transaction in unfinished {
            self.discard(transaction);
        }
        self.streams_bytes = 0;
    }

    /// Whether a transaction has begun that the server is not done sending. Those in progress do not
    /// count: the server keeps what it needs of them whatever is confirmed.
    pub(crate) fn in_flight(&self) -> bool {
        self.current.is_some()
    }

    /// Where the last transaction or watermark taken in ends.
    pub(crate) fn taken_end(&self) -> Lsn {
        self.taken_end
    }

    /// Rows of relations that are not selected since this was last asked.
    pub(crate) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Types in a binary stream of which nobody has said yet whether they travel well. Nothing may be
    /// handed over before that is known.
    pub(crate) fn take_unchecked_types(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.unchecked_types)
    }

    /// Whether [`Assembler::take_unchecked_types`] has something to say.
    pub(crate) fn has_unchecked_types(&self) -> bool {
        !self.unchecked_types.is_empty()
    }

    /// These travel well.
    pub(crate) fn add_binary_types(&mut self, types: impl IntoIterator<Item = u32>) {
        if let Some(known) = &mut self.binary_types {
            known.extend(types);
        }
    }

    /// The relation of the last row that arrived of an unfinished transaction, by name.
    pub(crate) fn last_relation(&self) -> Option<String> {
        self.current.as_ref()?.last_version.and_then(|version| self.shapes.name(version))
    }

    /// Bytes of sealed blocks and chunks that wait to be taken.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.ready.bytes
    }

    /// Whether there is anything to take.
    pub(crate) fn has_output(&self) -> bool {
        !self.open.is_empty() || !self.ready.is_empty()
    }

    /// Everything before `upto` is in the log once this is: nothing of ours is between the last
    /// transaction and it.
    pub(crate) fn watermark(&mut self, upto: Lsn) {
        debug_assert!(!self.in_flight());
        if upto > self.taken_end {
            self.taken_end = upto;
            // The open block holds transactions before `upto`: they must be written with it.
            self.seal();
            self.ready.set.watermark = Some(upto);
            self.ready.upto = upto;
        }
    }

    /// What is ready; with `open`, the open block too, however small.
    pub(crate) fn take(&mut self, open: bool) -> Batch {
        if open {
            self.seal();
        }
        self.ready.hold = self.hold();
        self.ready.drop_discarded_chunks();
        std::mem::take(&mut self.ready)
    }

    /// Takes in a message. True when it completed a transaction.
    pub(crate) fn push(&mut self, at: Lsn, bytes: &[u8]) -> Result<bool, Error> {
        if let Some(relation) = self.decoder.relation_of_row(bytes) {
            self.row(at, relation, bytes)?;
            return Ok(false);
        }
        let message =
            self.decoder.decode(bytes).map_err(|source| Error::Decode { lsn: at, source })?;
        match message {
            Message::Begin(begin) => self.begin(at, begin),
            Message::Commit(commit) => return self.commit(at, commit),
            Message::Origin { name, .. } => self.origin(at, name),
            Message::Relation(description) => {
                self.relation(&description);
                Ok(())
            }
            Message::Type(description) => {
                let overlay = overlay_of(&mut self.current);
                self.relations.learn_type(overlay, &description);
                Ok(())
            }
            Message::Truncate { xid, relations, cascade, restart_identity } => {
                self.truncate(at, xid, relations, cascade, restart_identity)
            }
            Message::Logical { xid, transactional, prefix, content, .. } => {
                self.logical(at, xid, transactional, prefix, content)
            }
            Message::StreamStart { xid, first_segment } => {
                self.stream_start(at, xid, first_segment)
            }
            Message::StreamStop => self.stream_stop(at),
            Message::StreamCommit { xid, commit } => return self.stream_commit(at, xid, commit),
            Message::StreamAbort { xid, subxid } => {
                self.stream_abort(xid, subxid);
                Ok(())
            }
            Message::BeginPrepare(prepared) => self.begin_prepare(at, prepared),
            Message::Prepare(prepared) => self.prepare(at, prepared),
            Message::StreamPrepare(prepared) => self.stream_prepare(at, prepared),
            Message::CommitPrepared { xid, gid, commit } => {
                return self.commit_prepared(at, xid, gid, commit);
            }
            Message::RollbackPrepared(rollback) => {
                self.rollback_prepared(rollback);
                Ok(())
            }
            // The decoder knows rows by their first byte, so they were handled above.
            Message::Insert { .. } | Message::Update { .. } | Message::Delete { .. } => {
                Err(protocol(at, "a row outside its place"))
            }
        }?;
        Ok(false)
    }

    fn row(&mut self, at: Lsn, oid: u32, bytes: &[u8]) -> Result<(), Error> {
        let Some(transaction) = &mut self.current else {
            return Err(protocol(at, "a row outside a transaction"));
        };
        let relation = self
            .relations
            .get(transaction.overlay(), oid)
            .ok_or(protocol(at, "a row of a relation that was not described"))?;
        let Some(version) = relation.version else {
            self.skipped += 1;
            return Ok(());
        };
        if transaction.in_log {
            return Ok(());
        }
        transaction.last_version = Some(version);
        let message =
            self.decoder.decode(bytes).map_err(|source| Error::Decode { lsn: at, source })?;
        match message {
            Message::Insert { row, new } => {
                fits(at, relation, new)?;
                let subxid = transaction.subxid(row.xid);
                transaction.records.push_insert(subxid, version, new);
            }
            Message::Update { row, old, new } => {
                fits(at, relation, new)?;
                let subxid = transaction.subxid(row.xid);
                transaction.records.push_update(subxid, version, old, new);
            }
            Message::Delete { row: Row { xid, .. }, old } => {
                let subxid = transaction.subxid(xid);
                transaction.records.push_delete(subxid, version, old);
            }
            _ => return Err(protocol(at, "a row outside its place")),
        }
        self.bound_memory();
        Ok(())
    }

    fn truncate(
        &mut self,
        at: Lsn,
        xid: Option<u32>,
        oids: Oids<'_>,
        cascade: bool,
        restart_identity: bool,
    ) -> Result<(), Error> {
        let Some(transaction) = &mut self.current else {
            return Err(protocol(at, "a truncate outside a transaction"));
        };
        let mut versions: Vec<RelationVersionId> = Vec::with_capacity(oids.len());
        for oid in oids.iter() {
            let relation = self
                .relations
                .get(transaction.overlay(), oid)
                .ok_or(protocol(at, "a truncate of a relation that was not described"))?;
            versions.extend(relation.version);
        }
        if !versions.is_empty() && !transaction.in_log {
            let subxid = transaction.subxid(xid);
            transaction.records.push_truncate(subxid, &versions, cascade, restart_identity);
            self.bound_memory();
        }
        Ok(())
    }

    /// Messages are not asked for. One that is part of a transaction is kept as such; one that is not
    /// belongs to no transaction and so has no place in a log of transactions.
    fn logical(
        &mut self,
        at: Lsn,
        xid: Option<u32>,
        transactional: bool,
        prefix: &str,
        content: &[u8],
    ) -> Result<(), Error> {
        if !transactional {
            return Ok(());
        }
        let Some(transaction) = &mut self.current else {
            return Err(protocol(at, "a transactional message outside a transaction"));
        };
        if !transaction.in_log {
            let subxid = transaction.subxid(xid);
            transaction.records.push_message(subxid, prefix, content);
            self.bound_memory();
        }
        Ok(())
    }

    fn relation(&mut self, description: &RelationDescription<'_>) {
        let overlay = overlay_of(&mut self.current);
        self.relations.learn(overlay, description, &*self.shapes);
        let overlay = self.current.as_ref().and_then(Transaction::overlay);
        let learned = self.relations.get(overlay, description.relation);
        let selected = learned.is_some_and(|relation| relation.version.is_some());
        if let (true, Some(known)) = (selected, &self.binary_types) {
            let types = description.columns.iter().map(|column| column.type_oid);
            self.unchecked_types.extend(types.filter(|oid| !known.contains(oid)));
        }
    }

    fn begin(&mut self, at: Lsn, begin: Begin) -> Result<(), Error> {
        self.nothing_open(at)?;
        // The log ends between two records, so a commit record that starts before it is in it.
        let in_log = begin.commit_lsn < self.log_end;
        let kind = Kind::Whole { commit_lsn: begin.commit_lsn };
        self.start(begin.xid, kind, in_log);
        Ok(())
    }

    fn start(&mut self, xid: u32, kind: Kind, in_log: bool) {
        let records = std::mem::replace(&mut self.spare, RecordBuffer::new());
        let full = self.next_xid.widen(xid);
        self.current = Some(Transaction::new(xid, full, kind, in_log, records));
    }

    fn commit(&mut self, at: Lsn, commit: Commit) -> Result<bool, Error> {
        let transaction = self.current.take();
        match transaction {
            Some(transaction)
                if transaction.kind == (Kind::Whole { commit_lsn: commit.commit_lsn }) =>
            {
                self.finish(at, transaction, commit)
            }
            _ => Err(protocol(at, "a commit that ends no transaction")),
        }
    }

    fn origin(&mut self, at: Lsn, name: &str) -> Result<(), Error> {
        let Some(transaction) = &mut self.current else {
            return Err(protocol(at, "an origin outside a transaction"));
        };
        transaction.origin = Some(name.to_owned());
        Ok(())
    }

    fn stream_start(&mut self, at: Lsn, xid: u32, first_segment: bool) -> Result<(), Error> {
        self.nothing_open(at)?;
        match (self.streams.remove(&xid), first_segment) {
            (None, true) => {
                let full = self.next_xid.widen(xid);
                let records = RecordBuffer::new();
                self.current = Some(Transaction::new(xid, full, Kind::Streamed, false, records));
                Ok(())
            }
            (Some(transaction), false) => {
                self.streams_bytes -= transaction.records.bytes();
                self.current = Some(transaction);
                Ok(())
            }
            (None, false) => Err(protocol(at, "a chunk of a transaction that never began")),
            (Some(_), true) => Err(protocol(at, "a transaction in progress that begins twice")),
        }
    }

    fn stream_stop(&mut self, at: Lsn) -> Result<(), Error> {
        match self.current.take() {
            Some(transaction) if transaction.kind == Kind::Streamed => {
                self.streams_bytes += transaction.records.bytes();
                self.streams.insert(transaction.xid, transaction);
                Ok(())
            }
            _ => Err(protocol(at, "the end of a chunk that never began")),
        }
    }

    fn stream_commit(&mut self, at: Lsn, xid: u32, commit: Commit) -> Result<bool, Error> {
        self.nothing_open(at)?;
        let transaction = self
            .take_stream(xid)
            .ok_or(protocol(at, "a commit of a transaction in progress that never began"))?;
        self.finish(at, transaction, commit)
    }

    /// An abort of something that was never sent is none of our business.
    fn stream_abort(&mut self, xid: u32, subxid: u32) {
        if xid == subxid {
            if let Some(transaction) = self.take_stream(xid) {
                self.discard(transaction);
            }
        } else if let Some(transaction) = self.streams.get_mut(&xid) {
            transaction.aborted.push(subxid);
        }
    }

    fn take_stream(&mut self, xid: u32) -> Option<Transaction> {
        let transaction = self.streams.remove(&xid)?;
        self.streams_bytes -= transaction.records.bytes();
        Some(transaction)
    }

    fn begin_prepare(&mut self, at: Lsn, prepared: Prepared<'_>) -> Result<(), Error> {
        self.nothing_open(at)?;
        let kind = Kind::Prepared { prepare_lsn: prepared.prepare_lsn };
        self.start(prepared.xid, kind, false);
        Ok(())
    }

    fn prepare(&mut self, at: Lsn, prepared: Prepared<'_>) -> Result<(), Error> {
        match self.current.take() {
            Some(transaction) if matches!(transaction.kind, Kind::Prepared { .. }) => {
                self.park(transaction, prepared);
                Ok(())
            }
            _ => Err(protocol(at, "a prepare that ends no transaction")),
        }
    }

    fn stream_prepare(&mut self, at: Lsn, prepared: Prepared<'_>) -> Result<(), Error> {
        self.nothing_open(at)?;
        let mut transaction = self
            .take_stream(prepared.xid)
            .ok_or(protocol(at, "a prepare of a transaction in progress that never began"))?;
        transaction.kind = Kind::Prepared { prepare_lsn: prepared.prepare_lsn };
        self.park(transaction, prepared);
        Ok(())
    }

    /// Keeps a prepared transaction until its COMMIT or ROLLBACK PREPARED. Until then `hold` keeps
    /// the slot before its PREPARE, so that it comes again if we have to start over.
    fn park(&mut self, mut transaction: Transaction, prepared: Prepared<'_>) {
        self.spill(&mut transaction);
        if let Some(older) = self.prepared.insert(prepared.gid.to_owned(), transaction) {
            self.discard(older);
        }
    }

    fn commit_prepared(
        &mut self,
        at: Lsn,
        xid: u32,
        gid: &str,
        commit: Commit,
    ) -> Result<bool, Error> {
        self.nothing_open(at)?;
        match self.prepared.remove(gid) {
            Some(transaction) if transaction.xid == xid => self.finish(at, transaction, commit),
            _ if commit.end_lsn <= self.log_end => Ok(false),
            _ => Err(Error::PreparedUnknown { xid, lsn: commit.commit_lsn }),
        }
    }

    fn rollback_prepared(&mut self, rollback: RollbackPrepared<'_>) {
        if let Some(transaction) = self.prepared.remove(rollback.gid) {
            self.discard(transaction);
        }
    }

    /// The first PREPARE whose end is not in what was handed over.
    fn hold(&self) -> Option<Lsn> {
        self.prepared.values().filter_map(Transaction::prepare_lsn).chain(self.open_hold).min()
    }

    /// A transaction committed: it goes into the open block, unless there is nothing of it.
    fn finish(
        &mut self,
        at: Lsn,
        mut transaction: Transaction,
        commit: Commit,
    ) -> Result<bool, Error> {
        if let Some(overlay) = transaction.take_overlay() {
            self.relations.merge(overlay);
        }
        let in_log = commit.end_lsn <= self.log_end;
        if transaction.in_log && !in_log {
            return Err(Error::Invariant("the log ends inside a transaction"));
        }
        if in_log || !transaction.has_visible_records() {
            self.discard(transaction);
            return Ok(false);
        }
        if commit.end_lsn <= self.taken_end || commit.commit_lsn >= commit.end_lsn {
            return Err(protocol(at, "a transaction out of commit order"));
        }
        self.taken_end = commit.end_lsn;
        let changes = transaction.record_count();
        let header = TransactionHeader {
            xid: transaction.full_xid,
            commit_lsn: commit.commit_lsn,
            end_lsn: commit.end_lsn,
            commit_time: commit.commit_time,
            origin: transaction.origin.take(),
            record_count: changes,
        };
        if transaction.chunks == 0 && transaction.aborted.is_empty() {
            self.open.push(&header, &transaction.records);
            self.reuse(std::mem::replace(&mut transaction.records, RecordBuffer::new()));
        } else {
            self.spill(&mut transaction);
            let key = self.key(&transaction);
            transaction.aborted.sort_unstable();
            transaction.aborted.dedup();
            self.open.push_pending(&header, key, &transaction.aborted);
        }
        self.open_changes += changes;
        self.open_hold = self.open_hold.into_iter().chain(transaction.prepare_lsn()).min();
        if self.open.raw_bytes() >= self.limits.block_bytes {
            self.seal();
        }
        Ok(true)
    }

    /// Nothing of this transaction shall be seen.
    fn discard(&mut self, transaction: Transaction) {
        if transaction.chunks > 0 {
            let key = self.key(&transaction);
            self.ready.set.discarded.push(key);
        }
        self.reuse(transaction.records);
    }

    fn reuse(&mut self, mut records: RecordBuffer) {
        if records.bytes() <= self.limits.chunk_bytes {
            records.clear();
            self.spare = records;
        }
    }

    fn key(&self, transaction: &Transaction) -> PendingKey {
        PendingKey { connection: self.connection, xid: transaction.full_xid }
    }

    fn spill(&mut self, transaction: &mut Transaction) {
        let key = self.key(transaction);
        if let Some(chunk) = transaction.take_chunk(key) {
            fail::fail_point!("reader::assemble::spill");
            self.ready.bytes += chunk.records.bytes();
            self.ready.set.pending.push(chunk);
        }
    }

    fn bound_memory(&mut self) {
        let Some(current) = &self.current else { return };
        let held = current.records.bytes();
        let streamed = current.kind == Kind::Streamed;
        let too_large = held >= self.limits.chunk_bytes;
        let too_many = streamed && held + self.streams_bytes > self.limits.streams_bytes;
        if !too_large && !too_many {
            return;
        }
        let Some(mut transaction) = self.current.take() else { return };
        if too_large {
            self.spill(&mut transaction);
        } else {
            let largest = self.streams.iter().max_by_key(|(_, other)| other.records.bytes());
            match largest.map(|(xid, other)| (*xid, other.records.bytes())) {
                Some((xid, bytes)) if bytes > held => self.spill_stream(xid),
                _ => self.spill(&mut transaction),
            }
        }
        self.current = Some(transaction);
    }

    fn spill_stream(&mut self, xid: u32) {
        if let Some(mut transaction) = self.take_stream(xid) {
            self.spill(&mut transaction);
            self.streams_bytes += transaction.records.bytes();
            self.streams.insert(xid, transaction);
        }
    }

    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let block = std::mem::replace(&mut self.open, BlockBuilder::new(self.epoch));
        self.ready.bytes += block.raw_bytes();
        self.ready.transactions += block.transaction_count();
        self.ready.changes += std::mem::take(&mut self.open_changes);
        self.ready.upto = self.ready.upto.max(block.last_end_lsn());
        self.ready.set.blocks.push(block);
        self.open_hold = None;
    }

    fn nothing_open(&self, at: Lsn) -> Result<(), Error> {
        match self.current {
            None => Ok(()),
            Some(_) => Err(protocol(at, "a transaction inside another")),
        }
    }
}

/// Where relations and types of the current transaction are noted: its own overlay if it is in
/// progress, else the shared cache.
fn overlay_of(current: &mut Option<Transaction>) -> Option<&mut Overlay> {
    current.as_mut().and_then(Transaction::overlay_mut)
}

/// A row that has another number of columns than its relation would be read wrongly for ever.
fn fits(at: Lsn, relation: Relation, tuple: &[u8]) -> Result<(), Error> {
    match tuple.first_chunk::<2>() {
        Some(count) if u16::from_be_bytes(*count) == relation.columns => Ok(()),
        _ => Err(protocol(at, "a row that does not fit its relation")),
    }
}

fn protocol(lsn: Lsn, what: &'static str) -> Error {
    Error::Protocol { lsn, what }
}

#[cfg(test)]
mod tests;
