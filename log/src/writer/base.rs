//! Writing the base.
//!
//! Owns the life of a base: begun (a number, durable and never used again), filled block by block
//! and unsynced, finished (its header, synced, which makes it exist). Several tables are written
//! side by side; only beginning and finishing take the writer's lock. The invariant: a header in
//! the database tells of blocks that are all durable, because the same sync covers them. Until then
//! the mark of the open base says what is being written, for followers that read along.

use std::sync::Arc;

use rocksdb::WriteBatch;

use super::pending::write_if_large;
use super::{LogWriter, Shared, fail_point};
use crate::base::{BaseHeader, BaseStart, BaseTable, InitialSet, Isolated};
use crate::error::Error;
use crate::format::compress::Compressor;
use crate::format::envelope::{self, Kind};
use crate::format::messages::{
    BaseMessage, BasePieceHeader, Counter, InitialSetMessage, TableMessage,
};
use crate::format::pieces;
use crate::keys::{self, meta};
use crate::recovery::meta_value;
use crate::store::on_entry;

impl LogWriter {
    /// Stores which tables the initial copy consists of.
    ///
    /// # Errors
    /// When it was planned before, or cannot be made durable.
    pub fn plan_initial_set(&self, tables: &[BaseTable]) -> Result<(), Error> {
        self.change_initial_set(|set| match set {
            Some(_) => Err(Error::Invariant("the initial set was planned before")),
            None => Ok(InitialSet {
                tables: tables.to_vec(),
                complete: false,
                isolated: Vec::new(),
                gone: Vec::new(),
            }),
        })
    }

    /// The tables of the initial copy, once planned.
    pub fn initial_set(&self) -> Option<InitialSet> {
        self.shared.look().initial_set.clone()
    }

    /// Takes a table that is gone at the source out of the set: its changes are not applied.
    ///
    /// # Errors
    /// When there is no set, or it cannot be made durable.
    pub fn drop_from_initial_set(&self, relation: u32) -> Result<(), Error> {
        self.change_initial_set(|set| {
            let mut set = set.ok_or(Error::Invariant("the initial set was not planned"))?;
            set.tables.retain(|table| table.relation != relation);
            set.gone.push(relation);
            Ok(set)
        })
    }

    /// Takes a table out of the set that cannot be copied: changes to it are not applied before
    /// a later base has brought its rows.
    ///
    /// # Errors
    /// When there is no set, or it cannot be made durable.
    pub fn isolate(&self, table: &BaseTable, reason: &str) -> Result<(), Error> {
        self.change_initial_set(|set| {
            let mut set = set.ok_or(Error::Invariant("the initial set was not planned"))?;
            set.tables.retain(|other| other.relation != table.relation);
            set.isolated.push(Isolated { table: table.clone(), reason: reason.to_owned() });
            Ok(set)
        })
    }

    /// Notes that a table is to be copied again.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub fn request_rebase(&self, table: &BaseTable) -> Result<(), Error> {
        let shared = &self.shared;
        shared.change(|state| {
            let mut batch = WriteBatch::default();
            let value = meta_value(&TableMessage::from(table));
            batch.put_cf(shared.store.meta(), rebase_request(table.relation), value);
            state.rebase_requests.insert(table.relation, table.clone());
            shared.commit_meta(state, batch)
        })
    }

    /// Forgets such a note: the table is gone.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub fn drop_rebase_request(&self, relation: u32) -> Result<(), Error> {
        let shared = &self.shared;
        shared.change(|state| {
            let mut batch = WriteBatch::default();
            batch.delete_cf(shared.store.meta(), rebase_request(relation));
            state.rebase_requests.remove(&relation);
            shared.commit_meta(state, batch)
        })
    }

    /// The tables that are to be copied again.
    pub fn rebase_requests(&self) -> Vec<BaseTable> {
        self.shared.look().rebase_requests.values().cloned().collect()
    }

    /// States that every table of the set has a complete base: from now on changes may be applied.
    ///
    /// # Errors
    /// When one has none, or it cannot be made durable.
    pub fn complete_initial_set(&self) -> Result<(), Error> {
        let bases = self.bases();
        self.change_initial_set(|set| {
            let mut set = set.ok_or(Error::Invariant("the initial set was not planned"))?;
            let has_base =
                |table: &BaseTable| bases.iter().any(|base| base.shape.relation == table.relation);
            if !set.tables.iter().all(has_base) {
                return Err(Error::Invariant("a table of the initial set has no complete base"));
            }
            set.complete = true;
            Ok(set)
        })
    }

    /// Begins the base of a table.
    ///
    /// # Errors
    /// When its number cannot be made durable.
    pub fn begin_base(&self, start: BaseStart) -> Result<BaseWriter, Error> {
        let compressor = Compressor::new()?;
        let shared = &self.shared;
        let mut header = BaseHeader {
            id: 0,
            shape: start.shape,
            snapshot: start.snapshot,
            format: start.format,
            blocks: 0,
            rows: 0,
            raw_bytes: 0,
            crc: 0,
            purged: false,
            rebase: start.rebase,
        };
        shared.change(|state| {
            state.bases_begun += 1;
            header.id = state.bases_begun;
            let (meta, mut batch) = (shared.store.meta(), WriteBatch::default());
            batch.put_cf(meta, meta::BASES_BEGUN, meta_value(&Counter { value: header.id }));
            let open = meta::numbered(meta::BASE_OPEN, header.id);
            batch.put_cf(meta, open, meta_value(&BaseMessage::from(&header)));
            shared.commit_meta(state, batch)
        })?;
        let shared = Arc::clone(shared);
        Ok(BaseWriter { shared, header, compressor, scratch: Vec::new(), finished: false })
    }

    /// The complete bases, by number.
    pub fn bases(&self) -> Vec<BaseHeader> {
        self.shared.look().bases.values().cloned().collect()
    }

    /// Removes the rows of all complete bases and keeps their headers, whose snapshots go on telling
    /// which changes they held; those of bases that replaced another only up to number `rebased`.
    /// Answers with how many it removed.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub fn purge_bases(&self, rebased: u64) -> Result<u64, Error> {
        let shared = &self.shared;
        shared.change(|state| {
            let (mut batch, mut count) = (WriteBatch::default(), 0);
            let goes = |base: &BaseHeader| base.rebase.is_none() || base.id <= rebased;
            for base in state.bases.values_mut().filter(|base| !base.purged && goes(base)) {
                base.purged = true;
                shared.put_base_header(base, &mut batch);
                count += 1;
            }
            if count == 0 {
                return Ok(0);
            }
            fail_point("log::writer::before_purge")?;
            shared.commit_meta(state, batch)?;
            let mut batch = WriteBatch::default();
            for base in state.bases.values().filter(|base| base.purged) {
                shared.put_base_away(base.id, &mut batch)?;
            }
            shared.store.write(batch, true)?;
            fail_point("log::writer::after_purge")?;
            Ok(count)
        })
    }

    fn change_initial_set(
        &self,
        change: impl FnOnce(Option<InitialSet>) -> Result<InitialSet, Error>,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        shared.change(|state| {
            let set = change(state.initial_set.take())?;
            let mut batch = WriteBatch::default();
            let value = meta_value(&InitialSetMessage::from(&set));
            batch.put_cf(shared.store.meta(), meta::INITIAL_SET, value);
            state.initial_set = Some(set);
            shared.commit_meta(state, batch)
        })
    }
}

fn rebase_request(relation: u32) -> Vec<u8> {
    meta::numbered(meta::REBASE_REQUEST, u64::from(relation))
}

impl Shared {
    fn put_base_header(&self, base: &BaseHeader, batch: &mut WriteBatch) {
        let key = meta::numbered(meta::BASE, base.id);
        batch.put_cf(self.store.meta(), key, meta_value(&BaseMessage::from(base)));
    }

    /// Removes the blocks of a base.
    fn put_base_away(&self, id: u64, batch: &mut WriteBatch) -> Result<(), Error> {
        let (first, last) = (keys::base(id, 0, 0), keys::base(id, u64::MAX, u32::MAX));
        self.store
            .db()
            .delete_file_in_range_cf(self.store.base(), first, last)
            .map_err(Error::storage("purge"))?;
        let end = keys::base(id.saturating_add(1), 0, 0);
        batch.delete_range_cf(self.store.base(), first, end);
        Ok(())
    }

    /// Removes the bases that were begun and not finished; answers with how many.
    pub(super) fn put_open_bases_away(&self, batch: &mut WriteBatch) -> Result<usize, Error> {
        let mut open = Vec::new();
        let mut iterator = self.store.iterate(self.store.meta());
        iterator.seek(meta::BASE_OPEN);
        while on_entry(&iterator)? {
            let Some(id) = iterator.key().and_then(|key| meta::number(meta::BASE_OPEN, key)) else {
                break;
            };
            open.push(id);
            iterator.next();
        }
        for id in &open {
            self.put_base_away(*id, batch)?;
            batch.delete_cf(self.store.meta(), meta::numbered(meta::BASE_OPEN, *id));
        }
        Ok(open.len())
    }
}

/// Writes the rows of one table. Dropped before [`BaseWriter::finish`], the base never existed.
#[derive(Debug)]
pub struct BaseWriter {
    shared: Arc<Shared>,
    /// As far as it has come.
    header: BaseHeader,
    compressor: Compressor,
    scratch: Vec<u8>,
    finished: bool,
}

impl BaseWriter {
    /// Number of the base.
    pub fn id(&self) -> u64 {
        self.header.id
    }

    /// Adds a block of whole rows.
    ///
    /// # Errors
    /// When the database fails; the whole writer is then closed.
    pub fn append(&mut self, rows: &[u8], row_count: u64) -> Result<(), Error> {
        self.shared.ensure_open()?;
        let result = self.append_block(rows, row_count);
        if result.is_err() {
            self.shared.close();
        }
        result
    }

    /// Makes the base durable, which makes it exist.
    ///
    /// # Errors
    /// When the database fails; the whole writer is then closed.
    pub fn finish(mut self) -> Result<BaseHeader, Error> {
        let shared = Arc::clone(&self.shared);
        let header = self.header.clone();
        shared.change(|state| {
            let mut batch = WriteBatch::default();
            shared.put_base_header(&header, &mut batch);
            batch.delete_cf(shared.store.meta(), meta::numbered(meta::BASE_OPEN, header.id));
            if header.rebase.is_some() {
                let relation = header.shape.relation;
                batch.delete_cf(shared.store.meta(), rebase_request(relation));
                state.rebase_requests.remove(&relation);
            }
            fail_point("log::writer::before_base_finish")?;
            state.bases.insert(header.id, header.clone());
            shared.commit_meta(state, batch)?;
            fail_point("log::writer::after_base_finish")
        })?;
        self.finished = true;
        Ok(header)
    }

    fn append_block(&mut self, rows: &[u8], row_count: u64) -> Result<(), Error> {
        let BaseWriter { shared, header, compressor, scratch, .. } = self;
        let mut batch = WriteBatch::default();
        pieces::cut(&[rows], scratch, |piece, pieces, bytes| {
            let (coding, payload) = compressor.compress(bytes)?;
            let piece_header = BasePieceHeader {
                base: header.id,
                n: header.blocks,
                piece,
                pieces,
                coding: Some(coding),
                total_length: rows.len() as u64,
                rows: row_count,
            };
            let (value, crc) = envelope::seal(Kind::BaseBlock, &piece_header, payload);
            header.crc = envelope::chain(header.crc, crc);
            batch.put_cf(shared.store.base(), keys::base(header.id, header.blocks, piece), value);
            write_if_large(&shared.store, &mut batch)
        })?;
        fail_point("log::writer::before_base_block")?;
        shared.store.write(batch, false)?;
        header.blocks += 1;
        header.rows += row_count;
        header.raw_bytes += rows.len() as u64;
        Ok(())
    }
}

impl Drop for BaseWriter {
    fn drop(&mut self) {
        if self.finished || self.shared.ensure_open().is_err() {
            return;
        }
        // Best effort: what stays behind is removed when the log is opened next.
        let mut batch = WriteBatch::default();
        let shared = &self.shared;
        let put_away = shared.put_base_away(self.header.id, &mut batch);
        let open = meta::numbered(meta::BASE_OPEN, self.header.id);
        batch.delete_cf(shared.store.meta(), open);
        if put_away.and_then(|()| self.shared.store.write(batch, false)).is_err() {
            self.shared.close();
        }
    }
}
