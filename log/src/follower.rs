//! Following a log: a RocksDB secondary beside the writer, or what a writer left.
//!
//! Owns the view of the database and its renewal. A secondary can show a hole: it reads which files
//! there are, then the write-ahead logs, and a flush in between hides what was in memory, without
//! an error. So the invariant is that nothing is taken for absent because it is not seen: what the
//! durable mark, a block's number or a reference promises is looked for again, with the view caught
//! up, then opened anew, and in the end that is an error.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::base::{BaseBlock, BaseHeader, InitialSet, OpenBase};
use crate::cursor::LogCursor;
use crate::error::Error;
use crate::format::compress;
use crate::format::envelope::{self, Kind, Opened};
use crate::format::messages::{BasePieceHeader, ChunkHeader, Coding};
use crate::format::payload::Sections;
use crate::format::pieces::MAX_TOTAL_BYTES;
use crate::identity::Identity;
use crate::keys;
use crate::mark::{DurableMark, MarkFile};
use crate::model::{ChangeRecord, Lsn, Position, RelationVersion, RelationVersionId};
use crate::recovery;
use crate::sequence::SequenceValues;
use crate::store::{self, Role, Store};
use crate::writer::pending::PendingRef;

/// How long to look for what must be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Pause between two attempts at catching up. Holes healed in 4 to 7 ms when measured.
    pub(crate) pause: Duration,
    /// After this long the view is opened anew.
    pub(crate) reopen: Duration,
    /// After this long it is an error.
    pub(crate) give_up: Duration,
}

impl Patience {
    const DEFAULT: Patience = Patience {
        pause: Duration::from_millis(2),
        reopen: Duration::from_secs(1),
        give_up: Duration::from_secs(60),
    };
}

/// Reads a log, while it is written or afterwards. Its methods may be called from several threads;
/// they block while they wait for something that must appear.
#[derive(Debug)]
pub struct LogFollower {
    dir: PathBuf,
    own: PathBuf,
    identity: Identity,
    patience: Patience,
    view: Mutex<View>,
    relations: Mutex<HashMap<RelationVersionId, Arc<RelationVersion>>>,
}

#[derive(Debug)]
struct View {
    store: Arc<Store>,
    mark_file: Arc<MarkFile>,
    /// The last attempt to catch up failed: the view is opened anew before it is used again.
    broken: bool,
}

impl LogFollower {
    /// Opens the log in `dir`. `follower_dir` is this follower's own: no two may share one.
    ///
    /// # Errors
    /// When there is no log, or its parts do not belong together.
    pub fn open(dir: &Path, follower_dir: &Path) -> Result<LogFollower, Error> {
        LogFollower::open_with(dir, follower_dir, Patience::DEFAULT)
    }

    pub(crate) fn open_with(
        dir: &Path,
        follower_dir: &Path,
        patience: Patience,
    ) -> Result<LogFollower, Error> {
        if !store::holds_log(dir) {
            return Err(Error::NotALog { dir: dir.to_owned() });
        }
        store::keep_files_private();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(follower_dir)
            .map_err(Error::io("create", follower_dir))?;
        let (view, identity) = open_view(dir, follower_dir)?;
        Ok(LogFollower {
            dir: dir.to_owned(),
            own: follower_dir.to_owned(),
            identity,
            patience,
            view: Mutex::new(view),
            relations: Mutex::default(),
        })
    }

    /// Which log this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How far the log is durable: read from the file, which is cheap.
    ///
    /// # Errors
    /// When the file is damaged, or is another log's.
    pub fn mark(&self) -> Result<DurableMark, Error> {
        let mark_file = Arc::clone(&self.view().mark_file);
        let mark = mark_file.read()?.mark;
        belongs("the durable mark", &self.identity, &mark)?;
        Ok(mark)
    }

    /// Where the log ends, for one who takes it for the end of all. With one of the mark's two copies
    /// damaged and nobody writing, the end may lie further than the other copy says.
    ///
    /// # Errors
    /// As [`LogFollower::mark`], and then.
    pub fn end(&self) -> Result<DurableMark, Error> {
        let mark_file = Arc::clone(&self.view().mark_file);
        let whole = mark_file.read_slots()?.iter().all(Result::is_ok);
        if !whole && !store::is_being_written(&self.dir) {
            return Err(Error::corrupt(
                "one of the two copies of the durable mark (starting the reader mends it)",
            ));
        }
        self.mark()
    }

    /// Brings the view up to date. After an error the view is opened anew.
    ///
    /// # Errors
    /// When that fails, too.
    pub fn catch_up(&self) -> Result<(), Error> {
        let mut view = self.view();
        if !view.broken {
            match view.store.db().try_catch_up_with_primary() {
                Ok(()) => return Ok(()),
                Err(error) => {
                    // Nothing may be skipped after a failure: known defects leave files out.
                    tracing::debug!(%error, "opening the change log's view anew");
                    view.broken = true;
                }
            }
        }
        self.reopen(&mut view)
    }

    /// The shape with an id.
    ///
    /// # Errors
    /// When it does not appear or is damaged.
    pub fn relation(&self, id: RelationVersionId) -> Result<Arc<RelationVersion>, Error> {
        let cache = || self.relations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shape) = cache().get(&id) {
            return Ok(Arc::clone(shape));
        }
        if id.0 == 0 || id.0 > self.mark()?.relations {
            return Err(Error::corrupt(format!("a record that names relation version {}", id.0)));
        }
        let what = Missing { what: "relation version", number: u64::from(id.0) };
        let shape = self.look_for(what, |store| {
            let Some(value) = store.get(store.relations(), keys::relation(id.0))? else {
                return Ok(None);
            };
            recovery::decode_relation(id.0, &value).map(|shape| Some(Arc::new(shape)))
        })?;
        cache().insert(id, Arc::clone(&shape));
        Ok(shape)
    }

    /// The tables of the initial copy, once planned.
    ///
    /// # Errors
    /// When it is damaged, or the mark says it is complete and that does not appear.
    pub fn initial_set(&self) -> Result<Option<InitialSet>, Error> {
        let must_be_complete = self.mark()?.initial_complete;
        self.look_for(Missing { what: "the initial set", number: 1 }, |store| {
            let set = recovery::read_initial_set(store)?;
            let complete = set.as_ref().is_some_and(|set| set.complete);
            Ok((complete || !must_be_complete).then_some(set))
        })
    }

    /// The source's schema as it was before the initial copy, once it is there.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn schema(&self) -> Result<Option<Vec<u8>>, Error> {
        self.look_for(Missing { what: "the schema", number: 1 }, |store| {
            recovery::read_schema(store).map(Some)
        })
    }

    /// Where the source's sequences stand, with the number of that set; `None` when nothing is known.
    ///
    /// # Errors
    /// When it is damaged, or the mark tells of one that does not appear.
    pub fn sequences(&self) -> Result<Option<(u64, SequenceValues)>, Error> {
        let number = self.mark()?.sequences.number;
        if number == 0 {
            return Ok(None);
        }
        self.look_for(Missing { what: "sequence values", number }, |store| {
            recovery::read_sequences(store, number).map(|found| found.map(Some))
        })
    }

    /// Whether a reader has the log open.
    pub fn is_being_written(&self) -> bool {
        store::is_being_written(&self.dir)
    }

    /// Where the changes end that belong to a copy without the stage "changes", once that is
    /// decided. As of the last catching up.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn final_lsn(&self) -> Result<Option<Lsn>, Error> {
        self.look_for(Missing { what: "the final LSN", number: 1 }, |store| {
            recovery::read_final_lsn(store).map(Some)
        })
    }

    /// The complete bases, by number.
    ///
    /// # Errors
    /// When one is damaged, or fewer appear than the mark says.
    pub fn bases(&self) -> Result<Vec<BaseHeader>, Error> {
        let count = self.mark()?.bases_complete;
        self.look_for(Missing { what: "base", number: u64::from(count) }, |store| {
            let bases = recovery::read_bases(store)?;
            let enough = bases.len() as u64 >= u64::from(count);
            Ok(enough.then(|| bases.into_values().collect()))
        })
    }

    /// Block `n` of a base, from 0.
    ///
    /// # Errors
    /// When it does not appear, is damaged, or was purged.
    pub fn base_block(&self, base: &BaseHeader, n: u64) -> Result<BaseBlock, Error> {
        if n >= base.blocks {
            return Err(Error::Invariant("a base has fewer blocks than asked for"));
        }
        self.look_for(Missing { what: "base block", number: n }, |store| {
            if let Some(block) = read_base_block(store, base.id, n)? {
                return Ok(Some(block));
            }
            let now = recovery::read_base(store, base.id)?;
            match now.is_some_and(|now| now.purged) {
                true => Err(Error::BasePurged { id: base.id }),
                false => Ok(None),
            }
        })
    }

    /// The bases that are being written, by number, as far as the view shows: one that is not seen
    /// may be there all the same. [`LogFollower::catch_up`] brings the view up to date.
    ///
    /// # Errors
    /// When one is damaged.
    pub fn open_bases(&self) -> Result<Vec<OpenBase>, Error> {
        Ok(self.look_once(|store| recovery::read_open_starts(store).map(Some))?.unwrap_or_default())
    }

    /// Block `n` of a base that is perhaps not complete; `None` when the view does not show it.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn open_base_block(&self, id: u64, n: u64) -> Result<Option<BaseBlock>, Error> {
        self.look_once(|store| read_base_block(store, id, n))
    }

    /// A cursor at the first transaction strictly after `position`; `None`: from the beginning.
    ///
    /// # Errors
    /// When what follows that position was purged.
    pub fn cursor_after(&self, position: Option<Position>) -> Result<LogCursor<'_>, Error> {
        LogCursor::after(self, position)
    }

    /// A cursor at the oldest transaction that the log still holds.
    ///
    /// # Errors
    /// When the database fails.
    pub fn cursor_from_first(&self) -> Result<LogCursor<'_>, Error> {
        LogCursor::from_first(self)
    }

    /// The records of chunk `n` of a pending transaction, from 0, without those of subtransactions
    /// that rolled back.
    ///
    /// # Errors
    /// When it does not appear or is damaged.
    pub fn pending_chunk(
        &self,
        reference: &PendingRef,
        n: u32,
    ) -> Result<Vec<ChangeRecord>, Error> {
        if n >= reference.chunks {
            return Err(Error::Invariant("a transaction has fewer chunks than asked for"));
        }
        let what = Missing { what: "pending chunk", number: u64::from(n) };
        let chunk = self.look_for(what, |store| read_chunk(store, reference, n))?;
        chunk.records(&reference.aborted)
    }

    /// Looks for what must be there until it appears.
    pub(crate) fn look_for<T>(
        &self,
        missing: Missing,
        look: impl Fn(&Store) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let mut opened = began;
        let mut attempts = 0u32;
        loop {
            let store = Arc::clone(&self.view().store);
            let failure = match look(&store) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => missing.error(),
                // Files may have gone from under an old view; a fresh one tells.
                Err(error @ Error::Storage { .. }) => error,
                Err(error) => return Err(error),
            };
            drop(store);
            let now = Instant::now();
            if now - began >= self.patience.give_up {
                return Err(failure);
            }
            if now - opened >= self.patience.reopen {
                // A view opened while the writer starts may need this once; it heals by itself, and
                // one that does not ends in an error.
                tracing::info!(
                    missing = missing.what,
                    number = missing.number,
                    "the change log's view shows a hole: opening it anew"
                );
                self.reopen(&mut self.view())?;
                opened = Instant::now();
            } else {
                if attempts > 0 {
                    std::thread::sleep(self.patience.pause);
                }
                self.catch_up()?;
            }
            attempts += 1;
        }
    }

    /// Looks for what may not be there yet. What the database itself refuses is not there either:
    /// files may have gone from under an old view, so the next catching up opens it anew.
    fn look_once<T>(
        &self,
        look: impl FnOnce(&Store) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let store = Arc::clone(&self.view().store);
        match look(&store) {
            Err(Error::Storage { .. }) => {
                self.view().broken = true;
                Ok(None)
            }
            looked => looked,
        }
    }

    fn reopen(&self, view: &mut View) -> Result<(), Error> {
        view.broken = true;
        let (fresh, identity) = open_view(&self.dir, &self.own)?;
        if identity.incarnation != self.identity.incarnation {
            return Err(Error::WrongIdentity {
                what: "the log",
                expected: self.identity.incarnation.to_string(),
                found: identity.incarnation.to_string(),
            });
        }
        *view = fresh;
        Ok(())
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    pub(crate) what: &'static str,
    pub(crate) number: u64,
}

impl Missing {
    fn error(self) -> Error {
        Error::Hole { what: self.what, seq: self.number }
    }
}

fn open_view(dir: &Path, own: &Path) -> Result<(View, Identity), Error> {
    let mark_file = MarkFile::open(dir, false)?;
    let store = Store::open(&store::database(dir), Role::Follower(own))?;
    let identity = recovery::read_identity(&store)?;
    belongs("the durable mark", &identity, &mark_file.read()?.mark)?;
    let view = View { store: Arc::new(store), mark_file: Arc::new(mark_file), broken: false };
    Ok((view, identity))
}

fn belongs(what: &'static str, identity: &Identity, mark: &DurableMark) -> Result<(), Error> {
    if mark.incarnation == identity.incarnation {
        return Ok(());
    }
    Err(Error::WrongIdentity {
        what,
        expected: identity.incarnation.to_string(),
        found: mark.incarnation.to_string(),
    })
}

/// One piece of a long value, expanded.
pub(crate) struct Piece<H> {
    header: H,
    pieces: u32,
    total: u64,
    raw: Vec<u8>,
}

impl<H> Piece<H> {
    /// `None` when it is not the piece it should be.
    pub(crate) fn new(
        here: bool,
        pieces: u32,
        total: u64,
        coding: Option<Coding>,
        payload: &[u8],
        header: H,
    ) -> Option<Piece<H>> {
        let mut raw = Vec::new();
        compress::expand(coding, payload, &mut raw)?;
        (here && pieces > 0).then_some(Piece { header, pieces, total, raw })
    }
}

/// Puts a long value together: the first piece's header, and all of it. `None` when a piece is not
/// there.
pub(crate) fn join<H>(
    what: impl Fn() -> String,
    mut piece: impl FnMut(u32) -> Result<Option<Piece<H>>, Error>,
) -> Result<Option<(H, Vec<u8>)>, Error> {
    let damaged = || Error::corrupt(what());
    let Some(first) = piece(0)? else { return Ok(None) };
    let Piece { header, pieces, total, mut raw } = first;
    if total > MAX_TOTAL_BYTES {
        return Err(damaged());
    }
    if pieces > 1 {
        // Checked by the first piece's checksum, and reserved once: growing would copy a gigabyte.
        let total = usize::try_from(total).map_err(|_| damaged())?;
        let rest = total.checked_sub(raw.len()).ok_or_else(damaged)?;
        raw.try_reserve_exact(rest).map_err(|_| damaged())?;
    }
    for n in 1..pieces {
        let Some(next) = piece(n)? else { return Ok(None) };
        if next.pieces != pieces || next.total != total {
            return Err(damaged());
        }
        raw.extend_from_slice(&next.raw);
    }
    if raw.len() as u64 == total { Ok(Some((header, raw))) } else { Err(damaged()) }
}

/// A block of a base; `None` when it, or a piece of it, is not there.
fn read_base_block(store: &Store, id: u64, n: u64) -> Result<Option<BaseBlock>, Error> {
    let what = || format!("block {n} of base {id}");
    let joined = join(what, |piece| {
        let key = keys::base(id, n, piece);
        let Some(value) = store.get(store.base(), key)? else { return Ok(None) };
        let opened = envelope::open::<BasePieceHeader>(Kind::BaseBlock, &value, what)?;
        let Opened { header, payload, .. } = opened;
        let here = header.base == id && header.n == n && header.piece == piece;
        let (pieces, total) = (header.pieces, header.total_length);
        Piece::new(here, pieces, total, header.coding, payload, header)
            .map(Some)
            .ok_or_else(|| Error::corrupt(what()))
    })?;
    Ok(joined.map(|(header, rows)| BaseBlock { rows: Bytes::from(rows), row_count: header.rows }))
}

/// A pending chunk, decompressed.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) header: ChunkHeader,
    /// Checksum over the checksums of all pieces of the transaction up to this chunk's last.
    pub(crate) chain: u32,
    sections: Sections,
}

impl Chunk {
    /// Its records, without those of the `aborted` subtransactions, which are sorted.
    pub(crate) fn records(&self, aborted: &[u32]) -> Result<Vec<ChangeRecord>, Error> {
        let ChunkHeader { first_ordinal, records, .. } = self.header;
        let damaged = || Error::corrupt("a pending chunk");
        let mut iterator = self.sections.records(0, first_ordinal, records).ok_or_else(damaged)?;
        let mut kept = Vec::new();
        for record in &mut iterator {
            let record = record?;
            let gone = record.subxid.is_some_and(|subxid| aborted.binary_search(&subxid).is_ok());
            if !gone {
                kept.push(record);
            }
        }
        if iterator.is_exhausted() { Ok(kept) } else { Err(damaged()) }
    }
}

/// Chunk `n` of a transaction; `None` when it, or a piece of it, is not there.
pub(crate) fn read_chunk(
    store: &Store,
    reference: &PendingRef,
    n: u32,
) -> Result<Option<Chunk>, Error> {
    let key = reference.key;
    let what = || format!("chunk {n} of pending transaction {}", key.xid);
    let damaged = || Error::corrupt(what());
    let mut chain = None;
    let joined = join(what, |piece| {
        let Some(value) = store.get(store.pending(), keys::pending(key, n, piece))? else {
            return Ok(None);
        };
        let opened = envelope::open::<ChunkHeader>(Kind::PendingChunk, &value, what)?;
        let Opened { header, payload, crc } = opened;
        let here = (header.connection, header.xid) == (key.connection, key.xid.as_u64())
            && (header.n, header.piece) == (n, piece)
            && chain.is_none_or(|chain| chain == header.chain)
            && (n > 0 || piece > 0 || header.chain == 0);
        chain = Some(envelope::chain(header.chain, crc));
        let (pieces, total, coding) = (header.pieces, header.total_length, header.coding);
        Piece::new(here, pieces, total, coding, payload, header).map(Some).ok_or_else(damaged)
    })?;
    let Some((header, raw)) = joined else { return Ok(None) };
    let chain = chain.ok_or_else(damaged)?;
    if n + 1 == reference.chunks && chain != reference.crc {
        return Err(damaged());
    }
    let sections = Sections::of_chunk(header.layout, Bytes::from(raw), header.records);
    let sections = sections.ok_or_else(damaged)?;
    Ok(Some(Chunk { header, chain, sections }))
}
