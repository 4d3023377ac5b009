//! Type oids inside binary values, made the destination's.
//!
//! Arrays and row types carry the oids of their parts. A server before 14 takes only its own; a later
//! one overlooks them ([`pgtrail_postgres::Capabilities::foreign_type_oids`]). Owns the walk through
//! such values (`array_send`, `record_send` and `range_send` in PostgreSQL's source write them). The
//! invariant: nothing but oids is changed, and a value that does not have the shape of its type is an
//! error, never passed on half changed.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use pgtrail_log::{Change, Datum, OldTuple, Tuple};
use pgtrail_postgres::Session;
use tokio_postgres::types::Type;

use crate::Error;

/// What a type's binary value holds beside plain bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// No oid.
    Plain,
    /// The elements' oid, and each element.
    Array(u32, Box<Shape>),
    /// Each column's oid and value.
    Row(Vec<(u32, Shape)>),
    /// Bounds.
    Range(Box<Shape>),
}

/// The value is not one of its type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misshapen;

/// `RANGE_EMPTY`, and the flags that say that a bound is missing (`rangetypes.h`).
const RANGE_EMPTY: u8 = 0x01;
const NO_LOWER: u8 = 0x08 | 0x20;
const NO_UPPER: u8 = 0x10 | 0x40;

/// The shapes of the destination's types `wanted`, as far as they hold oids.
pub(crate) async fn load(session: &Session, wanted: &[u32]) -> Result<HashMap<u32, Shape>, Error> {
    let sql = include_str!("sql/type_parts.sql");
    let rows = session.query_typed(sql, &[(&wanted, Type::OID_ARRAY)]).await?;
    let mut made = HashMap::with_capacity(rows.len());
    for row in &rows {
        let (oid, how, parts): (u32, String, Vec<u32>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        made.insert(oid, (how, parts));
    }
    let shapes = wanted.iter().map(|oid| (*oid, shape(*oid, &made)));
    Ok(shapes.filter(|(_, shape)| *shape != Shape::Plain).collect())
}

fn shape(oid: u32, made: &HashMap<u32, (String, Vec<u32>)>) -> Shape {
    let Some((how, parts)) = made.get(&oid) else { return Shape::Plain };
    let part = || parts.first().map_or(Shape::Plain, |part| shape(*part, made));
    match how.as_str() {
        "a" => Shape::Array(parts.first().copied().unwrap_or_default(), Box::new(part())),
        "c" => Shape::Row(parts.iter().map(|part| (*part, shape(*part, made))).collect()),
        "d" => part(),
        "r" => match part() {
            Shape::Plain => Shape::Plain,
            bound => Shape::Range(Box::new(bound)),
        },
        _ => Shape::Plain,
    }
}

/// The change with the destination's oids in its values. `columns`: shapes by the log's column number.
pub(crate) fn in_change(
    columns: &HashMap<usize, Shape>,
    change: &Change,
) -> Result<Change, Misshapen> {
    let tuple = |tuple: &Tuple| in_tuple(columns, tuple);
    let old_tuple = |old: &OldTuple| {
        Ok(match old {
            OldTuple::Absent => OldTuple::Absent,
            OldTuple::Key(old) => OldTuple::Key(tuple(old)?),
            OldTuple::Full(old) => OldTuple::Full(tuple(old)?),
        })
    };
    Ok(match change {
        Change::Insert { relation, new } => {
            Change::Insert { relation: *relation, new: tuple(new)? }
        }
        Change::Update { relation, old, new } => {
            Change::Update { relation: *relation, old: old_tuple(old)?, new: tuple(new)? }
        }
        Change::Delete { relation, old } => {
            Change::Delete { relation: *relation, old: old_tuple(old)? }
        }
        Change::Truncate { .. } | Change::Message { .. } => change.clone(),
    })
}

fn in_tuple(columns: &HashMap<usize, Shape>, tuple: &Tuple) -> Result<Tuple, Misshapen> {
    let mut out = BytesMut::with_capacity(tuple.as_bytes().len());
    out.put_u16(u16::try_from(tuple.len()).map_err(|_| Misshapen)?);
    for (number, datum) in tuple.iter().enumerate() {
        let (kind, value) = match datum {
            Datum::Null => {
                out.put_u8(b'n');
                continue;
            }
            Datum::Unchanged => {
                out.put_u8(b'u');
                continue;
            }
            Datum::Text(value) => (b't', value),
            Datum::Binary(value) => (b'b', value),
        };
        out.put_u8(kind);
        out.put_u32(u32::try_from(value.len()).map_err(|_| Misshapen)?);
        let begin = out.len();
        out.put_slice(value);
        if let (b'b', Some(shape)) = (kind, columns.get(&number)) {
            in_value(shape, out.get_mut(begin..).unwrap_or_default())?;
        }
    }
    Tuple::parse(out.freeze()).map_err(|_| Misshapen)
}

/// Whole rows of COPY BINARY, without its header and trailer.
pub(crate) fn in_copied(columns: &HashMap<usize, Shape>, rows: &Bytes) -> Result<Bytes, Misshapen> {
    let mut out = BytesMut::from(&rows[..]);
    let mut rest = &mut out[..];
    while !rest.is_empty() {
        let [high, low] = *cut_array(&mut rest)?;
        for number in 0..usize::from(u16::from_be_bytes([high, low])) {
            in_sized(columns.get(&number).unwrap_or(&Shape::Plain), &mut rest)?;
        }
    }
    Ok(out.freeze())
}

fn in_value(shape: &Shape, value: &mut [u8]) -> Result<(), Misshapen> {
    let mut rest = value;
    match shape {
        Shape::Plain => return Ok(()),
        Shape::Array(element, of) => {
            let dimensions = u32::from_be_bytes(*cut_array(&mut rest)?);
            let [_, _, _, _] = *cut_array(&mut rest)?;
            *cut_array(&mut rest)? = element.to_be_bytes();
            for _ in 0..dimensions {
                let [_, _, _, _, _, _, _, _] = *cut_array(&mut rest)?;
            }
            while !rest.is_empty() {
                in_sized(of, &mut rest)?;
            }
        }
        Shape::Row(columns) => {
            let count = u32::from_be_bytes(*cut_array(&mut rest)?);
            if count as usize != columns.len() {
                return Err(Misshapen);
            }
            for (oid, of) in columns {
                *cut_array(&mut rest)? = oid.to_be_bytes();
                in_sized(of, &mut rest)?;
            }
        }
        Shape::Range(of) => {
            let [flags] = *cut_array(&mut rest)?;
            for missing in [NO_LOWER, NO_UPPER] {
                if flags & (RANGE_EMPTY | missing) == 0 {
                    in_sized(of, &mut rest)?;
                }
            }
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(Misshapen) }
}

/// A value behind its length, or null behind -1.
fn in_sized(shape: &Shape, rest: &mut &mut [u8]) -> Result<(), Misshapen> {
    let length = i32::from_be_bytes(*cut_array(rest)?);
    match length {
        -1 => Ok(()),
        length => in_value(shape, cut(rest, usize::try_from(length).map_err(|_| Misshapen)?)?),
    }
}

fn cut<'a>(rest: &mut &'a mut [u8], length: usize) -> Result<&'a mut [u8], Misshapen> {
    let (value, after) = std::mem::take(rest).split_at_mut_checked(length).ok_or(Misshapen)?;
    *rest = after;
    Ok(value)
}

fn cut_array<'a, const N: usize>(rest: &mut &'a mut [u8]) -> Result<&'a mut [u8; N], Misshapen> {
    let (value, after) = std::mem::take(rest).split_first_chunk_mut().ok_or(Misshapen)?;
    *rest = after;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(value: &[u8]) -> Vec<u8> {
        [&u32::try_from(value.len()).expect("small").to_be_bytes()[..], value].concat()
    }

    fn array(element: u32, values: &[&[u8]]) -> Vec<u8> {
        let count = u32::try_from(values.len()).expect("small");
        let mut out: Vec<u8> = [1, 0, element, count, 1].map(u32::to_be_bytes).concat();
        values.iter().for_each(|value| out.extend(sized(value)));
        out
    }

    fn row(columns: &[(u32, Option<&[u8]>)]) -> Vec<u8> {
        let mut out = u32::try_from(columns.len()).expect("small").to_be_bytes().to_vec();
        for (oid, value) in columns {
            out.extend(oid.to_be_bytes());
            out.extend(value.map_or((-1_i32).to_be_bytes().to_vec(), sized));
        }
        out
    }

    /// An array of rows of a number and an array of an enum.
    fn nested(row_type: u32, array_type: u32, element: u32) -> (Vec<u8>, Shape) {
        let labels = array(element, &[b"happy", b"sad"]);
        let one = row(&[(23, Some(&[0, 0, 0, 7])), (array_type, Some(&labels))]);
        let other = row(&[(23, None), (array_type, None)]);
        let shape = Shape::Row(vec![
            (23, Shape::Plain),
            (array_type, Shape::Array(element, Box::new(Shape::Plain))),
        ]);
        (array(row_type, &[&one, &other]), Shape::Array(row_type, Box::new(shape)))
    }

    #[test]
    fn f1_every_oid_becomes_the_destinations() {
        let (mut theirs, _) = nested(16400, 16390, 16389);
        let (wanted, shape) = nested(20400, 20390, 20389);
        assert_eq!(in_value(&shape, &mut theirs), Ok(()));
        assert_eq!(theirs, wanted);
    }

    #[test]
    fn bounds_of_ranges_are_walked() {
        let (theirs, _) = nested(16400, 16390, 16389);
        let (ours, shape) = nested(20400, 20390, 20389);
        let shape = Shape::Range(Box::new(shape));
        for (flags, count) in [(0x02, 2), (0x08, 1), (0x10, 1), (0x18, 0), (0x01, 0)] {
            let range = |bound: &[u8]| [vec![flags], sized(bound).repeat(count)].concat();
            let mut value = range(&theirs);
            assert_eq!(in_value(&shape, &mut value), Ok(()));
            assert_eq!(value, range(&ours));
        }
    }

    #[test]
    fn copied_rows_are_walked_to_their_end() {
        let columns = |shape| HashMap::from([(1, shape)]);
        let copied = |value: &[u8]| {
            let one = [&[0, 2][..], &sized(b"x"), &sized(value)].concat();
            let other = [&[0, 2][..], &(-1_i32).to_be_bytes(), &sized(value)].concat();
            Bytes::from([one, other].concat())
        };
        let (theirs, _) = nested(16400, 16390, 16389);
        let (ours, shape) = nested(20400, 20390, 20389);
        assert_eq!(in_copied(&columns(shape.clone()), &copied(&theirs)), Ok(copied(&ours)));
        let whole = copied(&theirs);
        let cut = whole.slice(..whole.len() - 1);
        assert_eq!(in_copied(&columns(shape), &cut), Err(Misshapen));
    }

    #[test]
    fn what_has_another_shape_is_refused() {
        let (value, shape) = nested(16400, 16390, 16389);
        for end in 0..value.len() {
            // Cut between two elements it is a shorter array, which the server refuses by its count.
            let _ = in_value(&shape, &mut value[..end].to_vec());
        }
        let wider = Shape::Row(vec![(23, Shape::Plain); 3]);
        assert_eq!(in_value(&wider, &mut row(&[(23, None), (23, None)])), Err(Misshapen));
        let mut longer = row(&[(23, None)]);
        longer.push(0);
        assert_eq!(in_value(&Shape::Row(vec![(23, Shape::Plain)]), &mut longer), Err(Misshapen));
    }
}
