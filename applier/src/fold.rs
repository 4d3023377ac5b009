//! Folds the changes a group makes to one relation into one change a row.
//!
//! Pure: tuples in, tuples out. It is right only when the group commits as a whole, keys are equal
//! exactly when their bytes are, and no row changes its key; whoever calls makes sure of the first two,
//! and folding itself gives up on the third. The invariant: applying the outcome (deletes, then
//! updates, then inserts) leaves the rows that applying the changes one by one would leave, and
//! touches a missing or surplus row exactly when they would.

use std::collections::HashMap;

use pgtrail_log::{Change, OldTuple, Tuple};

use crate::tuple::{Formats, complete, key_bytes};

/// What is left to do for one relation, each list in key order.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    /// Rows to remove; the images carry at least the key.
    pub deletes: Vec<Tuple>,
    /// Rows to change.
    pub updates: Vec<Tuple>,
    /// Rows to add.
    pub inserts: Vec<Tuple>,
    /// Rows that came and went inside the group: none with this key may be there.
    pub absent: Vec<Tuple>,
    /// The formats of all the values above.
    pub formats: Formats,
}

/// Why changes cannot be folded and must go one by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unfoldable {
    /// A row changes its key.
    KeyMoved,
    /// A key is null or was not sent.
    NoKey,
    /// Text and binary values of one key cannot be compared.
    MixedFormats,
    /// Two changes to one row do not follow from each other: only row by row is it seen which is wrong.
    Inconsistent,
}

/// What the changes so far come to, for one key.
enum State {
    Insert(Tuple),
    Update(Tuple),
    Delete(Tuple),
    /// Deleted, then inserted again: the row is there and gets new values.
    Replace(Tuple),
    /// Inserted, then deleted again: the row must not be there.
    Vanish(Tuple),
}

/// Folds changes to one relation whose key is the columns `key` (ascending).
pub(crate) fn fold<'a>(
    key: &[usize],
    changes: impl Iterator<Item = &'a Change>,
) -> Result<Folded, Unfoldable> {
    let mut states: HashMap<Box<[u8]>, State> = HashMap::new();
    let mut formats = Formats::default();
    let mut scratch = Vec::new();
    for change in changes {
        let next = Step::of(key, change)?;
        formats.see(next.tuple());
        let bytes = key_bytes(next.tuple(), key, &mut scratch).ok_or(Unfoldable::NoKey)?;
        if let Some(state) = states.get_mut(bytes) {
            state.advance(next)?;
        } else {
            states.insert(bytes.into(), next.first());
        }
    }
    if formats.is_mixed() {
        return Err(Unfoldable::MixedFormats);
    }
    Ok(in_key_order(states, formats))
}

fn in_key_order(states: HashMap<Box<[u8]>, State>, formats: Formats) -> Folded {
    let mut states: Vec<_> = states.into_iter().collect();
    // The server walks its index once instead of jumping about in it. Lengths lead the bytes of a
    // key, so that numbers sent as text sort as numbers.
    states.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let mut folded = Folded { formats, ..Folded::default() };
    for (_, state) in states {
        match state {
            State::Insert(row) => folded.inserts.push(row),
            State::Update(row) | State::Replace(row) => folded.updates.push(row),
            State::Delete(row) => folded.deletes.push(row),
            State::Vanish(row) => folded.absent.push(row),
        }
    }
    folded
}

/// One change, its key completed.
enum Step {
    Insert(Tuple),
    Update(Tuple),
    Delete(Tuple),
}

impl Step {
    fn of(key: &[usize], change: &Change) -> Result<Step, Unfoldable> {
        match change {
            Change::Insert { new, .. } => Ok(Step::Insert(new.clone())),
            Change::Delete { old, .. } => {
                old.tuple().cloned().map(Step::Delete).ok_or(Unfoldable::NoKey)
            }
            Change::Update { old, new, .. } => Ok(Step::Update(keyed(key, old, new)?)),
            Change::Truncate { .. } | Change::Message { .. } => Err(Unfoldable::Inconsistent),
        }
    }

    fn tuple(&self) -> &Tuple {
        match self {
            Step::Insert(tuple) | Step::Update(tuple) | Step::Delete(tuple) => tuple,
        }
    }

    fn first(self) -> State {
        match self {
            Step::Insert(new) => State::Insert(new),
            Step::Update(new) => State::Update(new),
            Step::Delete(old) => State::Delete(old),
        }
    }
}

/// The new image with its key in it, if the key is the old one.
fn keyed(key: &[usize], old: &OldTuple, new: &Tuple) -> Result<Tuple, Unfoldable> {
    let Some(image) = old.tuple() else { return Ok(new.clone()) };
    let new = complete(image, new, Some(key));
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let before = key_bytes(image, key, &mut before).ok_or(Unfoldable::NoKey)?;
    let after = key_bytes(&new, key, &mut after).ok_or(Unfoldable::NoKey)?;
    if before == after { Ok(new) } else { Err(Unfoldable::KeyMoved) }
}

impl State {
    fn advance(&mut self, next: Step) -> Result<(), Unfoldable> {
        *self = match (&*self, next) {
            (State::Insert(row), Step::Update(new)) => State::Insert(complete(row, &new, None)),
            (State::Insert(_), Step::Delete(old)) => State::Vanish(old),
            (State::Update(row), Step::Update(new)) => State::Update(complete(row, &new, None)),
            (State::Update(_) | State::Replace(_), Step::Delete(old)) => State::Delete(old),
            (State::Delete(_), Step::Insert(new)) => State::Replace(new),
            (State::Replace(row), Step::Update(new)) => State::Replace(complete(row, &new, None)),
            (State::Vanish(_), Step::Insert(new)) => State::Insert(new),
            (State::Insert(_) | State::Update(_) | State::Replace(_), Step::Insert(_))
            | (State::Delete(_) | State::Vanish(_), Step::Update(_) | Step::Delete(_)) => {
                return Err(Unfoldable::Inconsistent);
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
