//! Lets the source's row win where the destination's disagrees and the policy says so.
//!
//! Owns no transaction: it runs inside the replay of a group, each change by itself and waited for. The
//! invariants: a row is written only as the source sent it, whole; and what was resolved is counted
//! when it is committed, never before.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use pgtrail_log::{Change, Datum, OldTuple, Tuple};

use super::Applying;
use super::judge::{Failure, conflict, judge_row};
use crate::conflict::{Conflict, ConflictKind, Intent, Policy};
use crate::plan::RowStep;
use crate::statement::{RowStatement, compile};
use crate::status::ApplierStatus;
use crate::target::Target;
use crate::tuple::complete;

/// How often the conflicts of one table are told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why an update that finds no row cannot become an insert.
const NOT_WHOLE: &str = "update_missing = \"apply_remote\" inserts the row as the source has it, but this update does not \
     hold a large value that it left unchanged.";

/// How many conflicts in which the source's row won, by relation and kind: a few numbers, however
/// large the transaction.
#[derive(Debug, Default)]
pub(super) struct Resolved(BTreeMap<(String, ConflictKind), u64>);

impl Resolved {
    fn note(&mut self, relation: String, kind: ConflictKind) {
        *self.0.entry((relation, kind)).or_default() += 1;
    }

    /// Those of a part that is done.
    pub(super) fn add(&mut self, more: Resolved) {
        for (key, count) in more.0 {
            *self.0.entry(key).or_default() += count;
        }
    }
}

impl Applying {
    /// Applies one change; where the destination's rows disagree, by the policies.
    pub(super) async fn resolve_row(
        &mut self,
        row: &RowStep,
        statement: RowStatement,
    ) -> Result<(), Failure> {
        let wins = |kind| self.policies.of(kind) == Policy::ApplyRemote;
        match &row.change {
            Change::Insert { relation, new }
                if wins(ConflictKind::InsertExists) && has_unique_key(&row.target) =>
            {
                let (relation, new) = (*relation, new.clone());
                let over = Change::Update { relation, old: OldTuple::Absent, new };
                let update = compile(&row.target, &over);
                if let Some(update) = update
                    && self.overwrite(row, update).await?
                {
                    self.note_resolved(ConflictKind::InsertExists, row);
                    return Ok(());
                }
                self.run_row(row, statement).await
            }
            Change::Update { .. } if wins(ConflictKind::UpdateMissing) => {
                match self.run_row(row, statement).await {
                    Err(Failure::Conflict(missing))
                        if missing.kind == ConflictKind::UpdateMissing =>
                    {
                        self.add_missing(row, missing).await
                    }
                    other => other,
                }
            }
            _ => self.run_row(row, statement).await,
        }
    }

    /// Gives the row with the insert's key the insert's values. False: there is no such row.
    async fn overwrite(
        &mut self,
        row: &RowStep,
        mut update: RowStatement,
    ) -> Result<bool, Failure> {
        let target = &row.target;
        // What it runs into is in the way of an insert.
        update.intent = Intent::Insert;
        let touched = self.execute_row(row, &update).await?;
        let may_be_there = target.has_identity_beside_key() || target.may_suppress();
        match touched {
            1 => return Ok(true),
            0 if !may_be_there => return Ok(false),
            0 => {}
            _ => {
                let kind = ConflictKind::MultipleUniqueConflicts;
                return Err(conflict(target, row.position, kind, None));
            }
        }
        if self.execute_row(row, &update.find(target)).await? == 0 {
            return Ok(false);
        }
        if target.has_identity_beside_key() {
            let replaced = self.execute_row(row, &update.replacement(target)).await?;
            judge_row(target, row.position, Intent::Update, replaced)?;
        }
        // Else a trigger or rule left the update out.
        Ok(true)
    }

    /// Adds the row that an update did not find.
    async fn add_missing(&mut self, row: &RowStep, missing: Conflict) -> Result<(), Failure> {
        let unresolved = |obstacle| {
            Err(Failure::Conflict(Conflict { obstacle: Some(obstacle), ..missing.clone() }))
        };
        let Change::Update { relation, .. } = &row.change else { return Ok(()) };
        let Some(new) = whole_image(&row.change) else { return unresolved(NOT_WHOLE) };
        let insert = Change::Insert { relation: *relation, new };
        let Some(mut insert) = compile(&row.target, &insert) else {
            return unresolved(NOT_WHOLE);
        };
        // What it runs into is in the way of an update.
        insert.intent = Intent::Update;
        let added = self.execute_row(row, &insert).await?;
        if added != 1 && !row.target.may_suppress() {
            return Err(Failure::Conflict(missing));
        }
        self.note_resolved(ConflictKind::UpdateMissing, row);
        Ok(())
    }

    fn note_resolved(&mut self, kind: ConflictKind, row: &RowStep) {
        self.transaction.resolved_in_part.note(row.target.relation(), kind);
    }
}

/// Only then is the row with the same key the one that an insert violates.
fn has_unique_key(target: &Target) -> bool {
    target.key.as_ref().is_some_and(|key| key.unique)
}

/// The new row, if all of it is known.
fn whole_image(change: &Change) -> Option<Tuple> {
    let Change::Update { old, new, .. } = change else { return None };
    let whole = match old {
        OldTuple::Full(old) => complete(old, new, None),
        OldTuple::Key(_) | OldTuple::Absent => new.clone(),
    };
    (!whole.iter().any(|datum| datum == Datum::Unchanged)).then_some(whole)
}

/// What was told of resolved conflicts, table by table.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<(String, ConflictKind), Telling>);

#[derive(Debug)]
struct Telling {
    at: Instant,
    untold: u64,
}

impl Told {
    /// Counts what was committed, and tells of each table at most once in [`TELL_EVERY`].
    pub(super) fn tell(&mut self, status: &ApplierStatus, resolved: Resolved) {
        for ((relation, kind), count) in resolved.0 {
            status.resolved(kind, count);
            let now = Instant::now();
            let known = self.0.get_mut(&(relation.clone(), kind));
            if let Some(telling) = known {
                telling.untold += count;
                if telling.at.elapsed() < TELL_EVERY {
                    continue;
                }
                let count = std::mem::take(&mut telling.untold);
                telling.at = now;
                tracing::info!(relation, %kind, count, "conflicts: the source's rows won");
            } else {
                tracing::info!(relation, %kind, count, "conflicts: the source's rows won");
                self.0.insert((relation, kind), Telling { at: now, untold: 0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pgtrail_log::RelationVersionId;

    use super::*;
    use crate::tuple::tests::text;

    fn update(old: OldTuple, new: &[Option<&str>]) -> Change {
        Change::Update { relation: RelationVersionId(1), old, new: text(new) }
    }

    #[test]
    fn only_a_whole_row_is_added() {
        let whole = |old, new: &[Option<&str>]| whole_image(&update(old, new));
        assert!(whole(OldTuple::Absent, &[Some("1"), None]).is_some());
        assert_eq!(whole(OldTuple::Absent, &[Some("1"), Some("~")]), None);
        let key = OldTuple::Key(text(&[Some("0"), None]));
        assert_eq!(whole(key, &[Some("1"), Some("~")]), None, "null there is not sent");
        let full = OldTuple::Full(text(&[Some("0"), Some("long")]));
        assert_eq!(whole(full, &[Some("1"), Some("~")]), Some(text(&[Some("1"), Some("long")])));
    }
}
