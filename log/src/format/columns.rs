//! Row images by column instead of by row.
//!
//! The images of one relation version lie side by side, each column's sizes and values apart. That
//! halves what zstd at level 1 leaves of small OLTP rows and is quicker to compress than the rows
//! as received, because lengths and kinds shrink to runs and neighbours resemble each other.
//!
//! A group is all old, or all new, images of one relation version:
//!
//! | stream | content |
//! |---|---|
//! | counts | per image: varint number of columns |
//! | sizes, per column | per datum: varint; 0 null, 1 unchanged, else 2 + 2 × length + (1 if binary) |
//! | values, per column | the datums' bytes |
//!
//! The invariant: [`Rebuild`] answers with exactly the bytes that [`Transposer`] was given.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::HashMap;

use crate::format::varint;

const NULL: u64 = 0;
const UNCHANGED: u64 = 1;

/// Which group an image belongs to.
#[inline]
pub(crate) fn group_key(relation: u32, is_old: bool) -> u64 {
    u64::from(relation) << 1 | u64::from(is_old)
}

#[derive(Default, Debug)]
struct Column {
    sizes: Vec<u8>,
    values: Vec<u8>,
}

#[derive(Default, Debug)]
struct Group {
    key: u64,
    counts: Vec<u8>,
    columns: Vec<Column>,
    /// Columns in use; those beyond keep their buffers for another group.
    width: usize,
}

/// Turns row images to columns. Its buffers are used again for the next block.
#[derive(Default, Debug)]
pub(crate) struct Transposer {
    groups: Vec<Group>,
    used: usize,
    index: HashMap<u64, usize>,
    latest: Option<(u64, usize)>,
}

impl Transposer {
    /// Forgets the images and keeps the buffers.
    pub(crate) fn clear(&mut self) {
        for group in self.groups.iter_mut().take(self.used) {
            group.counts.clear();
            for column in group.columns.iter_mut().take(group.width) {
                column.sizes.clear();
                column.values.clear();
            }
            group.width = 0;
        }
        // A burst over many tables should not hold its buffers for ever.
        self.groups.truncate(64);
        self.used = 0;
        self.index.clear();
        self.latest = None;
    }

    /// Takes the image at the front of `tuples`.
    pub(crate) fn push(&mut self, key: u64, tuples: &mut &[u8]) -> Option<()> {
        let at = self.group(key);
        let group = self.groups.get_mut(at)?;
        let (count, mut rest) = tuples.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_be_bytes(*count));
        varint::put(&mut group.counts, count as u64);
        if group.width < count {
            if group.columns.len() < count {
                group.columns.resize_with(count, Column::default);
            }
            group.width = count;
        }
        for column in group.columns.iter_mut().take(count) {
            let (kind, after) = rest.split_first()?;
            rest = after;
            let is_binary = match kind {
                b'n' => {
                    varint::put(&mut column.sizes, NULL);
                    continue;
                }
                b'u' => {
                    varint::put(&mut column.sizes, UNCHANGED);
                    continue;
                }
                b't' => 0,
                b'b' => 1,
                _ => return None,
            };
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = u32::from_be_bytes(*length);
            let (value, after) = after.split_at_checked(length as usize)?;
            varint::put(&mut column.sizes, 2 + 2 * u64::from(length) + is_binary);
            column.values.extend_from_slice(value);
            rest = after;
        }
        *tuples = rest;
        Some(())
    }

    fn group(&mut self, key: u64) -> usize {
        if let Some((latest, at)) = self.latest
            && latest == key
        {
            return at;
        }
        let at = *self.index.entry(key).or_insert_with(|| {
            if self.used == self.groups.len() {
                self.groups.push(Group::default());
            }
            self.used += 1;
            self.used - 1
        });
        if let Some(group) = self.groups.get_mut(at) {
            group.key = key;
        }
        self.latest = Some((key, at));
        at
    }

    /// Appends the lengths of the streams to `directory` and the streams to `slices`.
    pub(crate) fn finish<'a>(&'a self, directory: &mut Vec<u8>, slices: &mut Vec<&'a [u8]>) {
        varint::put(directory, self.used as u64);
        for group in self.groups.iter().take(self.used) {
            varint::put(directory, group.key);
            varint::put(directory, group.width as u64);
            let streams = std::iter::once(&group.counts)
                .chain(group.columns.iter().take(group.width).flat_map(|c| [&c.sizes, &c.values]));
            for stream in streams {
                varint::put(directory, stream.len() as u64);
                slices.push(stream);
            }
        }
    }
}

struct GroupReader<'a> {
    key: u64,
    counts: &'a [u8],
    /// Sizes and values.
    columns: Vec<(&'a [u8], &'a [u8])>,
}

/// Turns columns back to row images, one at a time, in the order they were pushed.
pub(crate) struct Rebuild<'a> {
    /// Sorted by key.
    groups: Vec<GroupReader<'a>>,
    limit: usize,
    pub(crate) out: Vec<u8>,
}

impl<'a> Rebuild<'a> {
    /// Reads the lengths off `directory` and the streams off `streams`. The images will take
    /// exactly `length` bytes.
    pub(crate) fn new(
        directory: &mut &[u8],
        streams: &mut &'a [u8],
        length: usize,
    ) -> Option<Rebuild<'a>> {
        let mut take = |directory: &mut &[u8]| {
            let length = usize::try_from(varint::take(directory)?).ok()?;
            let (stream, rest) = streams.split_at_checked(length)?;
            *streams = rest;
            Some(stream)
        };
        let mut groups = Vec::new();
        for _ in 0..varint::take(directory)? {
            let key = varint::take(directory)?;
            let width = varint::take(directory)?;
            let counts = take(directory)?;
            let mut columns = Vec::new();
            for _ in 0..width {
                columns.push((take(directory)?, take(directory)?));
            }
            groups.push(GroupReader { key, counts, columns });
        }
        groups.sort_by_key(|group| group.key);
        if groups.windows(2).any(|pair| matches!(pair, [a, b] if a.key == b.key)) {
            return None;
        }
        let mut out = Vec::new();
        out.try_reserve_exact(length).ok()?;
        Some(Rebuild { groups, limit: length, out })
    }

    /// Appends the next image of a group to `out`.
    pub(crate) fn pull(&mut self, key: u64) -> Option<()> {
        let at = self.groups.binary_search_by_key(&key, |group| group.key).ok()?;
        let group = self.groups.get_mut(at)?;
        let count = u16::try_from(varint::take(&mut group.counts)?).ok()?;
        let out = &mut self.out;
        out.extend_from_slice(&count.to_be_bytes());
        let columns = group.columns.get_mut(..usize::from(count))?;
        for (sizes, values) in columns {
            match varint::take(sizes)? {
                NULL => out.push(b'n'),
                UNCHANGED => out.push(b'u'),
                size => {
                    let length = u32::try_from((size - 2) >> 1).ok()?;
                    let (value, rest) = values.split_at_checked(length as usize)?;
                    *values = rest;
                    let kind = if size & 1 == 0 { b't' } else { b'b' };
                    let [a, b, c, d] = length.to_be_bytes();
                    out.extend_from_slice(&[kind, a, b, c, d]);
                    out.extend_from_slice(value);
                }
            }
        }
        (out.len() <= self.limit).then_some(())
    }

    /// The images, if every stream was used up and they have the length announced.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        let used_up = self.groups.iter().all(|group| {
            group.counts.is_empty()
                && group.columns.iter().all(|(sizes, values)| sizes.is_empty() && values.is_empty())
        });
        (used_up && self.out.len() == self.limit).then_some(self.out)
    }
}
