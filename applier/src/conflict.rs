//! The one place that decides what happens when a row at the destination does not agree with a change.
//!
//! Detection is the session's: it replays a group row by row and hands over what it saw. The decision
//! is made here, from plain values: stop and tell, or let the source's row win. The invariant: no
//! conflict is passed over; what was not stopped at is counted.

use std::fmt;

use pgtrail_log::Position;

use crate::Error;

/// How a change and the destination's rows disagree, in PostgreSQL's own words (`conflict.h`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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

/// What is done about a kind of conflict, in pglogical's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Stop and tell.
    #[default]
    Error,
    /// The source's row wins: it takes the place of the one in its way, or is added where there is
    /// none.
    ApplyRemote,
}

/// The policies of a destination. Kinds that are not named here are always an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policies {
    /// For inserts that meet a row with the same key.
    pub insert_exists: Policy,
    /// For updates that find no row.
    pub update_missing: Policy,
}

impl Policies {
    /// The policy for a kind.
    pub fn of(&self, kind: ConflictKind) -> Policy {
        match kind {
            ConflictKind::InsertExists => self.insert_exists,
            ConflictKind::UpdateMissing => self.update_missing,
            ConflictKind::UpdateExists
            | ConflictKind::DeleteMissing
            | ConflictKind::MultipleUniqueConflicts => Policy::Error,
        }
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
    /// Why the policy could not be followed, where there is more to say.
    pub obstacle: Option<&'static str>,
}

impl Conflict {
    pub(crate) fn into_error(self) -> Error {
        let Conflict { kind, relation, constraint, position, obstacle } = self;
        Error::Conflict { kind, relation, constraint, position, obstacle }
    }
}

/// What to do about a conflict.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// Stop with this error.
    Halt(Error),
    /// Apply the group once more, and let the source's rows win where the policies say so.
    ApplyRemote,
}

/// Decides. `resolved`: the policies were followed already, and this is what is left.
pub(crate) fn resolve(conflict: Conflict, policies: &Policies, resolved: bool) -> Resolution {
    match policies.of(conflict.kind) {
        Policy::ApplyRemote if !resolved => Resolution::ApplyRemote,
        Policy::ApplyRemote | Policy::Error => Resolution::Halt(conflict.into_error()),
    }
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

    const KINDS: [ConflictKind; 5] = [
        ConflictKind::InsertExists,
        ConflictKind::UpdateExists,
        ConflictKind::UpdateMissing,
        ConflictKind::DeleteMissing,
        ConflictKind::MultipleUniqueConflicts,
    ];

    fn conflict(kind: ConflictKind) -> Conflict {
        let relation = "sales.orders".to_owned();
        Conflict { kind, relation, constraint: None, position: None, obstacle: None }
    }

    #[test]
    fn by_default_every_conflict_halts() {
        for kind in KINDS {
            let found = resolve(conflict(kind), &Policies::default(), false);
            let Resolution::Halt(error) = found else { panic!("{kind} is passed over") };
            assert_eq!(error.to_string(), format!("conflict {kind} on relation sales.orders"));
            assert_eq!(error.code(), Some("PGT-0406"));
        }
    }

    #[test]
    fn the_sources_row_wins_only_where_it_is_said_and_once() {
        let all =
            Policies { insert_exists: Policy::ApplyRemote, update_missing: Policy::ApplyRemote };
        for kind in KINDS {
            let named = matches!(kind, ConflictKind::InsertExists | ConflictKind::UpdateMissing);
            let first = resolve(conflict(kind), &all, false);
            assert_eq!(matches!(first, Resolution::ApplyRemote), named, "{kind}");
            assert!(matches!(resolve(conflict(kind), &all, true), Resolution::Halt(_)), "{kind}");
        }
    }
}
