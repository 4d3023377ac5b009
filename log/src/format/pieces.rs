//! Long values cut into pieces.
//!
//! A row may be a gigabyte. It is compressed and written piece by piece, so that neither process
//! ever holds more than one raw copy of it and a few megabytes besides.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use crate::error::Error;

/// Raw length of every piece but the last.
pub(crate) const PIECE_BYTES: usize = 8 << 20;

/// No value may declare more than this in all its pieces: two images of the longest row
/// PostgreSQL can send, and as much again.
pub(crate) const MAX_TOTAL_BYTES: u64 = 4 << 30;

/// Cuts what `slices` are end to end into pieces and hands each to `take`, with its number and how
/// many there are. There is at least one, if empty.
pub(crate) fn cut(
    slices: &[&[u8]],
    scratch: &mut Vec<u8>,
    mut take: impl FnMut(u32, u32, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    let pieces = u32::try_from(total.div_ceil(PIECE_BYTES).max(1))
        .map_err(|_| Error::Invariant("a value is too long for the log"))?;
    if let [only] = slices
        && pieces == 1
    {
        return take(0, 1, only);
    }
    scratch.clear();
    let mut n = 0;
    for slice in slices {
        let mut rest = *slice;
        while scratch.len() + rest.len() > PIECE_BYTES {
            let (head, tail) = rest.split_at(PIECE_BYTES - scratch.len());
            scratch.extend_from_slice(head);
            take(n, pieces, scratch)?;
            scratch.clear();
            n += 1;
            rest = tail;
        }
        scratch.extend_from_slice(rest);
    }
    take(n, pieces, scratch)?;
    scratch.clear();
    // The buffer of an ordinary block is kept, that of a giant row is not worth keeping.
    scratch.shrink_to(1 << 20);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_what_was_cut() {
        let long: Vec<u8> = (0..PIECE_BYTES * 2 + 5).map(|n| n.to_le_bytes()[0]).collect();
        let cases: [&[&[u8]]; 5] = [&[], &[b""], &[b"ab", b"c"], &[&long], &[b"x", &long, b"y"]];
        for slices in cases {
            let (mut joined, mut numbers) = (Vec::new(), Vec::new());
            cut(slices, &mut Vec::new(), |n, pieces, piece| {
                assert!(piece.len() <= PIECE_BYTES);
                joined.extend_from_slice(piece);
                numbers.push((n, pieces));
                Ok(())
            })
            .expect("cut");
            assert_eq!(joined, slices.concat());
            let pieces = u32::try_from(numbers.len()).expect("few");
            assert!(numbers.into_iter().eq((0..pieces).map(|n| (n, pieces))));
        }
    }

    #[test]
    fn a_value_that_fills_its_pieces_has_no_empty_last_one() {
        let long = vec![1; PIECE_BYTES * 2];
        let mut count = 0;
        cut(&[&long[..10], &long[10..]], &mut Vec::new(), |_, pieces, _| {
            count += 1;
            assert_eq!(pieces, 2);
            Ok(())
        })
        .expect("cut");
        assert_eq!(count, 2);
    }
}
