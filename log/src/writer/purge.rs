//! Purging: giving back what nobody needs any more.
//!
//! Owns the removal of old blocks and of the pending chunks they refer to. First the new beginning
//! is made durable, then data goes; a crash in between is finished at the next opening. The
//! invariant: nothing at or after the position asked for is removed, nor ever the last block, which
//! carries the chain on.

use rocksdb::WriteBatch;

use super::pending::{self, PendingKey};
use super::{LogWriter, Shared, fail_point};
use crate::error::Error;
use crate::format::block::{self, BlockHeader};
use crate::format::envelope::{self, Kind};
use crate::format::messages::{PendingCommit, PurgedMessage};
use crate::keys::{self, meta};
use crate::model::Position;
use crate::recovery::{PurgedTo, meta_value};
use crate::store::on_entry;

/// What a purge removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Purged {
    /// Number of blocks.
    pub blocks: u64,
    /// Number of pending transactions.
    pub pending: u64,
    /// Where the log begins now.
    pub first: Option<Position>,
}

impl LogWriter {
    /// Removes the blocks wholly before `upto`, and the pending chunks they refer to. Bases stay.
    ///
    /// # Errors
    /// When the database fails; the writer is then closed.
    pub fn purge(&self, upto: Position) -> Result<Purged, Error> {
        let shared = &self.shared;
        shared.change(|state| {
            let Some((kept, last_gone)) = shared.find_cut(upto, state.purged)? else {
                let first = shared.first_block(state.purged)?.map(|block| block.first);
                return Ok(Purged { first, ..Purged::default() });
            };
            let before = state.purged.seq;
            state.purged =
                PurgedTo { seq: last_gone.seq, last: last_gone.last, end_lsn: last_gone.end_lsn };
            let message = PurgedMessage {
                seq: last_gone.seq,
                last: Some(last_gone.last.into()),
                end_lsn: last_gone.end_lsn.as_u64(),
            };
            let mut batch = WriteBatch::default();
            batch.put_cf(shared.store.meta(), meta::PURGED, meta_value(&message));
            fail_point("log::writer::before_purge")?;
            shared.commit_meta(state, batch)?;

            let keys = shared.purge_keys(|commit| {
                Ok(commit.is_some_and(|position| position <= last_gone.last))
            })?;
            let mut batch = WriteBatch::default();
            for key in &keys {
                pending::discard(&shared.store, &mut batch, *key);
            }
            shared.drop_files(&keys, last_gone.first)?;
            shared.put_purge(state.purged, &mut batch);
            shared.store.write(batch, true)?;
            fail_point("log::writer::after_purge")?;
            Ok(Purged {
                blocks: last_gone.seq - before,
                pending: keys.len() as u64,
                first: Some(kept.first),
            })
        })
    }

    /// Gives the space of what was purged back to the disk now, rather than whenever compaction comes
    /// by: moves memtables to files and compacts the purged ranges. Writing goes on meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub fn reclaim(&self) -> Result<(), Error> {
        self.flush()?;
        let (store, purged) = (&self.shared.store, self.shared.look().purged);
        let none: Option<&[u8]> = None;
        store.db().compact_range_cf(store.changes(), none, Some(keys::changes_after(purged.last)));
        store.db().compact_range_cf(store.pending(), none, none);
        Ok(())
    }

    /// Headers of the oldest blocks, at most `limit`, for deciding what to purge.
    ///
    /// # Errors
    /// When the database fails.
    pub fn oldest(&self, limit: usize) -> Result<Vec<BlockHeader>, Error> {
        let purged = self.shared.look().purged;
        let mut headers = Vec::new();
        let mut iterator = self.shared.store.iterate(self.shared.store.changes());
        iterator.seek(keys::changes_after(purged.last));
        while headers.len() < limit && on_entry(&iterator)? {
            headers.extend(header_at(&iterator)?);
            iterator.next();
        }
        Ok(headers)
    }
}

impl Shared {
    /// The first block to keep and the last to go, if any can go.
    fn find_cut(
        &self,
        upto: Position,
        purged: PurgedTo,
    ) -> Result<Option<(BlockHeader, BlockHeader)>, Error> {
        let mut iterator = self.store.iterate(self.store.changes());
        iterator.seek_for_prev(keys::changes(upto));
        if !on_entry(&iterator)? {
            return Ok(None);
        }
        let Some(reaches) = header_at(&iterator)? else { return Ok(None) };
        if reaches.last < upto {
            iterator.next();
            if on_entry(&iterator)?
                && let Some(next) = header_at(&iterator)?
            {
                return Ok((reaches.first > purged.last).then_some((next, reaches)));
            }
            // It is the last block, which stays.
            iterator.seek(keys::changes(reaches.first));
        }
        iterator.prev();
        if !on_entry(&iterator)? {
            return Ok(None);
        }
        let before = header_at(&iterator)?.filter(|before| before.first > purged.last);
        Ok(before.map(|before| (reaches, before)))
    }

    fn first_block(&self, purged: PurgedTo) -> Result<Option<BlockHeader>, Error> {
        let mut iterator = self.store.iterate(self.store.changes());
        iterator.seek(keys::changes_after(purged.last));
        if on_entry(&iterator)? { header_at(&iterator) } else { Ok(None) }
    }

    /// Drops whole files; what is left in others is covered by range deletions.
    fn drop_files(&self, keys: &[PendingKey], last_gone: Position) -> Result<(), Error> {
        let (db, purge) = (self.store.db(), "purge");
        let (from, to) = (keys::changes(Position::default()), keys::changes(last_gone));
        db.delete_file_in_range_cf(self.store.changes(), from, to)
            .map_err(Error::storage(purge))?;
        for key in keys {
            let (from, to) = (keys::pending(*key, 0, 0), keys::pending_commit(*key));
            db.delete_file_in_range_cf(self.store.pending(), from, to)
                .map_err(Error::storage(purge))?;
        }
        Ok(())
    }

    /// Covers everything up to the new beginning. Asked for again it changes nothing.
    pub(super) fn put_purge(&self, purged: PurgedTo, batch: &mut WriteBatch) {
        if purged.seq > 0 {
            let (from, to) = (keys::changes(Position::default()), keys::changes_after(purged.last));
            batch.delete_range_cf(self.store.changes(), from.as_slice(), to.as_slice());
        }
    }

    /// The pending transactions for which `choose`, given the position they committed at, if they
    /// did, says yes. It goes from transaction to transaction without reading their chunks.
    pub(super) fn purge_keys(
        &self,
        choose: impl Fn(Option<Position>) -> Result<bool, Error>,
    ) -> Result<Vec<PendingKey>, Error> {
        let damaged = || Error::corrupt("a key of the pending family");
        let mut chosen = Vec::new();
        let mut iterator = self.store.iterate(self.store.pending());
        iterator.seek_to_first();
        while on_entry(&iterator)? {
            let (key, ..) = iterator.key().and_then(keys::pending_parts).ok_or_else(damaged)?;
            let commit = match self.store.get(self.store.pending(), keys::pending_commit(key))? {
                Some(value) => Some(commit_position(key, &value)?),
                None => None,
            };
            if choose(commit)? {
                chosen.push(key);
            }
            iterator.seek(keys::pending_end(key));
        }
        Ok(chosen)
    }
}

/// Where a pending transaction committed, from the value under its last key.
pub(crate) fn commit_position(key: PendingKey, value: &[u8]) -> Result<Position, Error> {
    let what = || format!("the commit of pending transaction {}", key.xid);
    let commit = envelope::open::<PendingCommit>(Kind::PendingCommit, value, what)?.header;
    commit.position.map(Position::from).ok_or_else(|| Error::corrupt(what()))
}

fn header_at(iterator: &rocksdb::DBRawIterator<'_>) -> Result<Option<BlockHeader>, Error> {
    let Some((key, value)) = iterator.item() else { return Ok(None) };
    let position =
        keys::changes_position(key).ok_or_else(|| Error::corrupt("a key of the changes family"))?;
    block::open(position, value).map(|(header, _)| Some(header))
}
