use std::collections::BTreeMap;

use pgtrail_log::{Datum, RelationVersionId};
use proptest::prelude::*;

use super::*;
use crate::tuple::tests::text;

const RELATION: RelationVersionId = RelationVersionId(1);

fn insert(id: &str, value: &str) -> Change {
    Change::Insert { relation: RELATION, new: text(&[Some(id), Some(value), Some("long")]) }
}

/// An update that leaves the last column's TOAST value alone.
fn update(id: &str, value: &str) -> Change {
    let new = text(&[Some(id), Some(value), Some("~")]);
    Change::Update { relation: RELATION, old: OldTuple::Absent, new }
}

fn delete(id: &str) -> Change {
    Change::Delete { relation: RELATION, old: OldTuple::Key(text(&[Some(id), None, None])) }
}

fn folded(changes: &[Change]) -> Result<Folded, Unfoldable> {
    fold(&[0], changes.iter())
}

fn counts(changes: &[Change]) -> Result<[usize; 4], Unfoldable> {
    let folded = folded(changes)?;
    let lists = [&folded.deletes, &folded.updates, &folded.inserts, &folded.absent];
    Ok(lists.map(Vec::len))
}

#[test]
fn a_row_that_came_and_went_is_only_looked_for() {
    assert_eq!(counts(&[insert("1", "a"), delete("1")]), Ok([0, 0, 0, 1]));
    assert_eq!(counts(&[insert("1", "a"), delete("1"), insert("1", "b")]), Ok([0, 0, 1, 0]));
}

#[test]
fn a_row_that_went_and_came_is_updated() {
    let done = folded(&[delete("1"), insert("1", "b"), update("1", "c")]).expect("foldable");
    assert_eq!(done.updates, [text(&[Some("1"), Some("c"), Some("long")])]);
    assert!(done.deletes.is_empty() && done.inserts.is_empty());
}

#[test]
fn an_unchanged_value_stays_unknown_until_it_is_sent() {
    let full = Change::Update {
        relation: RELATION,
        old: OldTuple::Absent,
        new: text(&[Some("1"), Some("b"), Some("sent")]),
    };
    let done = folded(&[update("1", "a"), full, update("1", "c")]).expect("foldable");
    assert_eq!(done.updates, [text(&[Some("1"), Some("c"), Some("sent")])]);
    let done = folded(&[update("1", "a"), update("1", "b")]).expect("foldable");
    assert_eq!(done.updates, [text(&[Some("1"), Some("b"), Some("~")])]);
}

#[test]
fn what_does_not_follow_goes_row_by_row() {
    for changes in [
        vec![insert("1", "a"), insert("1", "b")],
        vec![delete("1"), delete("1")],
        vec![delete("1"), update("1", "a")],
        vec![update("1", "a"), insert("1", "b")],
    ] {
        assert_eq!(counts(&changes), Err(Unfoldable::Inconsistent));
    }
}

#[test]
fn a_moved_key_goes_row_by_row() {
    let moved = Change::Update {
        relation: RELATION,
        old: OldTuple::Key(text(&[Some("1"), None, None])),
        new: text(&[Some("2"), Some("a"), Some("~")]),
    };
    assert_eq!(counts(&[moved]), Err(Unfoldable::KeyMoved));
    let toasted_key = Change::Update {
        relation: RELATION,
        old: OldTuple::Key(text(&[Some("1"), None, None])),
        new: text(&[Some("~"), Some("a"), Some("~")]),
    };
    assert_eq!(counts(&[toasted_key]), Ok([0, 1, 0, 0]), "the key is in the old image");
}

#[test]
fn keys_come_out_in_order() {
    let done = folded(&[update("10", "a"), update("9", "a"), update("2", "a")]).expect("foldable");
    let ids: Vec<_> = done.updates.iter().map(|row| row.iter().next()).collect();
    let wanted: Vec<_> = ["2", "9", "10"].map(|id| Some(Datum::Text(id.as_bytes()))).into();
    assert_eq!(ids, wanted);
}

/// A table under the row-by-row rules of the server.
#[derive(Clone, PartialEq, Debug, Default)]
struct Model(BTreeMap<Vec<u8>, Tuple>);

impl Model {
    fn key(tuple: &Tuple) -> Vec<u8> {
        key_bytes(tuple, &[0], &mut Vec::new()).expect("a key").to_vec()
    }

    fn insert(&mut self, row: &Tuple) -> Result<(), &'static str> {
        match self.0.insert(Model::key(row), row.clone()) {
            None => Ok(()),
            Some(_) => Err("insert_exists"),
        }
    }

    fn update(&mut self, row: &Tuple) -> Result<(), &'static str> {
        let there = self.0.get_mut(&Model::key(row)).ok_or("update_missing")?;
        *there = complete(there, row, None);
        Ok(())
    }

    fn delete(&mut self, row: &Tuple) -> Result<(), &'static str> {
        self.0.remove(&Model::key(row)).map(|_| ()).ok_or("delete_missing")
    }

    fn one_by_one(mut self, changes: &[Change]) -> Result<Model, &'static str> {
        for change in changes {
            match change {
                Change::Insert { new, .. } => self.insert(new)?,
                Change::Update { new, .. } => self.update(new)?,
                Change::Delete { old, .. } => self.delete(old.tuple().expect("an image"))?,
                Change::Truncate { .. } | Change::Message { .. } => unreachable!("not generated"),
            }
        }
        Ok(self)
    }

    fn by_set(mut self, folded: &Folded) -> Result<Model, &'static str> {
        if folded.absent.iter().any(|row| self.0.contains_key(&Model::key(row))) {
            return Err("insert_exists");
        }
        folded.deletes.iter().try_for_each(|row| self.delete(row))?;
        folded.updates.iter().try_for_each(|row| self.update(row))?;
        folded.inserts.iter().try_for_each(|row| self.insert(row))?;
        Ok(self)
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let id = (0..6_u8).prop_map(|id| id.to_string());
    (id, 0..3_u8, "[a-z]{1,3}").prop_map(|(id, kind, value)| match kind {
        0 => insert(&id, &value),
        1 => update(&id, &value),
        _ => delete(&id),
    })
}

proptest! {
    /// Either both ways end with the same rows, or both meet a conflict, or folding refuses.
    #[test]
    fn folding_changes_nothing(
        there in proptest::collection::btree_set(0..6_u8, 0..6),
        changes in proptest::collection::vec(any_change(), 0..24),
    ) {
        let mut start = Model::default();
        for id in there {
            let row = text(&[Some(&id.to_string()), Some("old"), Some("old long")]);
            start.insert(&row).expect("distinct");
        }
        let one_by_one = start.clone().one_by_one(&changes);
        match folded(&changes) {
            Ok(folded) => {
                let as_set = start.by_set(&folded);
                prop_assert_eq!(one_by_one.is_ok(), as_set.is_ok());
                if let (Ok(one_by_one), Ok(as_set)) = (one_by_one, as_set) {
                    prop_assert_eq!(one_by_one, as_set);
                }
            }
            Err(_) => prop_assert!(one_by_one.is_err(), "only conflicts are refused here"),
        }
    }
}
