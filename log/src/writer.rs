//! The writer: the only process that changes a log.
//!
//! Owns the order of durable steps. Everything that belongs together goes into one RocksDB batch;
//! the batch is synced; then the durable mark tells of it; only then does the caller hear of it and
//! may confirm it to the slot. The invariant: after any failure nothing more is written. What is
//! durable is then unknown to this process, and only opening the log again can tell.

mod base;
mod final_lsn;
pub(crate) mod pending;
mod purge;
mod schema;
mod sequences;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rocksdb::WriteBatch;

pub use self::base::BaseWriter;
use self::pending::{PendingAccount, PendingKey};
pub use self::purge::Purged;
pub(crate) use self::purge::commit_position;
use crate::base::{BaseHeader, BaseTable, InitialSet};
use crate::error::Error;
use crate::format::block::{BlockBuilder, Codec, Sequel};
use crate::format::envelope::{self, Kind};
use crate::format::messages::{Counter, IdentityMessage, PendingCommit, RelationMessage};
use crate::format::records::RecordBuffer;
use crate::identity::Identity;
use crate::keys::{self, meta};
use crate::mark::{DurableMark, MarkFile, Witness};
use crate::model::{Lsn, Position, RelationVersion, RelationVersionId};
use crate::recovery::{Contents, PurgedTo, meta_value};
use crate::sequence::SequenceMark;
use crate::store::{self, Recovery, Role, Store};

/// Records of a transaction whose commit is not known yet, or that is too large for a block.
#[derive(Debug)]
pub struct PendingChunk {
    /// The transaction.
    pub key: PendingKey,
    /// Number of the chunk in it, dense from 0.
    pub n: u32,
    /// The records.
    pub records: RecordBuffer,
}

/// What is written together.
#[derive(Debug, Default)]
pub struct WriteSet {
    /// Chunks; they come before the blocks that may refer to them.
    pub pending: Vec<PendingChunk>,
    /// Blocks in commit order. Empty ones are passed over.
    pub blocks: Vec<BlockBuilder>,
    /// Up to here the source has nothing more for this slot.
    pub watermark: Option<Lsn>,
    /// Transactions that rolled back: their chunks go.
    pub discarded: Vec<PendingKey>,
}

/// Writes a log. One process at a time, any number of its threads.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    identity: Identity,
    closed: AtomicBool,
    state: Mutex<State>,
    relations: Mutex<Relations>,
    /// Held until the last of the writer and its base writers is gone.
    _lock: File,
}

#[derive(Debug)]
struct State {
    mark_file: MarkFile,
    mark: DurableMark,
    revision: u64,
    seq: u64,
    position: Position,
    last_end_lsn: Lsn,
    end_lsn: Lsn,
    /// Relation versions in the database; durable with the next sync.
    relations_written: u32,
    purged: PurgedTo,
    connection: u64,
    accounts: HashMap<PendingKey, PendingAccount>,
    has_schema: bool,
    sequences: SequenceMark,
    final_lsn: Option<Lsn>,
    initial_set: Option<InitialSet>,
    bases_begun: u64,
    bases: BTreeMap<u64, BaseHeader>,
    rebase_requests: BTreeMap<u32, BaseTable>,
    codec: Codec,
}

#[derive(Debug, Default)]
struct Relations {
    ids: HashMap<Arc<RelationVersion>, RelationVersionId>,
    versions: Vec<Arc<RelationVersion>>,
}

impl LogWriter {
    /// Creates the log of a new pipeline.
    ///
    /// # Errors
    /// When the directory holds a log already, or cannot be written.
    pub fn create(dir: &Path, identity: &Identity) -> Result<(), Error> {
        store::begin_creation(dir)?;
        let _lock = store::lock(dir)?;
        let database = store::unfinished_database(dir);
        let store = Store::open(&database, Role::Create)?;
        let mut batch = WriteBatch::default();
        let message = IdentityMessage::from(identity);
        batch.put_cf(store.meta(), meta::IDENTITY, meta_value(&message));
        batch.put_cf(store.meta(), meta::REVISION, meta_value(&Counter { value: 1 }));
        store.write(batch, true)?;
        store.flush()?;
        let witness = Contents::read(&store)?.witness();
        drop(store);
        MarkFile::create(dir, witness)?;
        store::finish_creation(dir)
    }

    /// Opens the log for writing: compares it with its durable mark, and removes what a crash left
    /// of unfinished transactions and bases.
    ///
    /// # Errors
    /// When there is no log, another process writes it, or it is not whole.
    pub fn open(dir: &Path) -> Result<LogWriter, Error> {
        if !store::holds_log(dir) {
            return Err(Error::NotALog { dir: dir.to_owned() });
        }
        store::keep_files_private();
        store::refuse_exposed(dir)?;
        let lock = store::lock(dir)?;
        let mark_file = MarkFile::open(dir, true)?;
        let witness = mark_file.read()?;
        let store = open_store(dir, &witness)?;
        let contents = Contents::read(&store)?;
        contents.compare(&witness)?;
        let shared = Shared::new(store, contents, mark_file, lock)?;
        shared.change(|state| {
            shared.drop_orphans(state)?;
            // Both slots are rewritten: one may have been torn.
            shared.publish(state)?;
            shared.publish(state)
        })?;
        Ok(LogWriter { shared: Arc::new(shared) })
    }

    /// Which log this is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// How far the log is durable.
    pub fn mark(&self) -> DurableMark {
        self.shared.look().mark
    }

    /// Begins a connection to the slot: answers with its number, durable and never used before.
    /// Chunks of earlier connections that no commit refers to are removed: the server sends those
    /// transactions again.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub fn begin_connection(&self) -> Result<u64, Error> {
        self.shared.change(|state| {
            let mut batch = WriteBatch::default();
            for (key, _) in state.accounts.drain() {
                pending::discard(&self.shared.store, &mut batch, key);
            }
            state.connection += 1;
            let value = meta_value(&Counter { value: state.connection });
            batch.put_cf(self.shared.store.meta(), meta::CONNECTION, value);
            self.shared.commit_meta(state, batch)?;
            Ok(state.connection)
        })
    }

    /// The id of a shape, a new one if the log has not seen it. It is stored by the next
    /// [`LogWriter::write`], before the records that name it.
    pub fn intern_relation(&self, shape: &RelationVersion) -> RelationVersionId {
        let mut relations = self.shared.relations();
        if let Some(id) = relations.ids.get(shape) {
            return *id;
        }
        let shape = Arc::new(shape.clone());
        relations.versions.push(Arc::clone(&shape));
        let id =
            u32::try_from(relations.versions.len()).expect("fewer than 2^32 relation versions");
        relations.ids.insert(shape, RelationVersionId(id));
        RelationVersionId(id)
    }

    /// The shape with an id.
    pub fn relation(&self, id: RelationVersionId) -> Option<Arc<RelationVersion>> {
        let at = (id.0 as usize).checked_sub(1)?;
        self.shared.relations().versions.get(at).cloned()
    }

    /// Writes a set in one synced batch and publishes the mark. On return the set is durable; on
    /// failure the writer is closed for good. A set of chunks and discards alone is not synced: a
    /// start drops such chunks anyway, and the sync of their commit covers them.
    ///
    /// # Errors
    /// When anything fails, or the set breaks a rule of the log's order.
    pub fn write(&self, set: WriteSet) -> Result<DurableMark, Error> {
        self.shared.change(|state| self.shared.write(state, set))
    }

    /// Moves memtables to files, so that a clean stop leaves no write-ahead log to replay, and makes
    /// the mark durable.
    ///
    /// # Errors
    /// When it fails; the writer is then closed.
    pub fn flush(&self) -> Result<(), Error> {
        self.shared.change(|state| {
            self.shared.store.flush()?;
            state.mark_file.sync()
        })
    }
}

impl Shared {
    fn new(
        store: Store,
        contents: Contents,
        mark_file: MarkFile,
        lock: File,
    ) -> Result<Shared, Error> {
        let witness = contents.witness();
        let ids = contents
            .relations
            .iter()
            .zip(1..)
            .map(|(shape, id)| (Arc::clone(shape), RelationVersionId(id)))
            .collect();
        let state = State {
            mark_file,
            mark: witness.mark,
            revision: contents.revision,
            seq: contents.seq(),
            position: contents.position(),
            last_end_lsn: contents.last_end_lsn(),
            end_lsn: witness.mark.end_lsn,
            relations_written: witness.mark.relations,
            purged: contents.purged,
            connection: contents.connection,
            accounts: HashMap::new(),
            has_schema: contents.schema.is_some(),
            sequences: contents.sequences,
            final_lsn: contents.final_lsn,
            initial_set: contents.initial_set,
            bases_begun: contents.bases_begun,
            bases: contents.bases,
            rebase_requests: contents.rebase_requests,
            codec: Codec::new()?,
        };
        Ok(Shared {
            store,
            identity: contents.identity,
            closed: AtomicBool::new(false),
            state: Mutex::new(state),
            relations: Mutex::new(Relations { ids, versions: contents.relations }),
            _lock: lock,
        })
    }

    /// Runs a change of the log. Any failure closes the writer for good.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.state.lock().map_err(|_| Error::Closed)?;
        self.ensure_open()?;
        let result = change(&mut state);
        if result.is_err() {
            self.close();
        }
        result
    }

    /// The state, to look at. What it says of durability holds even after a failure.
    fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relations(&self) -> MutexGuard<'_, Relations> {
        self.relations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ensure_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn write(&self, state: &mut State, set: WriteSet) -> Result<DurableMark, Error> {
        let mut batch = WriteBatch::default();
        self.put_new_relations(state, &mut batch);
        for key in set.discarded {
            if state.accounts.remove(&key).is_some() {
                pending::discard(&self.store, &mut batch, key);
            }
        }
        for chunk in set.pending {
            self.put_chunk(state, &mut batch, &chunk)?;
        }
        let seq_before = state.seq;
        for block in set.blocks.iter().filter(|block| !block.is_empty()) {
            self.put_block(state, &mut batch, block)?;
        }
        let watermark = set.watermark.filter(|watermark| *watermark > state.end_lsn);
        if let Some(watermark) = watermark {
            let value = meta_value(&Counter { value: watermark.as_u64() });
            batch.put_cf(self.store.meta(), meta::WATERMARK, value);
            state.end_lsn = watermark;
            self.commit_meta(state, batch)?;
        } else if state.seq > seq_before {
            self.commit(state, batch)?;
        } else if !batch.is_empty() {
            fail_point("log::writer::before_chunks")?;
            self.store.write(batch, false)?;
            fail_point("log::writer::after_chunks")?;
        }
        Ok(state.mark)
    }

    fn put_new_relations(&self, state: &mut State, batch: &mut WriteBatch) {
        let relations = self.relations();
        let written = state.relations_written;
        for (shape, id) in relations.versions.iter().zip(1u32..).skip(written as usize) {
            let message = RelationMessage::from(shape.as_ref());
            let (value, _) = envelope::seal(Kind::Relation, &message, &[]);
            batch.put_cf(self.store.relations(), keys::relation(id), value);
            state.relations_written = id;
        }
    }

    fn put_chunk(
        &self,
        state: &mut State,
        batch: &mut WriteBatch,
        chunk: &PendingChunk,
    ) -> Result<(), Error> {
        if chunk.key.connection != state.connection {
            return Err(Error::Invariant("a pending chunk names another connection"));
        }
        let account = state.accounts.entry(chunk.key).or_default();
        account.add(chunk, state.relations_written, &mut state.codec, &self.store, batch)
    }

    fn put_block(
        &self,
        state: &mut State,
        batch: &mut WriteBatch,
        block: &BlockBuilder,
    ) -> Result<(), Error> {
        let sequel =
            Sequel { seq: state.seq + 1, after: state.position, prev_end_lsn: state.last_end_lsn };
        let accounts = &state.accounts;
        let value = block
            .encode(sequel, state.relations_written, &mut state.codec, |key| accounts.get(&key))?;
        batch.put_cf(self.store.changes(), keys::changes(block.first()), value);
        for (key, position) in block.pending() {
            // Removed, so that a second reference to the same key is refused.
            state.accounts.remove(&key);
            let message = PendingCommit { seq: sequel.seq, position: Some(position.into()) };
            let (value, _) = envelope::seal(Kind::PendingCommit, &message, &[]);
            batch.put_cf(self.store.pending(), keys::pending_commit(key), value);
        }
        state.seq = sequel.seq;
        state.position = block.last();
        state.last_end_lsn = block.last_end_lsn();
        state.end_lsn = state.end_lsn.max(state.last_end_lsn);
        Ok(())
    }

    /// Makes a batch that changes the `meta` family durable.
    fn commit_meta(&self, state: &mut State, mut batch: WriteBatch) -> Result<(), Error> {
        state.revision += 1;
        let value = meta_value(&Counter { value: state.revision });
        batch.put_cf(self.store.meta(), meta::REVISION, value);
        self.commit(state, batch)
    }

    /// Makes a batch durable and tells of it.
    fn commit(&self, state: &mut State, batch: WriteBatch) -> Result<(), Error> {
        fail_point("log::writer::before_sync")?;
        self.store.write(batch, true)?;
        fail_point("log::writer::after_sync")?;
        self.publish(state)
    }

    fn publish(&self, state: &mut State) -> Result<(), Error> {
        let mark = DurableMark {
            incarnation: self.identity.incarnation,
            seq: state.seq,
            position: state.position,
            end_lsn: state.end_lsn,
            relations: state.relations_written,
            bases_complete: u32::try_from(state.bases.len()).unwrap_or(u32::MAX),
            initial_complete: state.initial_set.as_ref().is_some_and(|set| set.complete),
            sequences: state.sequences,
        };
        fail_point("log::writer::before_mark")?;
        state.mark_file.publish(Witness::new(mark, state.revision))?;
        fail_point("log::writer::after_mark")?;
        state.mark = mark;
        Ok(())
    }

    /// Removes what a crash left: chunks without a commit, bases without an end, and what a purge
    /// had announced and not finished.
    fn drop_orphans(&self, state: &mut State) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        let orphans = self.purge_keys(|commit| match commit {
            None => Ok(true),
            Some(commit) => Ok(commit <= state.purged.last),
        })?;
        for key in &orphans {
            pending::discard(&self.store, &mut batch, *key);
        }
        let open = self.put_open_bases_away(&mut batch)?;
        self.put_purge(state.purged, &mut batch);
        tracing::debug!(transactions = orphans.len(), bases = open, "dropped unfinished work");
        self.commit_meta(state, batch)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Best effort: without it the mark is a second behind after a power failure, no more.
        if let Ok(state) = self.state.get_mut() {
            let _ = state.mark_file.sync();
        }
    }
}

/// Opens the database after it was looked at without changing anything: RocksDB's own recovery
/// would tidy away what shows how a log was damaged.
///
/// What a power failure leaves at the end may be garbage rather than a clean cut. It is cut off if,
/// without it, everything is there that the mark tells of.
fn open_store(dir: &Path, witness: &Witness) -> Result<Store, Error> {
    let path = store::database(dir);
    let recovery = match probe(&path, Recovery::TornTail, witness) {
        Ok(()) => Recovery::TornTail,
        Err(failure @ Error::Corrupt { .. }) => {
            match probe(&path, Recovery::CutAtDamage, witness) {
                Ok(()) => {
                    tracing::warn!(%failure, "cutting off a damaged end beyond the durable mark");
                    Recovery::CutAtDamage
                }
                // What is missing tells more than how the first attempt failed.
                Err(lost @ Error::TailLost { .. }) => return Err(lost),
                Err(_) => return Err(failure),
            }
        }
        Err(failure) => return Err(failure),
    };
    Store::open(&path, Role::Writer(recovery))
}

/// Looks whether the database holds all the mark tells of.
fn probe(path: &Path, recovery: Recovery, witness: &Witness) -> Result<(), Error> {
    let store = Store::open(path, Role::ReadOnly(recovery, path))?;
    let contents = Contents::read(&store)?;
    contents.compare(witness)?;
    contents.verify_recent(&store)
}

/// A place where a test can make a durable step fail.
#[cfg(feature = "failpoints")]
fn fail_point(name: &'static str) -> Result<(), Error> {
    fail::fail_point!(name, |_| {
        let source = std::io::Error::other("failpoint");
        Err(Error::Io { during: "pass failpoint", path: name.into(), source })
    });
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as with failpoints")]
#[inline]
fn fail_point(_name: &'static str) -> Result<(), Error> {
    Ok(())
}

/// Ways around the writer's rules, for tests.
#[cfg(test)]
impl LogWriter {
    /// Number of keys in a family.
    pub(crate) fn entries(&self, family: &str) -> usize {
        let family = self.shared.store.db().cf_handle(family).expect("family");
        let mut iterator = self.shared.store.iterate(family);
        iterator.seek_to_first();
        let mut count = 0;
        while iterator.valid() {
            count += 1;
            iterator.next();
        }
        count
    }

    /// Flushes without keeping writes out meanwhile.
    pub(crate) fn flush_beside_writes(&self) {
        self.shared.store.flush().expect("flush");
    }

    /// Removes a block as no part of the program does.
    pub(crate) fn remove_block(&self, first: Position) {
        let mut batch = WriteBatch::default();
        batch.delete_cf(self.shared.store.changes(), keys::changes(first));
        self.shared.store.write(batch, true).expect("write");
    }
}
