//! Row images put together from several: what folding and key handling need of [`Tuple`].
//!
//! Owns no decision. The invariant: an unchanged TOAST value never hides one that is known.

use bytes::{BufMut, Bytes, BytesMut};
use pgtrail_log::{Datum, Tuple};

/// A set of column numbers; empty sets allocate nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct ColumnSet(Vec<u64>);

impl ColumnSet {
    pub(crate) fn insert(&mut self, column: usize) {
        let word = column / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (column % 64);
        }
    }

    pub(crate) fn contains(&self, column: usize) -> bool {
        self.0.get(column / 64).is_some_and(|bits| bits & (1 << (column % 64)) != 0)
    }
}

impl FromIterator<usize> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = usize>>(columns: I) -> ColumnSet {
        let mut set = ColumnSet::default();
        for column in columns {
            set.insert(column);
        }
        set
    }
}

/// The columns whose value was not sent because it did not change.
pub(crate) fn unchanged(tuple: &Tuple) -> ColumnSet {
    let columns = tuple.iter().enumerate();
    columns.filter(|(_, datum)| *datum == Datum::Unchanged).map(|(column, _)| column).collect()
}

/// Which formats the values of some tuples came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Formats {
    text: bool,
    binary: bool,
}

impl Formats {
    pub(crate) fn see(&mut self, tuple: &Tuple) {
        for datum in tuple {
            match datum {
                Datum::Text(_) => self.text = true,
                Datum::Binary(_) => self.binary = true,
                Datum::Null | Datum::Unchanged => {}
            }
        }
    }

    pub(crate) fn is_mixed(self) -> bool {
        self.text && self.binary
    }

    pub(crate) fn has_text(self) -> bool {
        self.text
    }
}

/// The values of the columns `key` (ascending) as bytes that are equal exactly when the values are
/// the same bytes in the same format. `None` when one of them is null or was not sent.
pub(crate) fn key_bytes<'a>(
    tuple: &Tuple,
    key: &[usize],
    scratch: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    scratch.clear();
    let mut wanted = key.iter().copied().peekable();
    for (column, datum) in tuple.iter().enumerate() {
        if wanted.peek() != Some(&column) {
            continue;
        }
        wanted.next();
        let (Datum::Text(value) | Datum::Binary(value)) = datum else { return None };
        scratch.put_u32(u32::try_from(value.len()).ok()?);
        scratch.extend_from_slice(value);
        if wanted.peek().is_none() {
            break;
        }
    }
    wanted.peek().is_none().then_some(&scratch[..])
}

/// `new`, with the values of `old` where `new` says "unchanged". Only the columns of `only`, if given,
/// may be taken: in a key-only image null means "not sent".
pub(crate) fn complete(old: &Tuple, new: &Tuple, only: Option<&[usize]>) -> Tuple {
    let takes = |column: &usize| only.is_none_or(|only| only.contains(column));
    if !new.iter().any(|datum| datum == Datum::Unchanged) {
        return new.clone();
    }
    let columns = new.iter().zip(old.iter()).enumerate();
    build(columns.map(|(column, (new, old))| match new {
        Datum::Unchanged if takes(&column) => old,
        other => other,
    }))
    .unwrap_or_else(|| new.clone())
}

/// A tuple of these datums; `None` if there are more than a tuple can have.
fn build<'a>(datums: impl ExactSizeIterator<Item = Datum<'a>>) -> Option<Tuple> {
    let mut bytes = BytesMut::new();
    bytes.put_u16(u16::try_from(datums.len()).ok()?);
    for datum in datums {
        let (kind, value) = match datum {
            Datum::Null => (b'n', None),
            Datum::Unchanged => (b'u', None),
            Datum::Text(value) => (b't', Some(value)),
            Datum::Binary(value) => (b'b', Some(value)),
        };
        bytes.put_u8(kind);
        if let Some(value) = value {
            bytes.put_u32(u32::try_from(value.len()).ok()?);
            bytes.put_slice(value);
        }
    }
    Tuple::parse(Bytes::from(bytes)).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tuple of text datums; `None` is null, `"~"` unchanged.
    pub(crate) fn text(values: &[Option<&str>]) -> Tuple {
        build(values.iter().map(|value| match value {
            None => Datum::Null,
            Some("~") => Datum::Unchanged,
            Some(value) => Datum::Text(value.as_bytes()),
        }))
        .expect("a tuple")
    }

    /// A tuple of binary datums.
    pub(crate) fn binary(values: &[Option<&[u8]>]) -> Tuple {
        build(values.iter().map(|value| value.map_or(Datum::Null, Datum::Binary))).expect("a tuple")
    }

    #[test]
    fn an_unchanged_value_never_hides_a_known_one() {
        let merged =
            complete(&text(&[Some("1"), Some("long")]), &text(&[Some("1"), Some("~")]), None);
        assert_eq!(merged, text(&[Some("1"), Some("long")]));
    }

    #[test]
    fn a_key_only_image_gives_its_key_alone() {
        let old = text(&[Some("k"), None]);
        let new = text(&[Some("~"), Some("~")]);
        assert_eq!(complete(&old, &new, Some(&[0])), text(&[Some("k"), Some("~")]));
    }

    #[test]
    fn keys_keep_their_columns_apart() {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let first = text(&[Some("a"), None, Some("bc")]);
        let second = text(&[Some("ab"), None, Some("c")]);
        assert_ne!(key_bytes(&first, &[0, 2], &mut one), key_bytes(&second, &[0, 2], &mut two));
        assert_eq!(key_bytes(&first, &[1], &mut one), None, "null is no key");
        assert_eq!(key_bytes(&first, &[3], &mut one), None, "beyond the tuple");
    }

    #[test]
    fn column_sets_hold_wide_tables() {
        let set: ColumnSet = [0, 63, 64, 1599].into_iter().collect();
        assert!([0, 63, 64, 1599].into_iter().all(|column| set.contains(column)));
        assert!(!set.contains(1) && !set.contains(5000));
        assert!(!ColumnSet::default().contains(0));
    }
}
