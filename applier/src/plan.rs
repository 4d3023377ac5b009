//! Turns a part's changes into the statements that apply it.
//!
//! Pure: it needs the targets, no server. Under role replica relations do not see each other (foreign
//! keys rest), so each relation's changes are taken together; a TRUNCATE and a new version of a relation
//! are barriers. The invariant: the steps, run in order, leave what the changes in source order leave,
//! or fail; a step that cannot promise that is not planned as a set.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use pgtrail_log::{Change, CopyFormat, Position, RelationVersionId, Tuple};

use crate::Error;
use crate::fold::fold;
use crate::group::{image_bytes, relations_of};
use crate::keyless::{Run, RunKind, apart, runs};
use crate::statement::{Carrier, Shape, encode, travelling, written};
use crate::target::{Method, Target};
use crate::tuple::{ColumnSet, Formats, unchanged};

/// The targets of a part's relations.
pub(crate) type Targets = HashMap<RelationVersionId, Arc<Target>>;

/// Rows from which COPY's extra round trip pays.
const COPY_FROM_ROWS: usize = 20;

/// Images above this go one by one: a set is held twice more, as parameter and in the socket.
const LARGE_IMAGE: usize = 4 << 20;

/// Whether sets may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Wherever a relation allows it.
    Sets,
    /// Row by row in source order: to find the change that fails, or because foreign keys and
    /// triggers are at work.
    Rows,
    /// Likewise, and one after the other: where the destination's rows disagree, the policies count.
    Resolving,
}

/// One thing to do at the destination.
#[derive(Debug)]
pub(crate) enum Step {
    /// A statement over a set.
    Set(SetStep),
    /// New rows by COPY.
    Copy(CopyStep),
    /// Single-row statements, in order.
    Rows(Vec<RowStep>),
    /// Tables to empty together.
    Truncate { targets: Vec<Arc<Target>>, restart_identity: bool, position: Position },
}

/// A statement over a set.
#[derive(Debug)]
pub(crate) struct SetStep {
    pub target: Arc<Target>,
    pub shape: Shape,
    pub parameters: Vec<Bytes>,
    /// The rows it must touch; anything else means a conflict.
    pub rows: u64,
}

/// New rows by COPY.
#[derive(Debug)]
pub(crate) struct CopyStep {
    pub target: Arc<Target>,
    pub format: CopyFormat,
    pub data: Bytes,
    pub rows: u64,
}

/// A change to apply alone.
#[derive(Debug)]
pub(crate) struct RowStep {
    pub target: Arc<Target>,
    pub position: Position,
    pub change: Change,
}

/// The steps for a part.
pub(crate) fn plan(
    changes: &[(Position, Change)],
    targets: &Targets,
    mode: Mode,
) -> Result<Vec<Step>, Error> {
    let mut planner = Planner { targets, mode, steps: Vec::new(), open: Vec::new() };
    for (position, change) in changes {
        planner.add(*position, change)?;
    }
    planner.close();
    Ok(planner.steps)
}

/// The changes to one relation since the last barrier.
struct Open<'c> {
    id: RelationVersionId,
    target: Arc<Target>,
    changes: Vec<(Position, Cow<'c, Change>)>,
    large: bool,
}

struct Planner<'c> {
    targets: &'c Targets,
    mode: Mode,
    steps: Vec<Step>,
    /// In the order the relations appeared.
    open: Vec<Open<'c>>,
}

impl<'c> Planner<'c> {
    fn add(&mut self, position: Position, change: &'c Change) -> Result<(), Error> {
        let target = |id: &RelationVersionId| {
            let found = self.targets.get(id).cloned();
            found.ok_or_else(|| Error::Bug(format!("relation version {} has no target", id.0)))
        };
        if let Change::Truncate { relations, restart_identity, .. } = change {
            let targets = relations.iter().map(target).collect::<Result<Vec<_>, _>>()?;
            self.close();
            let restart_identity = *restart_identity;
            self.steps.push(Step::Truncate { targets, restart_identity, position });
            return Ok(());
        }
        let Some(id) = relations_of(change).first() else { return Ok(()) };
        let target = target(id)?;
        let change = target.localised(change).map_err(|error| error.at(Some(position)))?;
        if self.mode != Mode::Sets {
            self.push_row(target, position, &change);
            return Ok(());
        }
        let relation = target.source.relation;
        if self.open.iter().any(|open| open.target.source.relation == relation && open.id != *id) {
            self.close();
        }
        let large = image_bytes(&change) > LARGE_IMAGE;
        match self.open.iter_mut().find(|open| open.id == *id) {
            Some(open) => {
                open.large |= large;
                open.changes.push((position, change));
            }
            None => {
                self.open.push(Open { id: *id, target, changes: vec![(position, change)], large });
            }
        }
        Ok(())
    }

    fn push_row(&mut self, target: Arc<Target>, position: Position, change: &Change) {
        if !matches!(self.steps.last(), Some(Step::Rows(_))) {
            self.steps.push(Step::Rows(Vec::new()));
        }
        if let Some(Step::Rows(rows)) = self.steps.last_mut() {
            rows.extend(row_steps(&target, position, change));
        }
    }

    /// A barrier: plans what is open.
    fn close(&mut self) {
        for open in std::mem::take(&mut self.open) {
            let method = if open.large { Method::Rows } else { open.target.next_method() };
            let sets = match method {
                Method::Sets => by_key(&open),
                Method::Keyless => by_text(&open),
                Method::Inserts => only_inserts(&open),
                Method::Rows => None,
            };
            match sets {
                Some(steps) => self.steps.extend(steps),
                None => {
                    let target = &open.target;
                    let rows = open
                        .changes
                        .iter()
                        .flat_map(|(position, change)| row_steps(target, *position, change));
                    self.steps.push(Step::Rows(rows.collect()));
                }
            }
        }
    }
}

fn row_steps(target: &Arc<Target>, position: Position, change: &Change) -> Vec<RowStep> {
    let step = |change| RowStep { target: Arc::clone(target), position, change };
    match apart(target, change) {
        Some(both) => both.map(step).into(),
        None => vec![step(change.clone())],
    }
}

/// Folded by key: removals, then new values, then new rows.
fn by_key(open: &Open<'_>) -> Option<Vec<Step>> {
    if let Some(steps) = only_inserts(open) {
        return Some(steps);
    }
    let target = &open.target;
    let key = &target.key.as_ref()?.columns;
    let folded = fold(key, open.changes.iter().map(|(_, change)| change.as_ref())).ok()?;
    let carrier = carrier(folded.formats);
    let mut steps = Vec::new();
    if !folded.absent.is_empty() {
        let mut step = set_step(target, Shape::FindSet { carrier }, carrier, &folded.absent);
        step.rows = 0;
        steps.push(Step::Set(step));
    }
    if !folded.deletes.is_empty() {
        let step = set_step(target, Shape::DeleteSet { carrier }, carrier, &folded.deletes);
        steps.push(Step::Set(step));
    }
    for (unchanged, rows) in by_unchanged(folded.updates) {
        let shape = Shape::UpdateSet { carrier, unchanged };
        steps.push(Step::Set(set_step(target, shape, carrier, &rows)));
    }
    if !folded.inserts.is_empty() {
        steps.push(insert_step(target, carrier, &folded.inserts));
    }
    Some(steps)
}

/// New rows need no key.
fn only_inserts(open: &Open<'_>) -> Option<Vec<Step>> {
    let mut formats = Formats::default();
    let mut rows = Vec::with_capacity(open.changes.len());
    for (_, change) in &open.changes {
        let Change::Insert { new, .. } = change.as_ref() else { return None };
        formats.see(new);
        rows.push(new.clone());
    }
    (!formats.is_mixed()).then(|| vec![insert_step(&open.target, carrier(formats), &rows)])
}

/// In runs of equal kind.
fn by_text(open: &Open<'_>) -> Option<Vec<Step>> {
    let target = &open.target;
    let changes = open.changes.iter().map(|(_, change)| change.as_ref());
    if changes.clone().any(|change| apart(target, change).is_some()) {
        return None;
    }
    let mut steps = Vec::new();
    for run in runs(changes)? {
        steps.push(run_step(open, &run)?);
    }
    Some(steps)
}

fn run_step(open: &Open<'_>, run: &Run) -> Option<Step> {
    let target = &open.target;
    let carrier = run.carrier;
    if carrier == Carrier::Parameters {
        let (position, change) = open.changes.get(run.first)?;
        return Some(Step::Rows(row_steps(target, *position, change)));
    }
    let as_source = ColumnSet::default();
    let shape = match &run.kind {
        RunKind::Insert => return Some(insert_step(target, carrier, &run.new)),
        RunKind::Delete => Shape::KeylessDelete { carrier, as_source },
        RunKind::Update { unchanged } => {
            Shape::KeylessUpdate { carrier, unchanged: unchanged.clone(), as_source }
        }
    };
    let mut step = set_step(target, shape, carrier, &run.old);
    if matches!(run.kind, RunKind::Update { .. }) {
        let columns = travelling(target, &step.shape);
        step.parameters.extend(encode::set(target, carrier, &columns, &run.new));
    }
    Some(Step::Set(step))
}

/// Rows with the same columns unsent share a statement.
fn by_unchanged(rows: Vec<Tuple>) -> Vec<(ColumnSet, Vec<Tuple>)> {
    let mut found: Vec<(ColumnSet, Vec<Tuple>)> = Vec::new();
    for row in rows {
        let unchanged = unchanged(&row);
        match found.iter_mut().find(|(set, _)| *set == unchanged) {
            Some((_, rows)) => rows.push(row),
            None => found.push((unchanged, vec![row])),
        }
    }
    found
}

fn carrier(formats: Formats) -> Carrier {
    if formats.has_text() { Carrier::TextArrays } else { Carrier::RowArray }
}

fn set_step(target: &Arc<Target>, shape: Shape, carrier: Carrier, rows: &[Tuple]) -> SetStep {
    let columns = travelling(target, &shape);
    SetStep {
        parameters: encode::set(target, carrier, &columns, rows),
        target: Arc::clone(target),
        shape,
        rows: rows.len() as u64,
    }
}

fn insert_step(target: &Arc<Target>, carrier: Carrier, rows: &[Tuple]) -> Step {
    if rows.len() < COPY_FROM_ROWS {
        return Step::Set(set_step(target, Shape::InsertSet { carrier }, carrier, rows));
    }
    let format = match carrier {
        Carrier::RowArray => CopyFormat::Binary,
        Carrier::TextArrays | Carrier::Parameters => CopyFormat::Text,
    };
    let columns: Vec<usize> = written(target).map(|(number, _)| number).collect();
    Step::Copy(CopyStep {
        target: Arc::clone(target),
        format,
        data: encode::copy(&columns, format, rows),
        rows: rows.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use pgtrail_log::{Epoch, Lsn, OldTuple};

    use super::*;
    use crate::statement::tests::target;
    use crate::tuple::tests::text;

    const RELATION: RelationVersionId = RelationVersionId(7);

    fn targets(target: Target) -> Targets {
        HashMap::from([(RELATION, Arc::new(target))])
    }

    fn insert(id: usize) -> Change {
        Change::Insert { relation: RELATION, new: text(&[Some(&id.to_string()), Some("x")]) }
    }

    fn update(id: &str, note: &str) -> Change {
        let new = text(&[Some(id), Some(note)]);
        Change::Update { relation: RELATION, old: OldTuple::Absent, new }
    }

    fn truncate() -> Change {
        Change::Truncate { relations: vec![RELATION], cascade: true, restart_identity: false }
    }

    fn planned(target: Target, changes: Vec<Change>, mode: Mode) -> Vec<String> {
        let place = Position::of_transaction(Epoch::FIRST, Lsn::new(8));
        let changes: Vec<_> = changes.into_iter().map(|change| (place, change)).collect();
        let steps = plan(&changes, &targets(target), mode).expect("a plan");
        steps.iter().map(describe).collect()
    }

    fn describe(step: &Step) -> String {
        match step {
            Step::Set(set) => {
                let shape = format!("{:?}", set.shape);
                let name = shape.split_whitespace().next().unwrap_or_default();
                format!("{name} {}", set.rows)
            }
            Step::Copy(copy) => format!("Copy {}", copy.rows),
            Step::Rows(rows) => format!("Rows {}", rows.len()),
            Step::Truncate { targets, .. } => format!("Truncate {}", targets.len()),
        }
    }

    #[test]
    fn many_new_rows_are_copied_few_are_inserted() {
        assert_eq!(planned(target(), (0..20).map(insert).collect(), Mode::Sets), ["Copy 20"]);
        assert_eq!(planned(target(), (0..19).map(insert).collect(), Mode::Sets), ["InsertSet 19"]);
    }

    #[test]
    fn changes_to_a_row_fold_into_one() {
        let changes = vec![update("1", "a"), update("1", "b"), update("2", "~"), insert(3)];
        let steps = planned(target(), changes, Mode::Sets);
        assert_eq!(steps, ["UpdateSet 1", "UpdateSet 1", "InsertSet 1"]);
    }

    #[test]
    fn a_truncate_is_a_barrier() {
        let changes = vec![insert(1), truncate(), insert(1)];
        let steps = planned(target(), changes, Mode::Sets);
        assert_eq!(steps, ["InsertSet 1", "Truncate 1", "InsertSet 1"]);
    }

    #[test]
    fn what_cannot_fold_goes_row_by_row() {
        let steps = planned(target(), vec![update("1", "a"), insert(1)], Mode::Sets);
        assert_eq!(steps, ["Rows 2"]);
    }

    #[test]
    fn row_mode_keeps_source_order() {
        let changes = vec![insert(1), insert(2), truncate(), insert(3)];
        assert_eq!(planned(target(), changes, Mode::Rows), ["Rows 2", "Truncate 1", "Rows 1"]);
    }

    #[test]
    fn e7_keys_that_are_not_bytes_are_not_folded() {
        let mut target = target();
        if let Some(key) = &mut target.key {
            key.bytewise = false;
        }
        assert_eq!(
            planned(target, vec![update("1", "a"), update("1", "b")], Mode::Sets),
            ["Rows 2"]
        );
    }

    #[test]
    fn a_row_that_came_and_went_must_not_be_there() {
        let delete =
            Change::Delete { relation: RELATION, old: OldTuple::Key(text(&[Some("1"), None])) };
        assert_eq!(planned(target(), vec![insert(1), delete], Mode::Sets), ["FindSet 0"]);
    }

    #[test]
    fn large_rows_go_alone() {
        let steps = planned(target(), vec![update("1", &"x".repeat(LARGE_IMAGE + 1))], Mode::Sets);
        assert_eq!(steps, ["Rows 1"]);
    }
}
