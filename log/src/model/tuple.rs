#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use bytes::Bytes;

/// One column's value in a tuple: pgoutput's own four kinds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Datum<'a> {
    /// SQL NULL. In a key-only image it means "not part of the key".
    Null,
    /// A TOASTed value that did not change and was not sent. Never to be written as NULL.
    Unchanged,
    /// The type's text output, in UTF-8.
    Text(&'a [u8]),
    /// The type's binary send format.
    Binary(&'a [u8]),
}

/// A row image, its datums as received.
///
/// The bytes are pgoutput's `TupleData`, kept untouched:
///
/// | bytes | meaning |
/// |---|---|
/// | 2 | number of columns, big-endian |
/// | 1 per column | `n` null, `u` unchanged TOAST, `t` text, `b` binary |
/// | 4 | for `t` and `b`: length, big-endian |
/// | length | for `t` and `b`: the value |
///
/// A `Tuple` exists only for bytes that were walked to their end, so iteration cannot fail.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tuple(Bytes);

/// The bytes are not a `TupleData`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TupleError {
    /// They end inside the tuple.
    #[error("tuple is cut short")]
    Short,
    /// A column has a kind that is none of n, u, t, b.
    #[error("tuple has unknown column kind 0x{0:02x}")]
    Kind(u8),
    /// Bytes are left after the last column.
    #[error("tuple is followed by {0} stray bytes")]
    Trailing(usize),
}

impl Tuple {
    /// Takes exactly one tuple that fills `bytes`.
    ///
    /// # Errors
    /// When the bytes are not one whole tuple.
    pub fn parse(bytes: Bytes) -> Result<Tuple, TupleError> {
        let length = Tuple::measure(&bytes)?;
        match bytes.len() - length {
            0 => Ok(Tuple(bytes)),
            stray => Err(TupleError::Trailing(stray)),
        }
    }

    /// Takes the tuple at the start of `bytes` off it, without copying; nothing is taken on failure.
    ///
    /// # Errors
    /// When no whole tuple stands there.
    pub fn split_from(bytes: &mut Bytes) -> Result<Tuple, TupleError> {
        let length = Tuple::measure(bytes)?;
        Ok(Tuple(bytes.split_to(length)))
    }

    /// The length in bytes of the tuple at the start of `bytes`, which may be followed by others.
    ///
    /// # Errors
    /// When no whole tuple stands there.
    pub fn measure(bytes: &[u8]) -> Result<usize, TupleError> {
        let (count, mut rest) = bytes.split_first_chunk::<2>().ok_or(TupleError::Short)?;
        for _ in 0..u16::from_be_bytes(*count) {
            rest = split_datum(rest)?.1;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.0.first_chunk::<2>().map_or(0, |count| usize::from(u16::from_be_bytes(*count)))
    }

    /// Whether it has no columns (a table without columns has such rows).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The datums, in the order of the relation version's columns.
    pub fn iter(&self) -> Datums<'_> {
        Datums { left: self.len(), rest: self.0.get(2..).unwrap_or_default() }
    }

    /// The bytes as received.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Tuple {
    type Item = Datum<'a>;
    type IntoIter = Datums<'a>;

    fn into_iter(self) -> Datums<'a> {
        self.iter()
    }
}

/// The datums of a [`Tuple`], in column order.
#[derive(Clone, Debug)]
pub struct Datums<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Datums<'a> {
    type Item = Datum<'a>;

    fn next(&mut self) -> Option<Datum<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (datum, rest) = split_datum(self.rest).ok()?;
        self.rest = rest;
        Some(datum)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Datums<'_> {}

fn split_datum(bytes: &[u8]) -> Result<(Datum<'_>, &[u8]), TupleError> {
    let (kind, rest) = bytes.split_first().ok_or(TupleError::Short)?;
    let value = || {
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(TupleError::Short)?;
        let length = u32::from_be_bytes(*length) as usize;
        rest.split_at_checked(length).ok_or(TupleError::Short)
    };
    match kind {
        b'n' => Ok((Datum::Null, rest)),
        b'u' => Ok((Datum::Unchanged, rest)),
        b't' => value().map(|(value, rest)| (Datum::Text(value), rest)),
        b'b' => value().map(|(value, rest)| (Datum::Binary(value), rest)),
        other => Err(TupleError::Kind(*other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_four_kinds() {
        let bytes = b"\x00\x04nut\x00\x00\x00\x02hib\x00\x00\x00\x01\xff";
        let tuple = Tuple::parse(Bytes::from_static(bytes)).expect("a tuple");
        let datums: Vec<_> = tuple.iter().collect();
        assert_eq!(
            datums,
            [Datum::Null, Datum::Unchanged, Datum::Text(b"hi"), Datum::Binary(b"\xff")]
        );
    }

    #[test]
    fn refuses_every_prefix_and_strays() {
        let bytes = b"\x00\x02t\x00\x00\x00\x02hin";
        for end in 0..bytes.len() {
            let cut = Tuple::parse(Bytes::copy_from_slice(&bytes[..end]));
            assert_eq!(cut, Err(TupleError::Short), "cut at {end}");
        }
        assert_eq!(Tuple::parse(Bytes::from_static(b"\x00\x00x")), Err(TupleError::Trailing(1)));
        assert_eq!(Tuple::parse(Bytes::from_static(b"\x00\x01x")), Err(TupleError::Kind(b'x')));
    }
}
