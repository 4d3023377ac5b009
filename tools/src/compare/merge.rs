//! Two sorted streams of rows merged into their differences.

use std::cmp::Ordering;
use std::fmt;
use std::pin::pin;

use anyhow::Result;
use futures_util::{Stream, TryStreamExt};

/// A row of one side, as far as it takes part: sorted by `key`, then `digest`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// What it is found by: the key's text, or for a table without key the row's digest.
    pub(super) key: String,
    /// The key as shown to a person.
    pub(super) shown: String,
    /// Two hashes of the whole row.
    pub(super) digest: (i64, i64),
}

impl Entry {
    fn order(&self, other: &Entry) -> Ordering {
        let by_key = self.key.as_bytes().cmp(other.key.as_bytes());
        by_key.then_with(|| self.digest.cmp(&other.digest))
    }
}

/// How two tables differ.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Differences {
    /// Rows that only the source has.
    pub only_source: u64,
    /// Rows that only the destination has.
    pub only_destination: u64,
    /// Rows that both have under the same key, with other values.
    pub changed: u64,
    /// The first few, by key.
    pub examples: Vec<Difference>,
}

impl Differences {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.only_source == 0 && self.only_destination == 0 && self.changed == 0
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} only at the source, {} only at the destination, {} changed",
            self.only_source, self.only_destination, self.changed
        )
    }
}

/// One key under which the two sides differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The key's text, as a row: `(1,a)`; of a table without key a digest of the row.
    pub key: String,
    /// Unmatched rows under this key at the source.
    pub at_source: u64,
    /// Unmatched rows under this key at the destination.
    pub at_destination: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.at_source, self.at_destination) {
            (_, 0) => "only at the source",
            (0, _) => "only at the destination",
            _ => "changed",
        };
        write!(f, "{} {what}", self.key)
    }
}

/// Merges two sides, each sorted by key (bytewise) and digest. Rows are a multiset: of three equal
/// rows against two, one is left over.
pub(super) async fn merge(
    source: impl Stream<Item = Result<Entry>>,
    destination: impl Stream<Item = Result<Entry>>,
    examples: usize,
) -> Result<Differences> {
    let mut source = pin!(source);
    let mut destination = pin!(destination);
    let mut found = Found::new(examples);
    let (mut left, mut right) = tokio::try_join!(source.try_next(), destination.try_next())?;
    loop {
        let order = match (&left, &right) {
            (None, None) => return Ok(found.finish()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.order(right),
        };
        if order == Ordering::Less {
            found.unmatched(left.take(), Which::Source);
        } else if order == Ordering::Greater {
            found.unmatched(right.take(), Which::Destination);
        }
        match order {
            Ordering::Less => left = source.try_next().await?,
            Ordering::Greater => right = destination.try_next().await?,
            Ordering::Equal => {
                (left, right) = tokio::try_join!(source.try_next(), destination.try_next())?;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Which {
    Source,
    Destination,
}

/// Unmatched rows so far. Those of one key come one after the other, whichever side they are from.
struct Found {
    differences: Differences,
    limit: usize,
    key: Option<String>,
    current: Difference,
}

impl Found {
    fn new(limit: usize) -> Found {
        Found { differences: Differences::default(), limit, key: None, current: Found::none() }
    }

    fn none() -> Difference {
        Difference { key: String::new(), at_source: 0, at_destination: 0 }
    }

    fn unmatched(&mut self, entry: Option<Entry>, which: Which) {
        let Some(entry) = entry else { return };
        if self.key.as_ref() != Some(&entry.key) {
            self.close_key();
            self.key = Some(entry.key);
            self.current.key = entry.shown;
        }
        match which {
            Which::Source => self.current.at_source += 1,
            Which::Destination => self.current.at_destination += 1,
        }
    }

    fn close_key(&mut self) {
        if self.key.take().is_none() {
            return;
        }
        let current = std::mem::replace(&mut self.current, Found::none());
        let changed = current.at_source.min(current.at_destination);
        self.differences.changed += changed;
        self.differences.only_source += current.at_source - changed;
        self.differences.only_destination += current.at_destination - changed;
        if self.differences.examples.len() < self.limit {
            self.differences.examples.push(current);
        }
    }

    fn finish(mut self) -> Differences {
        self.close_key();
        self.differences
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn entries(rows: &[(&str, i64)]) -> impl Stream<Item = Result<Entry>> + use<> {
        let entries: Vec<_> = rows
            .iter()
            .map(|(key, digest)| {
                Ok(Entry {
                    key: (*key).to_owned(),
                    shown: format!("({key})"),
                    digest: (*digest, 0),
                })
            })
            .collect();
        stream::iter(entries)
    }

    async fn check(
        source: &[(&str, i64)],
        destination: &[(&str, i64)],
        expected: (u64, u64, u64),
        examples: &[&str],
    ) {
        let found = merge(entries(source), entries(destination), 3).await.expect("merges");
        assert_eq!((found.only_source, found.only_destination, found.changed), expected);
        let shown: Vec<String> = found.examples.iter().map(ToString::to_string).collect();
        assert_eq!(shown, examples);
    }

    #[tokio::test]
    async fn equal_sides_have_no_differences() {
        check(&[], &[], (0, 0, 0), &[]).await;
        check(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 2)], (0, 0, 0), &[]).await;
    }

    #[tokio::test]
    async fn finds_missing_added_and_changed_rows() {
        check(
            &[("a", 1), ("b", 2), ("d", 4)],
            &[("b", 3), ("c", 9), ("d", 4), ("e", 5)],
            (1, 2, 1),
            &["(a) only at the source", "(b) changed", "(c) only at the destination"],
        )
        .await;
    }

    #[tokio::test]
    async fn rows_without_key_are_a_multiset() {
        let three = [("x", 7), ("x", 7), ("x", 7)];
        check(&three, &three[..2], (1, 0, 0), &["(x) only at the source"]).await;
        check(&three[..1], &three, (0, 2, 0), &["(x) only at the destination"]).await;
    }

    #[tokio::test]
    async fn a_key_that_is_doubled_on_one_side_is_told_apart() {
        check(&[("a", 1)], &[("a", 1), ("a", 2)], (0, 1, 0), &["(a) only at the destination"])
            .await;
    }

    #[tokio::test]
    async fn examples_are_bounded_and_counts_are_not() {
        let rows: Vec<(String, i64)> = (0..100).map(|n| (format!("{n:03}"), n)).collect();
        let rows: Vec<(&str, i64)> = rows.iter().map(|(key, n)| (key.as_str(), *n)).collect();
        let found = merge(entries(&rows), entries(&[]), 3).await.expect("merges");
        assert_eq!(found.only_source, 100);
        assert_eq!(found.examples.len(), 3);
    }
}
