//! Going through a whole log, record by record, without a server.
//!
//! Owns the proof that nothing is missing and nothing is changed: every value is read with
//! RocksDB's and our own checksums, blocks are numbered densely and chained, counts and checksums
//! of pending chunks and bases are those that their references and headers tell, and all of it
//! reaches the durable mark. What RocksDB would pass over in silence (a file's end cut off, a list
//! of files that lost its last entry) shows against the mark. The invariant: it changes nothing.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::applied::read_applied;
use crate::error::Error;
use crate::follower::{Chunk, Piece, join, read_chunk};
use crate::format::block::BlockHeader;
use crate::format::envelope::{self, Kind, Opened};
use crate::format::messages::{BasePieceHeader, ChunkHeader};
use crate::format::transactions::{Block, Body, LoggedTransaction};
use crate::keys;
use crate::mark::{MarkFile, Witness};
use crate::model::{Change, ChangeRecord, Position};
use crate::recovery::{Contents, read_schema};
use crate::store::{self, Recovery, Role, Store, on_entry};
use crate::writer::pending::{PendingKey, PendingRef};

/// How far a check has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckProgress {
    /// What is being read.
    pub stage: &'static str,
    /// How much of it.
    pub done: u64,
    /// Of how much; 0 when not known.
    pub total: u64,
}

/// Something that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where.
    pub at: String,
    /// What.
    pub what: String,
}

/// What a check went through, and what it found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// Blocks of changes.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Records, those in pending chunks and of rolled back subtransactions included.
    pub records: u64,
    /// Pending chunks that commits refer to.
    pub pending_chunks: u64,
    /// Blocks of complete bases.
    pub base_blocks: u64,
    /// Relation versions.
    pub relations: u64,
    /// The first transaction.
    pub first: Option<Position>,
    /// The last transaction.
    pub last: Option<Position>,
    /// None in a sound log.
    pub problems: Vec<Problem>,
}

/// Goes through the log in `dir`. `scratch` takes RocksDB's diagnostics; nothing in `dir` changes.
/// A log that is being written is read as a follower sees it; one at rest is read strictly.
///
/// # Errors
/// When there is no log, or the check itself cannot go on. Damage is in the report.
pub fn check(
    dir: &Path,
    scratch: &Path,
    progress: &mut dyn FnMut(CheckProgress),
) -> Result<CheckReport, Error> {
    if !store::holds_log(dir) {
        return Err(Error::NotALog { dir: dir.to_owned() });
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(scratch)
        .map_err(Error::io("create", scratch))?;
    let mut report = CheckReport::default();
    let witness = check_mark(dir, &mut report)?;
    if let Err(error) = read_applied(dir) {
        report.found("appliers", &error);
    }
    let path = store::database(dir);
    let live = store::is_being_written(dir);
    let role =
        if live { Role::Follower(scratch) } else { Role::ReadOnly(Recovery::TornTail, scratch) };
    let opened = Store::open(&path, role)
        .and_then(|store| Contents::read(&store).map(|contents| (store, contents)));
    let (store, contents) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            report.found("database", &error);
            return Ok(report);
        }
    };
    if let Some(witness) = witness
        && let Err(error) = contents.compare(&witness)
    {
        report.found("database", &error);
    }
    report.relations = contents.relations.len() as u64;
    let mut check = Check { store: &store, contents: &contents, report, progress };
    check.families();
    check.changes();
    check.bases();
    Ok(check.report)
}

/// Both copies of the mark must be good: the newer counts, the older is what a torn write leaves.
fn check_mark(dir: &Path, report: &mut CheckReport) -> Result<Option<Witness>, Error> {
    let mark_file = match MarkFile::open(dir, false) {
        Ok(mark_file) => mark_file,
        Err(error) => {
            report.found("durable mark", &error);
            return Ok(None);
        }
    };
    // Read before the database, which can only be ahead of it then. A torn read is read again.
    let witness = mark_file.read();
    for slot in mark_file.read_slots()? {
        if let (Err(error), false) = (slot, store::is_being_written(dir)) {
            report.found("durable mark", &error);
        }
    }
    if let Err(error) = &witness {
        report.found("durable mark", error);
    }
    Ok(witness.ok())
}

impl CheckReport {
    fn found(&mut self, at: impl Into<String>, error: &Error) {
        self.problem(at, crate::error::chain(error));
    }

    fn problem(&mut self, at: impl Into<String>, what: impl Into<String>) {
        /// A log that is broken all over is as broken after this many lines.
        const MOST: usize = 1000;
        if self.problems.len() < MOST {
            self.problems.push(Problem { at: at.into(), what: what.into() });
        }
    }
}

struct Check<'a> {
    store: &'a Store,
    contents: &'a Contents,
    report: CheckReport,
    progress: &'a mut dyn FnMut(CheckProgress),
}

impl Check<'_> {
    fn tell(&mut self, stage: &'static str, done: u64, total: u64) {
        (self.progress)(CheckProgress { stage, done, total });
    }

    /// Reads every key and value of every family, whether or not anything refers to it: a checksum
    /// of RocksDB's fails here if nowhere else.
    fn families(&mut self) {
        let families = [
            ("meta", self.store.meta()),
            ("relations", self.store.relations()),
            ("pending", self.store.pending()),
            ("base", self.store.base()),
        ];
        for (name, family) in families {
            let mut iterator = self.store.iterate(family);
            iterator.seek_to_first();
            let mut entries = 0;
            while iterator.valid() {
                entries += 1;
                if entries % 1000 == 0 {
                    self.tell(name, entries, 0);
                }
                iterator.next();
            }
            if let Err(error) = on_entry(&iterator) {
                self.report.found(name, &error);
            }
        }
    }

    fn changes(&mut self) {
        let purged = self.contents.purged;
        let end = self.contents.seq();
        let mut iterator = self.store.iterate(self.store.changes());
        iterator.seek(keys::changes_after(purged.last));
        let mut before = (purged.seq, purged.last, (purged.seq > 0).then_some(purged.end_lsn));
        let mut referred = BTreeSet::new();
        while let Some((key, value)) = iterator.item() {
            let Some(position) = keys::changes_position(key) else {
                self.report.problem("changes", "a key is not a position");
                iterator.next();
                continue;
            };
            match Block::read(position, value) {
                Ok(block) => {
                    self.succession(before, block.header());
                    let header = block.header();
                    before = (header.seq, header.last, Some(header.end_lsn));
                    self.block(&block, &mut referred);
                    self.report.blocks += 1;
                    self.tell("changes", header.seq, end);
                }
                Err(error) => {
                    self.report.found(format!("block at {position}"), &error);
                    // The one after is still there to be read; its number is taken as it comes.
                    before = (before.0 + 1, before.1, None);
                }
            }
            iterator.next();
        }
        if let Err(error) = on_entry(&iterator) {
            self.report.found("changes", &error);
        }
        self.commits(&referred);
    }

    fn succession(
        &mut self,
        before: (u64, Position, Option<crate::model::Lsn>),
        now: &BlockHeader,
    ) {
        let at = || format!("block {} at {}", now.seq, now.first);
        let (seq, last, end_lsn) = before;
        if now.seq != seq + 1 {
            self.report.problem(at(), format!("follows block {seq}: blocks are missing"));
        }
        if now.first <= last {
            self.report.problem(at(), format!("begins before {last}, where the one before ends"));
        }
        if end_lsn.is_some_and(|end_lsn| end_lsn != now.prev_end_lsn) {
            self.report.problem(at(), "does not continue where the block before ended");
        }
        self.report.first.get_or_insert(now.first);
        self.report.last = Some(now.last);
    }

    fn block(&mut self, block: &Block, referred: &mut BTreeSet<PendingKey>) {
        let header = block.header();
        let at = format!("block {} at {}", header.seq, header.first);
        let mut found = Found::default();
        for transaction in block.transactions() {
            let transaction = match transaction {
                Ok(transaction) => transaction,
                Err(error) => return self.report.found(at, &error),
            };
            if transaction.position <= found.last {
                self.report.problem(&at, "its transactions are not in commit order");
            }
            found.last = transaction.position;
            found.transactions += 1;
            let commit_time = transaction.header.commit_time;
            if commit_time < header.first_commit_time || commit_time > header.last_commit_time {
                self.report.problem(&at, "a commit time is outside the range of its header");
            }
            if let Body::Pending(reference) = &transaction.body {
                referred.insert(reference.key);
            }
            if let Err(error) = self.records(transaction, &mut found) {
                return self.report.found(at, &error);
            }
        }
        self.report.transactions += found.transactions;
        self.report.records += found.records;
        let told: BTreeMap<u32, u64> =
            header.relations.iter().map(|count| (count.relation.0, count.records)).collect();
        if (found.transactions, found.records) != (header.transactions, header.records)
            || found.relations != told
        {
            self.report.problem(at, "its counts are not those of its header");
        }
    }

    fn records(&mut self, transaction: LoggedTransaction, found: &mut Found) -> Result<(), Error> {
        let relations = self.contents.relations.len() as u64;
        match transaction.body {
            Body::Inline(mut records) => {
                for record in &mut records {
                    found.add(&record?, relations)?;
                }
                if records.is_exhausted() { Ok(()) } else { Err(Error::corrupt("a transaction")) }
            }
            Body::Pending(reference) => {
                let before = found.records;
                self.chunks(&reference, found, relations)?;
                if found.records - before == transaction.header.record_count {
                    return Ok(());
                }
                Err(Error::corrupt_at("the count of a pending transaction", transaction.position))
            }
        }
    }

    fn chunks(
        &mut self,
        reference: &PendingRef,
        found: &mut Found,
        relations: u64,
    ) -> Result<(), Error> {
        let mut chain = 0;
        let mut ordinal = 0;
        for n in 0..reference.chunks {
            let missing = || Error::Hole { what: "pending chunk", seq: u64::from(n) };
            let chunk: Chunk = read_chunk(self.store, reference, n)?.ok_or_else(missing)?;
            let ChunkHeader { chain: before, first_ordinal, records, .. } = chunk.header;
            if before != chain || first_ordinal != ordinal {
                return Err(Error::corrupt(format!("the chain of chunks at {n}")));
            }
            chain = chunk.chain;
            ordinal += records;
            for record in chunk.records(&[])? {
                found.add(&record, relations)?;
            }
            self.report.pending_chunks += 1;
        }
        match chain == reference.crc {
            true => Ok(()),
            false => Err(Error::corrupt("the checksum of a pending transaction")),
        }
    }

    /// Every transaction whose last key says it committed must be referred to by a block.
    fn commits(&mut self, referred: &BTreeSet<PendingKey>) {
        let mut iterator = self.store.iterate(self.store.pending());
        iterator.seek_to_first();
        while let Some(key) = iterator.key() {
            let Some((key, ..)) = keys::pending_parts(key) else {
                self.report.problem("pending", "a key is not one of a chunk");
                iterator.next();
                continue;
            };
            let commit = self.store.get(self.store.pending(), keys::pending_commit(key));
            let position = commit.and_then(|value| {
                value.map(|value| crate::writer::commit_position(key, &value)).transpose()
            });
            match position {
                Ok(Some(position))
                    if position > self.contents.purged.last && !referred.contains(&key) =>
                {
                    self.report.problem(
                        format!("pending transaction {}", key.xid),
                        format!("committed at {position}, where no block refers to it"),
                    );
                }
                Ok(_) => {}
                Err(error) => self.report.found("pending", &error),
            }
            iterator.seek(keys::pending_end(key));
        }
    }

    fn bases(&mut self) {
        let bases = &self.contents.bases;
        let total = bases.values().filter(|base| !base.purged).map(|base| base.blocks).sum();
        for base in bases.values().filter(|base| !base.purged) {
            let at = format!("base {} of {}.{}", base.id, base.shape.schema, base.shape.name);
            let (mut rows, mut raw_bytes, mut crc) = (0, 0, 0);
            let mut failed = false;
            for n in 0..base.blocks {
                match read_base_block(self.store, base.id, n, &mut crc) {
                    Ok((header, length)) => {
                        rows += header.rows;
                        raw_bytes += length;
                        self.report.base_blocks += 1;
                        self.tell("base", self.report.base_blocks, total);
                    }
                    Err(error) => {
                        failed = true;
                        self.report.found(format!("{at}, block {n}"), &error);
                    }
                }
            }
            if !failed && (rows, raw_bytes, crc) != (base.rows, base.raw_bytes, base.crc) {
                self.report.problem(at, "its blocks are not those its header counts");
            }
        }
        self.initial_set();
        if let Err(error) = read_schema(self.store) {
            self.report.found("schema", &error);
        }
    }

    fn initial_set(&mut self) {
        let Some(set) = self.contents.initial_set.as_ref().filter(|set| set.complete) else {
            return;
        };
        for table in &set.tables {
            let has_base = |base: &crate::base::BaseHeader| base.shape.relation == table.relation;
            if !self.contents.bases.values().any(has_base) {
                let at = format!("table {}.{}", table.schema, table.name);
                self.report.problem(at, "the initial set is complete without its base");
            }
        }
    }
}

/// What the records of a block add up to.
#[derive(Default)]
struct Found {
    last: Position,
    transactions: u64,
    records: u64,
    relations: BTreeMap<u32, u64>,
}

impl Found {
    fn add(&mut self, record: &ChangeRecord, relations: u64) -> Result<(), Error> {
        self.records += 1;
        let mut count = |id: u32| {
            *self.relations.entry(id).or_default() += 1;
            match u64::from(id) <= relations {
                true => Ok(()),
                false => Err(Error::corrupt(format!("a record that names relation version {id}"))),
            }
        };
        match &record.change {
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. } => count(relation.0),
            Change::Truncate { relations, .. } => {
                relations.iter().try_for_each(|relation| count(relation.0))
            }
            Change::Message { .. } => Ok(()),
        }
    }
}

fn read_base_block(
    store: &Store,
    id: u64,
    n: u64,
    crc: &mut u32,
) -> Result<(BasePieceHeader, u64), Error> {
    let what = || format!("block {n} of base {id}");
    let joined = join(what, |piece| {
        let Some(value) = store.get(store.base(), keys::base(id, n, piece))? else {
            return Ok(None);
        };
        let opened = envelope::open::<BasePieceHeader>(Kind::BaseBlock, &value, what)?;
        *crc = envelope::chain(*crc, opened.crc);
        let Opened { header, payload, .. } = opened;
        let here = (header.base, header.n, header.piece) == (id, n, piece);
        let (pieces, total) = (header.pieces, header.total_length);
        Piece::new(here, pieces, total, header.coding, payload, header)
            .map(Some)
            .ok_or_else(|| Error::corrupt(what()))
    })?;
    let (header, raw) = joined.ok_or(Error::Hole { what: "base block", seq: n })?;
    Ok((header, raw.len() as u64))
}
