//! Changes to rows that are known by all their columns only: cut into runs that may go as sets.
//!
//! Pure. The invariant: inside a run no image that is looked for could have been written by the same
//! run, and runs are applied in source order, so that each old image is looked for among exactly the
//! rows the source had.

use std::collections::HashSet;

use bytes::Bytes;
use pgtrail_log::{Change, OldTuple, Tuple};

use crate::statement::Carrier;
use crate::target::Target;
use crate::tuple::{ColumnSet, Formats, complete, unchanged};

/// Neighbouring changes of one kind.
#[derive(Debug)]
pub(crate) struct Run {
    pub kind: RunKind,
    /// Images looked for; empty for inserts.
    pub old: Vec<Tuple>,
    /// Images written; empty for deletes. Unsent values are filled in from the old image.
    pub new: Vec<Tuple>,
    pub carrier: Carrier,
    /// Number of the run's first change among those given.
    pub first: usize,
}

/// What a run does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RunKind {
    Insert,
    Delete,
    /// The columns that were not sent are not set.
    Update {
        unchanged: ColumnSet,
    },
}

/// Cuts changes into runs. `None` when a change lacks its old image.
pub(crate) fn runs<'a>(changes: impl Iterator<Item = &'a Change>) -> Option<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    // What the current run has written.
    let mut written: HashSet<Bytes> = HashSet::new();
    for (number, change) in changes.enumerate() {
        let (kind, old, new) = take_apart(change)?;
        let carrier = carrier_of(old.as_ref(), new.as_ref());
        let joins = runs.last().is_some_and(|run| {
            run.kind == kind
                && run.carrier == carrier
                && carrier != Carrier::Parameters
                && old.as_ref().is_none_or(|old| !written.contains(old.as_bytes()))
        });
        if !joins {
            written.clear();
            runs.push(Run { kind, old: Vec::new(), new: Vec::new(), carrier, first: number });
        }
        if let (Some(_), Some(new)) = (&old, &new) {
            written.insert(new.as_bytes().clone());
        }
        if let Some(run) = runs.last_mut() {
            run.old.extend(old);
            run.new.extend(new);
        }
    }
    Some(runs)
}

type Images = (RunKind, Option<Tuple>, Option<Tuple>);

fn take_apart(change: &Change) -> Option<Images> {
    match change {
        Change::Insert { new, .. } => Some((RunKind::Insert, None, Some(new.clone()))),
        Change::Delete { old, .. } => Some((RunKind::Delete, Some(old.tuple()?.clone()), None)),
        Change::Update { old, new, .. } => {
            let old = old.tuple()?;
            let kind = RunKind::Update { unchanged: unchanged(new) };
            Some((kind, Some(old.clone()), Some(complete(old, new, None))))
        }
        Change::Truncate { .. } | Change::Message { .. } => None,
    }
}

fn carrier_of(old: Option<&Tuple>, new: Option<&Tuple>) -> Carrier {
    let mut formats = Formats::default();
    old.into_iter().chain(new).for_each(|tuple| formats.see(tuple));
    match (formats.is_mixed(), formats.has_text()) {
        (true, _) => Carrier::Parameters,
        (false, true) => Carrier::TextArrays,
        (false, false) => Carrier::RowArray,
    }
}

/// An update of a keyless row that changes a column which only an insert can set, as delete and insert.
pub(crate) fn apart(target: &Target, change: &Change) -> Option<[Change; 2]> {
    let Change::Update { relation, old: OldTuple::Full(old), new } = change else { return None };
    if target.key.is_some() || !target.columns.iter().any(|column| column.identity_always) {
        return None;
    }
    let new = complete(old, new, None);
    let differs = target.columns.iter().zip(old.iter().zip(new.iter()));
    let moves =
        differs.into_iter().any(|(column, (old, new))| column.identity_always && old != new);
    moves.then(|| {
        [
            Change::Delete { relation: *relation, old: OldTuple::Full(old.clone()) },
            Change::Insert { relation: *relation, new },
        ]
    })
}

#[cfg(test)]
mod tests {
    use pgtrail_log::RelationVersionId;

    use super::*;
    use crate::tuple::tests::{binary, text};

    const RELATION: RelationVersionId = RelationVersionId(1);

    fn insert(value: &str) -> Change {
        Change::Insert { relation: RELATION, new: text(&[Some(value), Some("x")]) }
    }

    fn delete(value: &str) -> Change {
        let old = OldTuple::Full(text(&[Some(value), Some("x")]));
        Change::Delete { relation: RELATION, old }
    }

    fn update(from: &str, to: &str) -> Change {
        let old = OldTuple::Full(text(&[Some(from), Some("x")]));
        Change::Update { relation: RELATION, old, new: text(&[Some(to), Some("~")]) }
    }

    fn starts(changes: &[Change]) -> Vec<usize> {
        let runs = runs(changes.iter()).expect("old images are there");
        runs.iter().map(|run| run.first).collect()
    }

    #[test]
    fn neighbours_of_one_kind_share_a_run() {
        let changes =
            [insert("a"), insert("a"), delete("a"), delete("a"), delete("b"), insert("c")];
        assert_eq!(starts(&changes), [0, 2, 5]);
    }

    #[test]
    fn an_image_written_in_the_run_is_not_looked_for_in_it() {
        assert_eq!(starts(&[update("a", "b"), update("c", "d"), update("b", "e")]), [0, 2]);
        assert_eq!(starts(&[update("a", "a"), update("a", "b")]), [0, 1]);
        assert_eq!(starts(&[update("a", "b"), update("a", "c")]), [0], "two equal rows");
    }

    #[test]
    fn mixed_formats_go_alone() {
        let bytes = Change::Insert { relation: RELATION, new: binary(&[Some(b"\x01"), None]) };
        assert_eq!(starts(&[insert("a"), bytes.clone(), bytes]), [0, 1]);
    }

    #[test]
    fn a_key_only_image_names_no_row() {
        let update =
            Change::Update { relation: RELATION, old: OldTuple::Absent, new: text(&[None, None]) };
        assert!(runs([&update].into_iter()).is_none());
    }
}
