//! A place in a log, from which blocks are read in order.
//!
//! Owns the rule of succession: the next block is the one with the next number, never just the next
//! key, and never one beyond the durable mark. That is the invariant, and what keeps an applier
//! from losing transactions when a secondary shows a hole.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use crate::error::Error;
use crate::follower::{LogFollower, Missing};
use crate::format::block;
use crate::format::transactions::Block;
use crate::keys;
use crate::model::{Lsn, Position};
use crate::recovery::{PurgedTo, read_purged};
use crate::store::{Store, on_entry};

/// Reads blocks one after the other. It owns its place; the follower may be shared.
#[derive(Debug)]
pub struct LogCursor<'a> {
    follower: &'a LogFollower,
    place: Place,
    /// Transactions up to here were not asked for.
    after: Option<Position>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// The block before was this one.
    Behind { seq: u64, last: Position, end_lsn: Option<Lsn> },
    /// Not found yet: the block that holds what comes after this position.
    Around(Position),
}

impl<'a> LogCursor<'a> {
    pub(crate) fn after(
        follower: &'a LogFollower,
        after: Option<Position>,
    ) -> Result<LogCursor<'a>, Error> {
        let purged = beginning(follower)?;
        let place = match after {
            None if purged.seq == 0 => behind(purged),
            Some(position) if position >= purged.last => Place::Around(position),
            _ => return Err(gone(after, purged)),
        };
        Ok(LogCursor { follower, place, after })
    }

    pub(crate) fn from_first(follower: &'a LogFollower) -> Result<LogCursor<'a>, Error> {
        Ok(LogCursor { follower, place: behind(beginning(follower)?), after: None })
    }

    /// The next block; `None` at the durable end. It blocks while a block that must be there does
    /// not appear.
    ///
    /// # Errors
    /// When it is damaged, does not appear for a minute, or was purged meanwhile.
    pub fn next_block(&mut self) -> Result<Option<Block>, Error> {
        let end = self.follower.mark()?.seq;
        if let Place::Around(position) = self.place {
            if end == 0 {
                return Ok(None);
            }
            self.place = self.find(position)?;
        }
        let Place::Behind { seq, last, end_lsn } = self.place else { return Ok(None) };
        if seq >= end {
            return Ok(None);
        }
        let wanted = seq + 1;
        let missing = Missing { what: "block", number: wanted };
        let block = self.follower.look_for(missing, |store| {
            let purged = read_purged(store)?;
            if purged.seq >= wanted {
                return Err(gone(Some(last), purged));
            }
            read_after(store, last, wanted)
        })?;
        let header = block.header();
        if end_lsn.is_some_and(|end_lsn| end_lsn != header.prev_end_lsn) {
            return Err(Error::corrupt_at("the chain of blocks", header.first));
        }
        self.place =
            Place::Behind { seq: wanted, last: header.last, end_lsn: Some(header.end_lsn) };
        Ok(Some(block.skip_to_after(self.after)))
    }

    /// The place before the block that holds the first transaction after `position`. A hole in the
    /// view can only make it an earlier one, from which the numbers then lead on.
    fn find(&self, position: Position) -> Result<Place, Error> {
        self.follower.catch_up()?;
        self.follower.look_for(Missing { what: "block", number: 1 }, |store| {
            let purged = read_purged(store)?;
            if position < purged.last {
                return Err(gone(Some(position), purged));
            }
            let mut iterator = store.iterate(store.changes());
            iterator.seek_for_prev(keys::changes(position));
            while on_entry(&iterator)? {
                let Some((key, value)) = iterator.item() else { break };
                let first = position_of(key)?;
                if first <= purged.last {
                    break;
                }
                let (header, _) = block::open(first, value)?;
                if header.last <= position {
                    let (seq, end_lsn) = (header.seq, Some(header.end_lsn));
                    return Ok(Some(Place::Behind { seq, last: header.last, end_lsn }));
                }
                iterator.prev();
            }
            Ok(Some(behind(purged)))
        })
    }
}

/// Where the log begins.
fn beginning(follower: &LogFollower) -> Result<PurgedTo, Error> {
    follower.look_for(Missing { what: "block", number: 1 }, |store| read_purged(store).map(Some))
}

fn behind(purged: PurgedTo) -> Place {
    let PurgedTo { seq, last, end_lsn } = purged;
    Place::Behind { seq, last, end_lsn: (seq > 0).then_some(end_lsn) }
}

fn gone(wanted: Option<Position>, purged: PurgedTo) -> Error {
    Error::Purged { wanted, last_gone: purged.last }
}

/// The block after `last`, if the view shows it and not a later one.
fn read_after(store: &Store, last: Position, wanted: u64) -> Result<Option<Block>, Error> {
    let mut iterator = store.iterate(store.changes());
    iterator.seek(keys::changes_after(last));
    if !on_entry(&iterator)? {
        return Ok(None);
    }
    let Some((key, value)) = iterator.item() else { return Ok(None) };
    let first = position_of(key)?;
    let (header, _) = block::open(first, value)?;
    if header.seq < wanted {
        return Err(Error::corrupt_at("the numbering of blocks", first));
    }
    if header.seq > wanted {
        return Ok(None);
    }
    Block::read(first, value).map(Some)
}

fn position_of(key: &[u8]) -> Result<Position, Error> {
    keys::changes_position(key).ok_or_else(|| Error::corrupt("a key of the changes family"))
}
