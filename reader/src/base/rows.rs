//! COPY data cut at row boundaries, into blocks for the log.
//!
//! Pure: bytes in, blocks out. The invariant: the blocks hold every byte of every row in order, and
//! no row is in two of them, however the server or the network cut the stream. A row larger than a
//! block is a block of its own.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::BufRead;

use bytes::{Buf, Bytes, BytesMut};
use pgtrail_log::CopyFormat;

/// Whole rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    /// Their bytes; of COPY BINARY without the file's header and trailer.
    pub(super) bytes: Bytes,
    /// How many.
    pub(super) count: u64,
}

/// The bytes are not COPY data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MalformedCopy {
    /// The first bytes of binary data are not COPY's.
    #[error("COPY data does not begin with its signature")]
    Signature,
    /// A flag that readers must understand is set.
    #[error("COPY data has unknown flags 0x{0:08x}")]
    Flags(u32),
    /// A row or value has a negative length.
    #[error("COPY data has a length of {0}")]
    Length(i32),
    /// It goes on after its trailer.
    #[error("COPY data goes on after its end")]
    AfterEnd,
    /// It ends inside a row, or without its trailer.
    #[error("COPY data is cut short")]
    Short,
}

/// What begins the binary format: signature, then two fields of four bytes.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The critical half of the flags field; the other half may be ignored.
const CRITICAL_FLAGS: u32 = 0xFFFF_0000;

/// Cuts COPY data into blocks.
#[derive(Debug)]
pub(super) struct RowSplitter {
    format: CopyFormat,
    block_bytes: usize,
    /// Whole rows not given out yet, then the beginning of the next.
    buffer: BytesMut,
    /// Length of the whole rows in `buffer`.
    whole: usize,
    /// Number of them.
    rows: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Header,
    Rows,
    Ended,
}

/// What stands at the start of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Row(usize),
    Trailer,
    Incomplete,
}

impl RowSplitter {
    /// Blocks are at most `block_bytes` long, unless they hold a single row.
    pub(super) fn new(format: CopyFormat, block_bytes: usize) -> RowSplitter {
        RowSplitter {
            format,
            block_bytes,
            buffer: BytesMut::new(),
            whole: 0,
            rows: 0,
            stage: match format {
                CopyFormat::Binary => Stage::Header,
                CopyFormat::Text => Stage::Rows,
            },
        }
    }

    /// Takes the next piece of the stream and hands out the blocks it fills.
    ///
    /// # Errors
    /// When the bytes are not COPY data.
    pub(super) fn push(
        &mut self,
        chunk: Bytes,
        blocks: &mut Vec<Rows>,
    ) -> Result<(), MalformedCopy> {
        if self.is_lone_large_row(&chunk)? {
            self.cut(blocks);
            blocks.push(Rows { bytes: chunk, count: 1 });
            return Ok(());
        }
        if self.buffer.capacity() - self.buffer.len() < chunk.len() {
            // One allocation a block, not one per doubling.
            self.buffer.reserve(self.block_bytes.max(chunk.len()));
        }
        self.buffer.extend_from_slice(&chunk);
        if self.stage == Stage::Header && !self.take_header()? {
            return Ok(());
        }
        self.take_rows(blocks)
    }

    /// Ends the stream and hands out what is left.
    ///
    /// # Errors
    /// When the data ends inside a row or without its trailer.
    pub(super) fn finish(mut self) -> Result<Option<Rows>, MalformedCopy> {
        let ended = match self.format {
            CopyFormat::Binary => self.stage == Stage::Ended,
            CopyFormat::Text => true,
        };
        if !ended || self.buffer.len() != self.whole {
            return Err(MalformedCopy::Short);
        }
        let mut blocks = Vec::new();
        self.cut(&mut blocks);
        Ok(blocks.pop())
    }

    /// The server sends a row a message. One that fills a block alone needs no copy.
    fn is_lone_large_row(&self, chunk: &[u8]) -> Result<bool, MalformedCopy> {
        let at_boundary = self.stage == Stage::Rows && self.buffer.len() == self.whole;
        let lone = at_boundary
            && chunk.len() >= self.block_bytes
            && next_row(self.format, chunk)? == Next::Row(chunk.len());
        Ok(lone)
    }

    /// Returns whether the header was complete.
    fn take_header(&mut self) -> Result<bool, MalformedCopy> {
        let seen = self.buffer.len().min(SIGNATURE.len());
        if self.buffer.get(..seen) != SIGNATURE.get(..seen) {
            return Err(MalformedCopy::Signature);
        }
        let mut rest = self.buffer.get(seen..).unwrap_or_default();
        if rest.len() < 8 {
            return Ok(false);
        }
        let flags = rest.get_u32();
        if flags & CRITICAL_FLAGS != 0 {
            return Err(MalformedCopy::Flags(flags));
        }
        let extension = rest.get_u32() as usize;
        if rest.len() < extension {
            return Ok(false);
        }
        self.buffer.advance(SIGNATURE.len() + 8 + extension);
        self.stage = Stage::Rows;
        Ok(true)
    }

    fn take_rows(&mut self, blocks: &mut Vec<Rows>) -> Result<(), MalformedCopy> {
        loop {
            let rest = self.buffer.get(self.whole..).unwrap_or_default();
            if self.stage == Stage::Ended {
                return if rest.is_empty() { Ok(()) } else { Err(MalformedCopy::AfterEnd) };
            }
            match next_row(self.format, rest)? {
                Next::Row(length) => self.take_row(length, blocks),
                Next::Trailer => {
                    let after = self.buffer.split_off(self.whole).split_off(TRAILER_BYTES);
                    self.buffer.unsplit(after);
                    self.stage = Stage::Ended;
                }
                Next::Incomplete => return Ok(()),
            }
        }
    }

    fn take_row(&mut self, length: usize, blocks: &mut Vec<Rows>) {
        if self.whole + length > self.block_bytes {
            self.cut(blocks);
        }
        self.whole += length;
        self.rows += 1;
        if self.whole >= self.block_bytes {
            self.cut(blocks);
        }
    }

    fn cut(&mut self, blocks: &mut Vec<Rows>) {
        if self.rows > 0 {
            let bytes = self.buffer.split_to(self.whole).freeze();
            blocks.push(Rows { bytes, count: self.rows });
            self.whole = 0;
            self.rows = 0;
        }
    }
}

/// A tuple of -1 fields.
const TRAILER_BYTES: usize = 2;

fn next_row(format: CopyFormat, bytes: &[u8]) -> Result<Next, MalformedCopy> {
    match format {
        CopyFormat::Text => Ok(next_line(bytes)),
        CopyFormat::Binary => next_tuple(bytes),
    }
}

/// A newline inside a value is escaped, and no byte of a longer UTF-8 character looks like one.
fn next_line(mut bytes: &[u8]) -> Next {
    let all = bytes;
    // Reading from a slice cannot fail.
    let length = bytes.skip_until(b'\n').unwrap_or(0);
    match length.checked_sub(1).and_then(|last| all.get(last)) {
        Some(b'\n') => Next::Row(length),
        _ => Next::Incomplete,
    }
}

fn next_tuple(bytes: &[u8]) -> Result<Next, MalformedCopy> {
    let Some((fields, mut rest)) = bytes.split_first_chunk::<2>() else {
        return Ok(Next::Incomplete);
    };
    let fields = i16::from_be_bytes(*fields);
    if fields == -1 {
        return Ok(Next::Trailer);
    }
    if fields < 0 {
        return Err(MalformedCopy::Length(fields.into()));
    }
    for _ in 0..fields {
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            return Ok(Next::Incomplete);
        };
        let value_bytes = match i32::from_be_bytes(*length) {
            -1 => 0,
            length => usize::try_from(length).map_err(|_| MalformedCopy::Length(length))?,
        };
        let Some((_, after)) = after.split_at_checked(value_bytes) else {
            return Ok(Next::Incomplete);
        };
        rest = after;
    }
    Ok(Next::Row(bytes.len() - rest.len()))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tuple(values: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut bytes = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
            bytes.extend(length.to_be_bytes());
            bytes.extend(value.iter().flatten());
        }
        bytes
    }

    fn file(rows: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        bytes.extend(rows.concat());
        bytes.extend([0xFF, 0xFF]);
        bytes
    }

    /// Splits `stream`, given in pieces that end at `cuts`.
    fn split(
        format: CopyFormat,
        stream: &[u8],
        cuts: &[usize],
        block_bytes: usize,
    ) -> Result<Vec<Rows>, MalformedCopy> {
        let mut splitter = RowSplitter::new(format, block_bytes);
        let mut blocks = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let mut start = 0;
        for cut in cuts {
            splitter.push(Bytes::copy_from_slice(&stream[start..cut]), &mut blocks)?;
            start = cut;
        }
        blocks.extend(splitter.finish()?);
        Ok(blocks)
    }

    /// The blocks hold exactly these rows, and are as full as they may be.
    fn check_blocks(blocks: &[Rows], rows: &[Vec<u8>], block_bytes: usize) {
        let mut left = rows.iter();
        for block in blocks {
            let own: Vec<_> = left.by_ref().take(usize::try_from(block.count).unwrap()).collect();
            let bytes: Vec<u8> = own.iter().flat_map(|row| row.iter().copied()).collect();
            assert_eq!(block.bytes, bytes);
            assert!(block.count == 1 || block.bytes.len() <= block_bytes);
            assert!(block.count > 0);
        }
        assert_eq!(left.next(), None);
    }

    fn row() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
        proptest::collection::vec(value, 0..5)
    }

    proptest! {
        #[test]
        fn binary_rows_survive_any_cuts(
            rows in proptest::collection::vec(row(), 0..40),
            cuts in proptest::collection::vec(any::<usize>(), 0..60),
            block_bytes in 1_usize..300,
        ) {
            let rows: Vec<Vec<u8>> = rows.iter().map(|row| tuple(row)).collect();
            let blocks = split(CopyFormat::Binary, &file(&rows), &cuts, block_bytes).unwrap();
            check_blocks(&blocks, &rows, block_bytes);
        }

        #[test]
        fn text_rows_survive_any_cuts(
            rows in proptest::collection::vec("[^\n]{0,60}", 0..40),
            cuts in proptest::collection::vec(any::<usize>(), 0..60),
            block_bytes in 1_usize..300,
        ) {
            let rows: Vec<Vec<u8>> =
                rows.into_iter().map(|row| (row + "\n").into_bytes()).collect();
            let blocks = split(CopyFormat::Text, &rows.concat(), &cuts, block_bytes).unwrap();
            check_blocks(&blocks, &rows, block_bytes);
        }

        #[test]
        fn every_prefix_of_binary_data_is_cut_short(
            rows in proptest::collection::vec(row(), 0..5),
            cut in any::<usize>(),
        ) {
            let rows: Vec<Vec<u8>> = rows.iter().map(|row| tuple(row)).collect();
            let whole = file(&rows);
            let prefix = &whole[..cut % whole.len()];
            let result = split(CopyFormat::Binary, prefix, &[], 100);
            prop_assert_eq!(result, Err(MalformedCopy::Short));
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in proptest::collection::vec(any::<usize>(), 0..9),
            with_header in any::<bool>(),
        ) {
            let mut stream = if with_header { file(&[]) } else { Vec::new() };
            stream.truncate(stream.len().saturating_sub(TRAILER_BYTES));
            stream.extend(bytes);
            let _ = split(CopyFormat::Binary, &stream, &cuts, 50);
            let _ = split(CopyFormat::Text, &stream, &cuts, 50);
        }
    }

    #[test]
    fn a_row_a_message_fills_blocks() {
        let rows: Vec<Vec<u8>> = (0..10).map(|n| tuple(&[Some(vec![n; 10])])).collect();
        let stream = file(&rows);
        let cuts: Vec<usize> = (0..=10).map(|n| SIGNATURE.len() + 8 + n * 16).collect();
        let blocks = split(CopyFormat::Binary, &stream, &cuts, 50).unwrap();
        let counts: Vec<u64> = blocks.iter().map(|block| block.count).collect();
        assert_eq!(counts, [3, 3, 3, 1]);
    }

    #[test]
    fn a_large_row_is_a_block_of_its_own() {
        let rows = [tuple(&[Some(vec![1; 5])]), tuple(&[Some(vec![2; 500])]), tuple(&[None])];
        for cuts in [&[][..], &[19 + 11, 19 + 11 + 506]] {
            let blocks = split(CopyFormat::Binary, &file(&rows), cuts, 100).unwrap();
            let lengths: Vec<usize> = blocks.iter().map(|block| block.bytes.len()).collect();
            assert_eq!(lengths, [11, 506, 6]);
        }
    }

    #[test]
    fn refuses_what_is_not_copy_data() {
        let check = |stream: &[u8], expected| {
            assert_eq!(split(CopyFormat::Binary, stream, &[], 100), Err(expected));
        };
        check(b"PGCOPX", MalformedCopy::Signature);
        check(b"", MalformedCopy::Short);
        let mut with_oids = file(&[]);
        with_oids[12] = 1;
        check(&with_oids, MalformedCopy::Flags(0x0001_0000));
        let mut goes_on = file(&[]);
        goes_on.push(0);
        check(&goes_on, MalformedCopy::AfterEnd);
        check(&file(&[vec![0xFF, 0xFE]]), MalformedCopy::Length(-2));
        check(&file(&[vec![0, 1, 0xFF, 0xFF, 0xFF, 0xFE]]), MalformedCopy::Length(-2));
        assert_eq!(split(CopyFormat::Text, b"a\nb", &[], 100), Err(MalformedCopy::Short));
    }

    #[test]
    fn a_table_without_columns_has_rows() {
        let rows = vec![tuple(&[]); 3];
        let blocks = split(CopyFormat::Binary, &file(&rows), &[], 100).unwrap();
        check_blocks(&blocks, &rows, 100);
        let lines = split(CopyFormat::Text, b"\n\n\n", &[], 100).unwrap();
        assert_eq!(lines.iter().map(|block| block.count).sum::<u64>(), 3);
    }
}
