//! The raw form of a payload: transactions or a pending chunk, before compression.
//!
//! A *directory* of lengths, then the sections it counts, each one stream of like values:
//!
//! | section | content, per transaction or per record |
//! |---|---|
//! | heads 0 | byte: 1 an origin, 2 pending |
//! | heads 1 | signed varint: commit LSN less the `end_lsn` before (the first: 0) |
//! | heads 2 | varint: `end_lsn` less commit LSN |
//! | heads 3 | signed varint: commit time less the one before |
//! | heads 4 | signed varint: xid less the one before |
//! | heads 5 | varint: number of inline records |
//! | origins | varint length and name, for those that have one |
//! | references | a reference, for those pending |
//! | ops, other | see [`super::records`] |
//! | tuples | layout 0: as received; layout 1: by column, see [`super::columns`] |
//!
//! A pending chunk has empty heads, origins and references.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use bytes::Bytes;

use crate::error::Error;
use crate::format::columns::{Rebuild, Transposer, group_key};
use crate::format::compress::MAX_RAW_BYTES;
use crate::format::messages::RelationRecords;
use crate::format::records::{Op, Records};
use crate::format::varint;
use crate::model::Tuple;

/// Row images as received.
const ROWS: u32 = 0;
/// Row images by column.
const COLUMNS: u32 = 1;

/// Below this many records a directory of columns costs more than it saves.
const COLUMNS_FROM_RECORDS: u64 = 8;

/// Above this the rows are values of their own size, and a second copy would cost memory.
const COLUMNS_UP_TO_BYTES: usize = 16 << 20;

/// Streams of transaction headers.
pub(crate) const HEADS: usize = 6;

/// What goes into a payload.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts<'a> {
    pub(crate) heads: [&'a [u8]; HEADS],
    pub(crate) origins: &'a [u8],
    pub(crate) references: &'a [u8],
    pub(crate) ops: &'a [u8],
    pub(crate) tuples: &'a [u8],
    pub(crate) other: &'a [u8],
}

/// How many records of each relation version a payload has.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    /// By relation version; dense, since their ids are.
    counts: Vec<u64>,
    touched: Vec<u32>,
}

impl Tally {
    pub(crate) fn add(&mut self, relation: u32, records: u64) {
        let at = relation as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            if *count == 0 {
                self.touched.push(relation);
            }
            *count += records;
        }
    }

    /// The counts, by relation version; begins anew.
    pub(crate) fn take(&mut self) -> Vec<RelationRecords> {
        self.touched.sort_unstable();
        let take = |counts: &mut Vec<u64>, relation: u32| {
            let records = counts.get_mut(relation as usize).map_or(0, std::mem::take);
            RelationRecords { relation, records }
        };
        self.touched.drain(..).map(|relation| take(&mut self.counts, relation)).collect()
    }
}

/// Lays payloads out. Its buffers are used again.
#[derive(Default, Debug)]
pub(crate) struct Layouter {
    transposer: Transposer,
    directory: Vec<u8>,
    pub(crate) tally: Tally,
}

impl Layouter {
    /// Answers with the layout and the slices that, end to end, are the raw form. Relation versions
    /// beyond `relations` are refused: nobody could read their records.
    pub(crate) fn lay_out<'a>(
        &'a mut self,
        parts: &Parts<'a>,
        runs: impl Iterator<Item = u64>,
        relations: u32,
    ) -> Result<(u32, Vec<&'a [u8]>), Error> {
        self.transposer.clear();
        self.directory.clear();
        let (mut records, mut walk) = (0, Vec::new());
        walk.extend(runs.inspect(|count| records += count));
        let by_column =
            records >= COLUMNS_FROM_RECORDS && parts.tuples.len() <= COLUMNS_UP_TO_BYTES;
        self.walk(parts, &walk, relations, by_column)
            .ok_or(Error::Invariant("records to be written are not well-formed"))?;

        let mut slices = Vec::new();
        let fixed = parts.heads.into_iter().chain([
            parts.origins,
            parts.references,
            parts.ops,
            parts.other,
            parts.tuples,
        ]);
        for slice in fixed {
            varint::put(&mut self.directory, slice.len() as u64);
            slices.push(slice);
        }
        if by_column {
            slices.pop();
            self.transposer.finish(&mut self.directory, &mut slices);
        }
        slices.insert(0, &self.directory);
        Ok((if by_column { COLUMNS } else { ROWS }, slices))
    }

    /// Goes through the records: counts them and hands their images to the transposer.
    fn walk(
        &mut self,
        parts: &Parts<'_>,
        runs: &[u64],
        relations: u32,
        by_column: bool,
    ) -> Option<()> {
        let (mut ops, mut tuples, mut other) = (parts.ops, parts.tuples, parts.other);
        let Layouter { transposer, tally, .. } = self;
        let mut known = true;
        let mut count = |relation: u32| {
            known &= relation <= relations;
            if known {
                tally.add(relation, 1);
            }
        };
        for run in runs {
            let mut subxid = 0;
            for _ in 0..*run {
                let op = Op::take(&mut ops, &mut subxid)?;
                let (has_old, has_new) = op.images();
                for is_old in [has_old.then_some(true), has_new.then_some(false)] {
                    let Some(is_old) = is_old else { continue };
                    if by_column {
                        transposer.push(group_key(op.relation, is_old), &mut tuples)?;
                    } else {
                        tuples = tuples.get(Tuple::measure(tuples).ok()?..)?;
                    }
                }
                if op.relation != 0 {
                    count(op.relation);
                }
                op.skip_other(&mut other, &mut count)?;
            }
        }
        (known && ops.is_empty() && tuples.is_empty() && other.is_empty()).then_some(())
    }
}

/// Where a run of records ends in each stream.
#[derive(Clone, Copy, Default, Debug)]
struct End {
    ops: usize,
    tuples: usize,
    other: usize,
}

/// A payload taken apart again: its sections, and its records by run.
#[derive(Clone, Debug)]
pub(crate) struct Sections {
    pub(crate) heads: [Bytes; HEADS],
    pub(crate) origins: Bytes,
    pub(crate) references: Bytes,
    ops: Bytes,
    tuples: Bytes,
    other: Bytes,
    ends: Vec<End>,
}

impl Sections {
    /// Takes a block of transactions apart: one run for each.
    pub(crate) fn of_block(layout: u32, raw: Bytes) -> Option<Sections> {
        Sections::read(layout, raw, |heads| {
            let [.., counts] = heads;
            let (mut counts, mut runs): (&[u8], _) = (counts, Vec::new());
            while !counts.is_empty() {
                runs.push(varint::take(&mut counts)?);
            }
            Some(runs)
        })
    }

    /// Takes a pending chunk apart: one run.
    pub(crate) fn of_chunk(layout: u32, raw: Bytes, records: u64) -> Option<Sections> {
        let sections = Sections::read(layout, raw, |_| Some(vec![records]))?;
        let no_heads = sections.heads.iter().all(Bytes::is_empty);
        let empty = no_heads && sections.origins.is_empty() && sections.references.is_empty();
        empty.then_some(sections)
    }

    fn read(
        layout: u32,
        raw: Bytes,
        runs: impl FnOnce(&[Bytes; HEADS]) -> Option<Vec<u64>>,
    ) -> Option<Sections> {
        let mut directory: &[u8] = &raw;
        let mut lengths = [0usize; HEADS + 5];
        for length in &mut lengths {
            *length = usize::try_from(varint::take(&mut directory)?).ok()?;
        }
        let [h0, h1, h2, h3, h4, h5, origins, references, ops, other, tuples] = lengths;
        // The directory of columns has no length of its own: it is read to find its end.
        let after_fixed = raw.len() - directory.len();
        let mut at = match layout {
            ROWS => after_fixed,
            COLUMNS => after_fixed + columns_directory_length(directory)?,
            _ => return None,
        };
        let mut take = |length: usize| {
            let end = at.checked_add(length).filter(|end| *end <= raw.len())?;
            let slice = raw.slice(at..end);
            at = end;
            Some(slice)
        };
        let heads = [take(h0)?, take(h1)?, take(h2)?, take(h3)?, take(h4)?, take(h5)?];
        let (origins, references) = (take(origins)?, take(references)?);
        let (ops, other) = (take(ops)?, take(other)?);
        let runs = runs(&heads)?;
        let (tuples, ends) = if layout == ROWS {
            let tuples = take(tuples)?;
            let mut rest: &[u8] = &tuples;
            let ends = walk(&ops, &other, &runs, |_| {
                rest = rest.get(Tuple::measure(rest).ok()?..)?;
                Some(tuples.len() - rest.len())
            })?;
            if !rest.is_empty() || at != raw.len() {
                return None;
            }
            (tuples, ends)
        } else {
            if tuples > MAX_RAW_BYTES {
                return None;
            }
            let mut streams: &[u8] = raw.get(at..)?;
            let mut rebuild = Rebuild::new(&mut directory, &mut streams, tuples)?;
            let ends = walk(&ops, &other, &runs, |key| {
                rebuild.pull(key)?;
                Some(rebuild.out.len())
            })?;
            if !streams.is_empty() {
                return None;
            }
            (Bytes::from(rebuild.finish()?), ends)
        };
        Some(Sections { heads, origins, references, ops, tuples, other, ends })
    }

    /// Number of runs.
    pub(crate) fn runs(&self) -> usize {
        self.ends.len()
    }

    /// The records of a run.
    pub(crate) fn records(&self, run: usize, first_ordinal: u64, count: u64) -> Option<Records> {
        let end = *self.ends.get(run)?;
        let start = match run.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => End::default(),
        };
        Some(Records::new(
            self.ops.slice(start.ops..end.ops),
            self.tuples.slice(start.tuples..end.tuples),
            self.other.slice(start.other..end.other),
            first_ordinal,
            count,
        ))
    }
}

fn columns_directory_length(directory: &[u8]) -> Option<usize> {
    let mut rest = directory;
    for _ in 0..varint::take(&mut rest)? {
        let _key = varint::take(&mut rest)?;
        let width = varint::take(&mut rest)?;
        for _ in 0..width.checked_mul(2)?.checked_add(1)? {
            varint::take(&mut rest)?;
        }
    }
    Some(directory.len() - rest.len())
}

/// Goes through the records of all runs. `image` is asked for each row image in turn and answers
/// with where it ends.
fn walk(
    all_ops: &[u8],
    all_other: &[u8],
    runs: &[u64],
    mut image: impl FnMut(u64) -> Option<usize>,
) -> Option<Vec<End>> {
    let (mut ops, mut other) = (all_ops, all_other);
    let mut tuples_end = 0;
    let mut ends = Vec::with_capacity(runs.len());
    for run in runs {
        let mut subxid = 0;
        for _ in 0..*run {
            let op = Op::take(&mut ops, &mut subxid)?;
            let (has_old, has_new) = op.images();
            if has_old {
                tuples_end = image(group_key(op.relation, true))?;
            }
            if has_new {
                tuples_end = image(group_key(op.relation, false))?;
            }
            op.skip_other(&mut other, |_| {})?;
        }
        ends.push(End {
            ops: all_ops.len() - ops.len(),
            tuples: tuples_end,
            other: all_other.len() - other.len(),
        });
    }
    (ops.is_empty() && other.is_empty()).then_some(ends)
}
