//! What an answer from the destination means.

use std::sync::Arc;

use pgtrail_log::Position;

use crate::Error;
use crate::conflict::{Conflict, ConflictKind, Intent, judge_count, judge_sqlstate};
use crate::target::Target;

/// Why a try at a part failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A set met a row it did not expect: row by row it will be seen which.
    Replay(Option<Arc<Target>>),
    /// The statement does not fit the table any more. `error` is what to say if it never will.
    Stale { error: Error },
    /// The destination's rows do not agree with a change; nothing is decided yet.
    Conflict(Conflict),
    /// Nothing that another way of applying could change.
    Fatal(Error),
}

impl Failure {
    pub(super) fn at(self, position: Option<Position>) -> Failure {
        match self {
            Failure::Replay(target) => Failure::Replay(target),
            Failure::Stale { error } => Failure::Stale { error: error.at(position) },
            Failure::Conflict(conflict) => {
                let position = conflict.position.or(position);
                Failure::Conflict(Conflict { position, ..conflict })
            }
            Failure::Fatal(error) => Failure::Fatal(error.at(position)),
        }
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Failure::Replay(_) => Error::Bug("a statement outside a part failed".to_owned()),
            Failure::Conflict(conflict) => conflict.into_error(),
            Failure::Stale { error } | Failure::Fatal(error) => error,
        }
    }
}

/// An error that a statement over `target` met, nothing being decided yet.
pub(super) fn judge_error(target: &Arc<Target>, error: tokio_postgres::Error) -> Failure {
    let error = pgtrail_postgres::Error::from(error);
    match error.sqlstate().map(kind_of) {
        Some(Kind::Row) => Failure::Replay(Some(Arc::clone(target))),
        Some(Kind::Schema) => Failure::Stale { error: rejected(target, None, &error) },
        Some(Kind::Other) | None => Failure::Fatal(error.into()),
    }
}

/// An error that the statement for one row met, in source order.
pub(super) fn judge_row_error(
    target: &Arc<Target>,
    position: Position,
    intent: Intent,
    error: tokio_postgres::Error,
) -> Failure {
    let error = pgtrail_postgres::Error::from(error);
    let Some(sqlstate) = error.sqlstate() else { return Failure::Fatal(error.into()) };
    if let Some(kind) = judge_sqlstate(intent, sqlstate) {
        let constraint = error.server().and_then(|server| server.constraint.clone());
        return conflict(target, position, kind, constraint);
    }
    match kind_of(sqlstate) {
        Kind::Row => Failure::Fatal(rejected(target, Some(position), &error)),
        Kind::Schema => Failure::Stale { error: rejected(target, Some(position), &error) },
        Kind::Other => Failure::Fatal(error.into()),
    }
}

/// The number of rows that the statement for one row touched, in source order.
pub(super) fn judge_row(
    target: &Arc<Target>,
    position: Position,
    intent: Intent,
    touched: u64,
) -> Result<(), Failure> {
    match judge_count(intent, touched) {
        None => Ok(()),
        Some(kind) => Err(conflict(target, position, kind, None)),
    }
}

/// Values that a deferrable constraint forbids. They are seen at the end of a group, where it is too
/// late for a policy.
pub(super) fn collided(
    target: &Target,
    position: Position,
    intent: Intent,
    constraint: Option<String>,
) -> Error {
    let kind = match intent {
        Intent::Insert => ConflictKind::InsertExists,
        Intent::Update | Intent::Delete => ConflictKind::UpdateExists,
    };
    conflict(target, position, kind, constraint).into_error()
}

/// An error that a TRUNCATE met.
pub(super) fn judge_truncate(
    targets: &[Arc<Target>],
    position: Position,
    error: tokio_postgres::Error,
) -> Failure {
    let error = pgtrail_postgres::Error::from(error);
    let Some(target) = targets.first() else { return Failure::Fatal(error.into()) };
    let names = targets.iter().map(|target| target.relation()).collect::<Vec<_>>().join(", ");
    match error.sqlstate() {
        // "cannot truncate a table referenced in a foreign key constraint"
        Some("0A000") => {
            Failure::Fatal(Error::TruncateReferenced { relation: names, position: Some(position) })
        }
        Some(sqlstate) if kind_of(sqlstate) != Kind::Other => {
            Failure::Stale { error: rejected(target, Some(position), &error) }
        }
        _ => Failure::Fatal(error.into()),
    }
}

pub(super) fn conflict(
    target: &Target,
    position: Position,
    kind: ConflictKind,
    constraint: Option<String>,
) -> Failure {
    let relation = target.relation();
    let position = Some(position);
    Failure::Conflict(Conflict { kind, relation, constraint, position, obstacle: None })
}

/// Names only: the server's message may quote values.
fn rejected(target: &Target, position: Option<Position>, error: &pgtrail_postgres::Error) -> Error {
    let server = error.server();
    let object = server.and_then(|server| {
        let column = server.column.as_ref().map(|column| format!("column {column}"));
        server.constraint.clone().or(column)
    });
    Error::Rejected {
        relation: target.relation(),
        sqlstate: error.sqlstate().unwrap_or_default().to_owned(),
        object,
        position,
    }
}

/// What an error is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A row: another way of applying may tell which.
    Row,
    /// The table is not what it was.
    Schema,
    /// The server, the session, or several sessions together.
    Other,
}

fn kind_of(sqlstate: &str) -> Kind {
    match sqlstate.get(..2) {
        // Data, constraints, views' check options, triggered actions, what triggers raise, limits.
        Some("21" | "22" | "23" | "27" | "44" | "09" | "P0" | "54") => Kind::Row,
        Some("42" | "3F" | "0A" | "55") if sqlstate != "55P03" && sqlstate != "42501" => {
            Kind::Schema
        }
        Some("42") => Kind::Schema,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_rows_are_told_from_those_about_tables_and_servers() {
        for (sqlstate, kind) in [
            ("23505", Kind::Row),
            ("22003", Kind::Row),
            ("P0001", Kind::Row),
            ("42703", Kind::Schema),
            ("42804", Kind::Schema),
            ("42501", Kind::Schema),
            ("40P01", Kind::Other),
            ("55P03", Kind::Other),
            ("57P01", Kind::Other),
            ("25P02", Kind::Other),
        ] {
            assert_eq!(kind_of(sqlstate), kind, "{sqlstate}");
        }
    }
}
