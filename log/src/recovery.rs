//! What a database holds, read at opening, and whether that is all it must hold.
//!
//! Owns the comparison with the durable mark: every opening, by writer or check, goes through
//! [`Contents::read`] and [`Contents::compare`]. The invariant it guards: the database is at or
//! past its mark in every respect, or nothing is written to it and nothing is applied from it.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use crate::base::{BaseHeader, BaseStart, BaseTable, InitialSet, OpenBase};
use crate::error::Error;
use crate::format::block::{self, BlockHeader};
use crate::format::compress;
use crate::format::envelope::{self, Kind};
use crate::format::messages::{
    BaseMessage, Counter, IdentityMessage, InitialSetMessage, PurgedMessage, RelationMessage,
    SchemaMessage, SchemaPieceHeader, SequencesHeader, TableMessage,
};
use crate::format::values;
use crate::identity::Identity;
use crate::keys::{self, meta};
use crate::mark::{DurableMark, Witness};
use crate::model::{Lsn, Position, RelationVersion};
use crate::sequence::{SequenceMark, SequenceValues};
use crate::store::{Store, on_entry};

/// How much of the newest changes is gone through at opening. What the write-ahead log gave back is
/// among it, and that is where RocksDB could have left something out without a word.
const RECENT_BYTES: u64 = 64 << 20;

/// Up to where changes were purged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PurgedTo {
    pub(crate) seq: u64,
    pub(crate) last: Position,
    pub(crate) end_lsn: Lsn,
}

/// Everything but the records.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) identity: Identity,
    pub(crate) revision: u64,
    pub(crate) connection: u64,
    pub(crate) watermark: Lsn,
    pub(crate) purged: PurgedTo,
    pub(crate) schema: Option<SchemaMessage>,
    pub(crate) sequences: SequenceMark,
    pub(crate) final_lsn: Option<Lsn>,
    pub(crate) initial_set: Option<InitialSet>,
    pub(crate) bases_begun: u64,
    pub(crate) bases: BTreeMap<u64, BaseHeader>,
    pub(crate) rebase_requests: BTreeMap<u32, BaseTable>,
    pub(crate) open_bases: Vec<u64>,
    pub(crate) relations: Vec<Arc<RelationVersion>>,
    pub(crate) last_block: Option<BlockHeader>,
}

impl Contents {
    pub(crate) fn read(store: &Store) -> Result<Contents, Error> {
        let identity = read_identity(store)?;
        let mut contents = Contents {
            identity,
            revision: 0,
            connection: 0,
            watermark: Lsn::INVALID,
            purged: read_purged(store)?,
            schema: read_meta(store, meta::SCHEMA)?,
            sequences: SequenceMark::default(),
            final_lsn: read_final_lsn(store)?,
            initial_set: read_initial_set(store)?,
            bases_begun: 0,
            bases: read_bases(store)?,
            rebase_requests: read_rebase_requests(store)?,
            open_bases: Vec::new(),
            relations: Vec::new(),
            last_block: None,
        };
        let counter =
            |name| Ok::<_, Error>(read_meta::<Counter>(store, name)?.map_or(0, |c| c.value));
        contents.revision = counter(meta::REVISION)?;
        contents.connection = counter(meta::CONNECTION)?;
        contents.watermark = Lsn::new(counter(meta::WATERMARK)?);
        contents.sequences = SequenceMark {
            number: read_sequences(store, 0)?.map_or(0, |(number, _)| number),
            as_of: Lsn::new(counter(meta::SEQUENCES_AS_OF)?),
        };
        contents.bases_begun = counter(meta::BASES_BEGUN)?;
        contents.open_bases = read_open_bases(store)?;
        contents.relations = read_relations(store)?;
        contents.last_block = read_last_block(store, contents.purged)?;
        Ok(contents)
    }

    /// Number of the last block.
    pub(crate) fn seq(&self) -> u64 {
        self.last_block.as_ref().map_or(self.purged.seq, |block| block.seq)
    }

    /// The last transaction.
    pub(crate) fn position(&self) -> Position {
        self.last_block.as_ref().map_or(self.purged.last, |block| block.last)
    }

    /// Where the last transaction ends.
    pub(crate) fn last_end_lsn(&self) -> Lsn {
        self.last_block.as_ref().map_or(self.purged.end_lsn, |block| block.end_lsn)
    }

    /// The mark that tells of these contents.
    pub(crate) fn witness(&self) -> Witness {
        let mark = DurableMark {
            incarnation: self.identity.incarnation,
            seq: self.seq(),
            position: self.position(),
            // A log begins where its slot does.
            end_lsn: self.last_end_lsn().max(self.watermark).max(self.identity.consistent_point),
            relations: u32::try_from(self.relations.len()).unwrap_or(u32::MAX),
            bases_complete: u32::try_from(self.bases.len()).unwrap_or(u32::MAX),
            initial_complete: self.initial_set.as_ref().is_some_and(|set| set.complete),
            sequences: self.sequences,
        };
        Witness::new(mark, self.revision)
    }

    /// Whether all the mark tells of is there.
    pub(crate) fn compare(&self, witness: &Witness) -> Result<(), Error> {
        let found = self.witness();
        if found.mark.incarnation != witness.mark.incarnation {
            return Err(Error::WrongIdentity {
                what: "the database",
                expected: witness.mark.incarnation.to_string(),
                found: found.mark.incarnation.to_string(),
            });
        }
        reaches("its last block", witness.mark.seq, found.mark.seq)?;
        if found.mark.seq == witness.mark.seq && found.mark.position != witness.mark.position {
            return Err(Error::corrupt_at("the last block", found.mark.position));
        }
        reaches("its last transaction", witness.mark.position, found.mark.position)?;
        reaches("its end", witness.mark.end_lsn, found.mark.end_lsn)?;
        reaches("its last relation version", witness.mark.relations, found.mark.relations)?;
        reaches("its last base", witness.mark.bases_complete, found.mark.bases_complete)?;
        let complete = |mark: &DurableMark| u8::from(mark.initial_complete);
        reaches("its initial set", complete(&witness.mark), complete(&found.mark))?;
        let (mark, database) = (witness.mark.sequences, found.mark.sequences);
        reaches("its sequence values", mark.number, database.number)?;
        reaches("the age of its sequence values", mark.as_of, database.as_of)?;
        reaches("its meta family", witness.revision, found.revision)
    }

    /// Goes back over the newest blocks: their numbers must be dense and their ends chained, and
    /// the pending chunks they refer to must be there.
    pub(crate) fn verify_recent(&self, store: &Store) -> Result<(), Error> {
        let mut iterator = store.iterate(store.changes());
        iterator.seek_to_last();
        let mut bytes = 0;
        let mut next: Option<BlockHeader> = None;
        while on_entry(&iterator)? && bytes < RECENT_BYTES {
            let Some((key, value)) = iterator.item() else { break };
            let position = keys::changes_position(key)
                .ok_or_else(|| Error::corrupt("a key of the changes family"))?;
            if position <= self.purged.last {
                break;
            }
            let block = crate::format::transactions::Block::read(position, value)?;
            verify_pending(store, &block)?;
            let header = block.header().clone();
            if let Some(next) = next
                && (header.seq.checked_add(1) != Some(next.seq)
                    || header.end_lsn != next.prev_end_lsn
                    || header.last >= next.first)
            {
                return Err(Error::corrupt_at("the chain of blocks", next.first));
            }
            bytes += header.stored_length;
            next = Some(header);
            iterator.prev();
        }
        let reached_start = !on_entry(&iterator)? || bytes < RECENT_BYTES;
        match next {
            Some(first) if reached_start && first.seq.checked_sub(1) != Some(self.purged.seq) => {
                Err(Error::corrupt_at("the first block", first.first))
            }
            _ => Ok(()),
        }
    }
}

fn verify_pending(store: &Store, block: &crate::format::transactions::Block) -> Result<(), Error> {
    use crate::format::transactions::Body;
    for transaction in block.transactions() {
        let transaction = transaction?;
        let Body::Pending(reference) = transaction.body else { continue };
        for n in 0..reference.chunks {
            if store.get(store.pending(), keys::pending(reference.key, n, 0))?.is_none() {
                return Err(Error::corrupt_at(
                    "a reference to pending chunks",
                    transaction.position,
                ));
            }
        }
    }
    Ok(())
}

fn reaches<T: PartialOrd + std::fmt::Display>(
    what: &'static str,
    mark: T,
    found: T,
) -> Result<(), Error> {
    if found >= mark {
        return Ok(());
    }
    Err(Error::TailLost { what, mark: mark.to_string(), found: found.to_string() })
}

/// A value of the `meta` family.
pub(crate) fn read_meta<M: Message + Default>(
    store: &Store,
    key: &[u8],
) -> Result<Option<M>, Error> {
    let Some(value) = store.get(store.meta(), key)? else { return Ok(None) };
    let what = || format!("meta value \"{}\"", key.escape_ascii());
    envelope::open::<M>(Kind::Meta, &value, what).map(|opened| Some(opened.header))
}

/// Puts a value of the `meta` family together.
pub(crate) fn meta_value(message: &impl Message) -> Vec<u8> {
    envelope::seal(Kind::Meta, message, &[]).0
}

pub(crate) fn read_identity(store: &Store) -> Result<Identity, Error> {
    let damaged = || Error::corrupt("the identity marker");
    let message = read_meta::<IdentityMessage>(store, meta::IDENTITY)?.ok_or_else(damaged)?;
    values::identity(message).ok_or_else(damaged)
}

pub(crate) fn read_purged(store: &Store) -> Result<PurgedTo, Error> {
    let message = read_meta::<PurgedMessage>(store, meta::PURGED)?.unwrap_or_default();
    Ok(PurgedTo {
        seq: message.seq,
        last: message.last.map_or_else(Position::default, Position::from),
        end_lsn: Lsn::new(message.end_lsn),
    })
}

pub(crate) fn read_initial_set(store: &Store) -> Result<Option<InitialSet>, Error> {
    Ok(read_meta::<InitialSetMessage>(store, meta::INITIAL_SET)?.map(InitialSet::from))
}

/// The newest values of sequences whose number is at least `number`, and theirs.
pub(crate) fn read_sequences(
    store: &Store,
    number: u64,
) -> Result<Option<(u64, SequenceValues)>, Error> {
    let mut iterator = store.iterate(store.meta());
    iterator.seek_for_prev(meta::numbered(meta::SEQUENCES, u64::MAX));
    if !on_entry(&iterator)? {
        return Ok(None);
    }
    let Some((key, value)) = iterator.item() else { return Ok(None) };
    let Some(found) = meta::number(meta::SEQUENCES, key).filter(|found| *found >= number) else {
        return Ok(None);
    };
    let what = || format!("set {found} of sequence values");
    let damaged = || Error::corrupt(what());
    let opened = envelope::open::<SequencesHeader>(Kind::Sequences, value, what)?;
    let mut raw = Vec::new();
    compress::expand(opened.header.coding, opened.payload, &mut raw).ok_or_else(damaged)?;
    let values = values::sequences(&raw).ok_or_else(damaged)?;
    (opened.header.number == found).then_some(Some((found, values))).ok_or_else(damaged)
}

/// Where the changes end, once that is decided.
pub(crate) fn read_final_lsn(store: &Store) -> Result<Option<Lsn>, Error> {
    Ok(read_meta::<Counter>(store, meta::FINAL_LSN)?.map(|counter| Lsn::new(counter.value)))
}

/// The source's schema, if the log has it.
pub(crate) fn read_schema(store: &Store) -> Result<Option<Vec<u8>>, Error> {
    let Some(header) = read_meta::<SchemaMessage>(store, meta::SCHEMA)? else { return Ok(None) };
    let damaged = || Error::corrupt("the schema");
    let (mut schema, mut crc) = (Vec::new(), 0);
    for n in 0..header.pieces {
        let key = meta::numbered(meta::SCHEMA_PIECE, n);
        let value = store.get(store.meta(), key)?.ok_or_else(damaged)?;
        let what = || format!("piece {n} of the schema");
        let piece = envelope::open::<SchemaPieceHeader>(Kind::Schema, &value, what)?;
        if piece.header.n != n {
            return Err(Error::corrupt(what()));
        }
        crc = envelope::chain(crc, piece.crc);
        compress::expand(piece.header.coding, piece.payload, &mut schema).ok_or_else(damaged)?;
    }
    let whole = (schema.len() as u64, crc) == (header.raw_length, header.crc);
    whole.then_some(Some(schema)).ok_or_else(damaged)
}

pub(crate) fn read_bases(store: &Store) -> Result<BTreeMap<u64, BaseHeader>, Error> {
    let mut bases = BTreeMap::new();
    let mut iterator = store.iterate(store.meta());
    iterator.seek(meta::BASE);
    while on_entry(&iterator)? {
        let Some((key, value)) = iterator.item() else { break };
        let Some(id) = meta::number(meta::BASE, key) else { break };
        bases.insert(id, decode_base(id, value)?);
        iterator.next();
    }
    Ok(bases)
}

/// The header of one base, if it is complete.
pub(crate) fn read_base(store: &Store, id: u64) -> Result<Option<BaseHeader>, Error> {
    let value = store.get(store.meta(), meta::numbered(meta::BASE, id))?;
    value.map(|value| decode_base(id, &value)).transpose()
}

fn decode_base(id: u64, value: &[u8]) -> Result<BaseHeader, Error> {
    let what = || format!("the header of base {id}");
    let message = envelope::open::<BaseMessage>(Kind::Meta, value, what)?.header;
    let base = values::base(message).filter(|base| base.id == id);
    base.ok_or_else(|| Error::corrupt(what()))
}

fn read_open_bases(store: &Store) -> Result<Vec<u64>, Error> {
    let mut open = Vec::new();
    let mut iterator = store.iterate(store.meta());
    iterator.seek(meta::BASE_OPEN);
    while on_entry(&iterator)? {
        let Some(id) = iterator.key().and_then(|key| meta::number(meta::BASE_OPEN, key)) else {
            break;
        };
        open.push(id);
        iterator.next();
    }
    Ok(open)
}

/// The tables that are to be copied again, by relation.
fn read_rebase_requests(store: &Store) -> Result<BTreeMap<u32, BaseTable>, Error> {
    let mut requests = BTreeMap::new();
    let mut iterator = store.iterate(store.meta());
    iterator.seek(meta::REBASE_REQUEST);
    while on_entry(&iterator)? {
        let Some((key, value)) = iterator.item() else { break };
        let Some(relation) = meta::number(meta::REBASE_REQUEST, key) else { break };
        let what = || format!("the request to copy relation {relation} again");
        let message = envelope::open::<TableMessage>(Kind::Meta, value, what)?.header;
        requests.insert(message.relation, BaseTable::from(message));
        iterator.next();
    }
    Ok(requests)
}

/// The bases begun and not complete, by number. One that an older version began is left out: its mark
/// tells of nothing but its number.
pub(crate) fn read_open_starts(store: &Store) -> Result<Vec<OpenBase>, Error> {
    let mut open = Vec::new();
    let mut iterator = store.iterate(store.meta());
    iterator.seek(meta::BASE_OPEN);
    while on_entry(&iterator)? {
        let Some((key, value)) = iterator.item() else { break };
        let Some(id) = meta::number(meta::BASE_OPEN, key) else { break };
        let what = || format!("the mark of open base {id}");
        let message = envelope::open::<BaseMessage>(Kind::Meta, value, what)?.header;
        if message.shape.is_some() {
            let base = values::base(message).filter(|base| base.id == id);
            let BaseHeader { shape, snapshot, format, rebase, .. } =
                base.ok_or_else(|| Error::corrupt(what()))?;
            open.push(OpenBase { id, start: BaseStart { shape, snapshot, format, rebase } });
        }
        iterator.next();
    }
    Ok(open)
}

/// All relation versions, which must be numbered densely from 1.
pub(crate) fn read_relations(store: &Store) -> Result<Vec<Arc<RelationVersion>>, Error> {
    let mut relations = Vec::new();
    let mut iterator = store.iterate(store.relations());
    iterator.seek_to_first();
    while on_entry(&iterator)? {
        let Some((key, value)) = iterator.item() else { break };
        let id = u32::try_from(relations.len() + 1).unwrap_or(u32::MAX);
        if key != keys::relation(id) {
            return Err(Error::corrupt(format!("the list of relation versions, at {id},")));
        }
        relations.push(Arc::new(decode_relation(id, value)?));
        iterator.next();
    }
    Ok(relations)
}

pub(crate) fn decode_relation(id: u32, value: &[u8]) -> Result<RelationVersion, Error> {
    let what = || format!("relation version {id}");
    let message = envelope::open::<RelationMessage>(Kind::Relation, value, what)?.header;
    values::relation(message).ok_or_else(|| Error::corrupt(what()))
}

fn read_last_block(store: &Store, purged: PurgedTo) -> Result<Option<BlockHeader>, Error> {
    let mut iterator = store.iterate(store.changes());
    iterator.seek_to_last();
    if !on_entry(&iterator)? {
        return Ok(None);
    }
    let Some((key, value)) = iterator.item() else { return Ok(None) };
    let position =
        keys::changes_position(key).ok_or_else(|| Error::corrupt("a key of the changes family"))?;
    if position <= purged.last {
        return Ok(None);
    }
    block::open(position, value).map(|(header, _)| Some(header))
}
