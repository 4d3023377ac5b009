//! Parameter bytes: single values, arrays of rows or texts, COPY data.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use pgtrail_log::{CopyFormat, Datum, Tuple};
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

use super::Carrier;
use crate::target::Target;

/// Oid of `text`.
const TEXT_OID: u32 = 25;

/// What COPY BINARY begins with: signature, flags, length of the header's extension.
pub(crate) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
pub(crate) const COPY_TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// A datum as a parameter: its bytes as received, in the format they came in.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(pub Datum<'a>);

/// Without the value: parameters appear in the driver's debug output.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Datum::Null => f.write_str("null"),
            Datum::Unchanged => f.write_str("unchanged"),
            Datum::Text(value) => write!(f, "text({})", value.len()),
            Datum::Binary(value) => write!(f, "binary({})", value.len()),
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql_checked(ty, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.0 {
            Datum::Null => Ok(IsNull::Yes),
            Datum::Unchanged => Err("a value that was not sent is a parameter".into()),
            Datum::Text(value) | Datum::Binary(value) => {
                out.put_slice(value);
                Ok(IsNull::No)
            }
        }
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self.0 {
            Datum::Text(_) => Format::Text,
            Datum::Null | Datum::Unchanged | Datum::Binary(_) => Format::Binary,
        }
    }
}

/// The parameters of a set: the columns `travelling` (the log's numbers) of `tuples`.
pub(crate) fn set(
    target: &Target,
    carrier: Carrier,
    travelling: &[usize],
    tuples: &[Tuple],
) -> Vec<Bytes> {
    match carrier {
        Carrier::RowArray => vec![row_array(target, travelling, tuples)],
        Carrier::TextArrays | Carrier::Parameters => text_arrays(travelling, tuples),
    }
}

/// An array of the table's row type, in binary.
///
/// | bytes | meaning |
/// |---|---|
/// | 4 | number of dimensions: 1 |
/// | 4 | 0: no element is null |
/// | 4 | oid of the row type |
/// | 4, 4 | number of rows, lower bound 1 |
/// | 4 per row | length of the row |
/// | 4 per row | number of columns: all that are not dropped |
/// | 4, 4, length | per column: oid of its declared type, length or -1, value |
fn row_array(target: &Target, travelling: &[usize], tuples: &[Tuple]) -> Bytes {
    // Where each column of the destination's row comes from.
    let columns: Vec<(u32, Option<usize>)> = target
        .table
        .columns
        .iter()
        .map(|found| {
            let mut numbers = travelling.iter().copied();
            let from =
                numbers.find(|n| target.columns.get(*n).is_some_and(|c| c.attnum == found.attnum));
            (found.data_type.oid, from)
        })
        .collect();
    let values: usize = tuples.iter().map(|tuple| tuple.as_bytes().len()).sum();
    let mut out = BytesMut::with_capacity(20 + values + tuples.len() * (8 + 8 * columns.len()));
    put_array_header(&mut out, target.table.row_type, tuples.len());
    let mut datums = Vec::with_capacity(target.columns.len());
    for tuple in tuples {
        datums.clear();
        datums.extend(tuple.iter());
        let start = out.len();
        out.put_i32(0);
        out.put_i32(length(columns.len()));
        for (oid, from) in &columns {
            out.put_u32(*oid);
            put_value(&mut out, from.and_then(|number| datums.get(number)));
        }
        let row = length(out.len() - start - 4);
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&row.to_be_bytes());
        }
    }
    out.freeze()
}

/// One `text[]` a column, in binary: the elements are the texts as received.
fn text_arrays(travelling: &[usize], tuples: &[Tuple]) -> Vec<Bytes> {
    let mut arrays: Vec<BytesMut> = travelling
        .iter()
        .map(|_| {
            let mut out = BytesMut::new();
            put_array_header(&mut out, TEXT_OID, tuples.len());
            out
        })
        .collect();
    for tuple in tuples {
        let mut wanted = travelling.iter().zip(&mut arrays).peekable();
        for (number, datum) in tuple.iter().enumerate() {
            if wanted.peek().is_some_and(|(next, _)| **next == number)
                && let Some((_, out)) = wanted.next()
            {
                put_value(out, Some(&datum));
            }
        }
        wanted.for_each(|(_, out)| put_value(out, None));
    }
    arrays.into_iter().map(BytesMut::freeze).collect()
}

fn put_array_header(out: &mut BytesMut, element: u32, count: usize) {
    out.put_i32(1);
    // The "has nulls" flag is read for its sanity only; elements say so themselves.
    out.put_i32(0);
    out.put_u32(element);
    out.put_i32(length(count));
    out.put_i32(1);
}

fn put_value(out: &mut BytesMut, datum: Option<&Datum<'_>>) {
    match datum {
        Some(Datum::Text(value) | Datum::Binary(value)) => {
            out.put_i32(length(value.len()));
            out.put_slice(value);
        }
        Some(Datum::Null | Datum::Unchanged) | None => out.put_i32(-1),
    }
}

/// Lengths in the protocol are signed. What a group may hold is far below the limit.
fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// COPY data for `tuples`, header and trailer included.
pub(crate) fn copy(written: &[usize], format: CopyFormat, tuples: &[Tuple]) -> Bytes {
    let values: usize = tuples.iter().map(|tuple| tuple.as_bytes().len()).sum();
    let mut out = BytesMut::with_capacity(values + values / 8 + 64);
    if format == CopyFormat::Binary {
        out.put_slice(COPY_HEADER);
    }
    let mut datums = Vec::new();
    for tuple in tuples {
        datums.clear();
        datums.extend(tuple.iter());
        let row = written.iter().map(|number| datums.get(*number));
        match format {
            CopyFormat::Binary => {
                out.put_i16(i16::try_from(written.len()).unwrap_or(i16::MAX));
                row.for_each(|datum| put_value(&mut out, datum));
            }
            CopyFormat::Text => put_line(&mut out, row),
        }
    }
    if format == CopyFormat::Binary {
        out.put_slice(COPY_TRAILER);
    }
    out.freeze()
}

fn put_line<'a>(out: &mut BytesMut, row: impl Iterator<Item = Option<&'a Datum<'a>>>) {
    for (number, datum) in row.enumerate() {
        if number > 0 {
            out.put_u8(b'\t');
        }
        match datum {
            Some(Datum::Text(value) | Datum::Binary(value)) => put_escaped(out, value),
            Some(Datum::Null | Datum::Unchanged) | None => out.put_slice(b"\\N"),
        }
    }
    out.put_u8(b'\n');
}

fn put_escaped(out: &mut BytesMut, value: &[u8]) {
    for byte in value {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            other => out.put_u8(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tests::target;
    use crate::tuple::tests::{binary, text};

    #[test]
    fn copy_text_escapes_what_copy_reads_specially() {
        let row = text(&[Some("a\tb\\c\nd\re"), None, Some("\\N")]);
        let data = copy(&[0, 1, 2], CopyFormat::Text, &[row]);
        assert_eq!(&data[..], b"a\\tb\\\\c\\nd\\re\t\\N\t\\\\N\n");
    }

    #[test]
    fn copy_binary_has_header_rows_and_trailer() {
        let row = binary(&[Some(b"\x00\x01"), None]);
        let data = copy(&[0, 1], CopyFormat::Binary, &[row]);
        let mut wanted = COPY_HEADER.to_vec();
        wanted.extend(b"\x00\x02\x00\x00\x00\x02\x00\x01\xff\xff\xff\xff\xff\xff");
        assert_eq!(&data[..], &wanted[..]);
    }

    #[test]
    fn a_row_array_follows_the_destinations_column_order() {
        // The destination has (note text, id int4, total generated); the log has (id, note).
        let target = target();
        let row = binary(&[Some(b"\x00\x00\x00\x07"), Some(b"hi")]);
        let bytes = row_array(&target, &[0, 1], &[row]);
        let mut wanted = Vec::new();
        for word in [1, 0, target.table.row_type.cast_signed(), 1, 1] {
            wanted.put_i32(word);
        }
        wanted.put_i32(4 + (8 + 2) + (8 + 4) + 8);
        wanted.put_i32(3);
        wanted.put_i32(25);
        wanted.put_i32(2);
        wanted.put_slice(b"hi");
        wanted.put_i32(23);
        wanted.put_i32(4);
        wanted.put_i32(7);
        wanted.put_i32(23);
        wanted.put_i32(-1);
        assert_eq!(&bytes[..], &wanted[..]);
    }

    #[test]
    fn text_arrays_hold_the_columns_asked_for() {
        let rows = [text(&[Some("1"), Some("x"), None]), text(&[Some("2"), Some("y"), Some("z")])];
        let arrays = text_arrays(&[0, 2], &rows);
        let mut first = Vec::new();
        for word in [1, 0, 25, 2, 1] {
            first.put_i32(word);
        }
        let mut second = first.clone();
        first.put_slice(b"\x00\x00\x00\x011\x00\x00\x00\x012");
        second.put_slice(b"\xff\xff\xff\xff\x00\x00\x00\x01z");
        assert_eq!(arrays, [Bytes::from(first), Bytes::from(second)]);
    }

    #[test]
    fn debug_output_shows_no_value() {
        assert_eq!(format!("{:?}", Value(Datum::Text(b"secret"))), "text(6)");
    }
}
