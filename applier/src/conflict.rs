//! The one place that decides what happens when a row at the destination does not agree with a change.
//!
//! Detection is the session's: it replays a group row by row and hands over what it saw. The decision
//! is made here, from plain values. Today there is one: stop and tell. The invariant: no conflict is
//! passed over.

use std::fmt;

use pgtrail_log::Position;

use crate::Error;

/// How a change and the destination's rows disagree, in PostgreSQL's own words (`conflict.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ConflictKind {
    /// An insert meets a row with the same unique values.
    InsertExists,
    /// An update leads to unique values that another row has.
    UpdateExists,
    /// An update finds no row.
    UpdateMissing,
    /// A delete finds no row.
    DeleteMissing,
    /// A change finds more than one row where its key should name one.
    MultipleUniqueConflicts,
}

impl ConflictKind {
    /// The name, as in PostgreSQL's log messages and statistics.
    pub fn as_str(self) -> &'static str {
        match self {
            ConflictKind::InsertExists => "insert_exists",
            ConflictKind::UpdateExists => "update_exists",
            ConflictKind::UpdateMissing => "update_missing",
            ConflictKind::DeleteMissing => "delete_missing",
            ConflictKind::MultipleUniqueConflicts => "multiple_unique_conflicts",
        }
    }

    pub(crate) fn hint(self) -> &'static str {
        match self {
            ConflictKind::InsertExists | ConflictKind::UpdateExists => {
                "Another session wrote the row at the destination. \"pgtrail log dump\" shows the \
                 change at this position; remove or change the row in its way and start again."
            }
            ConflictKind::UpdateMissing | ConflictKind::DeleteMissing => {
                "The row was removed or changed at the destination. \"pgtrail log dump\" shows the \
                 change at this position; put the row back and start again."
            }
            ConflictKind::MultipleUniqueConflicts => {
                "The destination has several rows for one key. Give the table the source's unique \
                 index, remove the surplus rows and start again."
            }
        }
    }
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A disagreement as the session saw it. It holds names and places, never values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Conflict {
    pub kind: ConflictKind,
    /// The relation at the destination.
    pub relation: String,
    /// The constraint that was violated, where the server named one.
    pub constraint: Option<String>,
    /// The change.
    pub position: Option<Position>,
}

/// What to do about a conflict.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// Stop with this error.
    Halt(Error),
}

/// Decides.
pub(crate) fn resolve(conflict: Conflict) -> Resolution {
    let Conflict { kind, relation, constraint, position } = conflict;
    Resolution::Halt(Error::Conflict { kind, relation, constraint, position })
}

/// What a row operation was meant to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Intent {
    Insert,
    Update,
    Delete,
}

/// The conflict behind the number of rows a single-row statement touched; `None` when it is right.
pub(crate) fn judge_count(intent: Intent, rows: u64) -> Option<ConflictKind> {
    match (intent, rows) {
        (_, 1) => None,
        (Intent::Insert, 0) => Some(ConflictKind::InsertExists),
        (Intent::Update, 0) => Some(ConflictKind::UpdateMissing),
        (Intent::Delete, 0) => Some(ConflictKind::DeleteMissing),
        (_, _) => Some(ConflictKind::MultipleUniqueConflicts),
    }
}

/// The conflict behind an error of a single-row statement; `None` when it is something else.
pub(crate) fn judge_sqlstate(intent: Intent, sqlstate: &str) -> Option<ConflictKind> {
    let unique_or_exclusion = matches!(sqlstate, "23505" | "23P01");
    match intent {
        Intent::Insert if unique_or_exclusion => Some(ConflictKind::InsertExists),
        Intent::Update if unique_or_exclusion => Some(ConflictKind::UpdateExists),
        Intent::Insert | Intent::Update | Intent::Delete => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_is_no_conflict() {
        for intent in [Intent::Insert, Intent::Update, Intent::Delete] {
            assert_eq!(judge_count(intent, 1), None);
        }
    }

    #[test]
    fn missing_and_surplus_rows_have_names() {
        assert_eq!(judge_count(Intent::Update, 0), Some(ConflictKind::UpdateMissing));
        assert_eq!(judge_count(Intent::Delete, 0), Some(ConflictKind::DeleteMissing));
        assert_eq!(judge_count(Intent::Delete, 2), Some(ConflictKind::MultipleUniqueConflicts));
    }

    #[test]
    fn only_uniqueness_and_exclusion_are_conflicts() {
        assert_eq!(judge_sqlstate(Intent::Insert, "23505"), Some(ConflictKind::InsertExists));
        assert_eq!(judge_sqlstate(Intent::Update, "23P01"), Some(ConflictKind::UpdateExists));
        assert_eq!(judge_sqlstate(Intent::Update, "23514"), None, "a check constraint");
        assert_eq!(judge_sqlstate(Intent::Delete, "23503"), None, "a foreign key");
    }

    #[test]
    fn every_conflict_halts() {
        let conflict = Conflict {
            kind: ConflictKind::DeleteMissing,
            relation: "sales.orders".to_owned(),
            constraint: None,
            position: None,
        };
        let Resolution::Halt(error) = resolve(conflict);
        assert_eq!(error.to_string(), "conflict delete_missing on relation sales.orders");
        assert_eq!(error.code(), Some("PGT-0406"));
    }
}
