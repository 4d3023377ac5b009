//! What a SQLSTATE asks of the program.
//!
//! Owns the one table from error codes to [`Disposition`]. It judges the code alone; callers that
//! know more (a lock they expected to miss, a slot still held by a process that just died) decide
//! before they ask. The invariant: an unknown code stops the process rather than being tried again.

use pgtrail_log::Disposition;

/// Codes that callers handle themselves.
pub mod code {
    /// `lock_timeout` ended a wait, or NOWAIT found the lock taken.
    pub const LOCK_NOT_AVAILABLE: &str = "55P03";
    /// The table is not there, or not under this name any more.
    pub const UNDEFINED_TABLE: &str = "42P01";
    /// The column is not there.
    pub const UNDEFINED_COLUMN: &str = "42703";
    /// The schema is not there.
    pub const INVALID_SCHEMA_NAME: &str = "3F000";
    /// The role may not.
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    /// The server chose this session to end a deadlock.
    pub const DEADLOCK_DETECTED: &str = "40P01";
    /// The slot (or another object) is held by another session.
    pub const OBJECT_IN_USE: &str = "55006";
    /// No such slot, publication, function and so on.
    pub const UNDEFINED_OBJECT: &str = "42704";
    /// A function is missing, among them "no binary output function available for type".
    pub const UNDEFINED_FUNCTION: &str = "42883";
    /// The object is there already.
    pub const DUPLICATE_OBJECT: &str = "42710";
    /// The wrong kind of relation for the statement.
    pub const WRONG_OBJECT_TYPE: &str = "42809";
}

/// What to do about an error the server reported with this code.
pub fn disposition_of(sqlstate: &str) -> Disposition {
    match sqlstate {
        // The session is over or was refused: the server stops, restarts, is full, or does not know
        // the role, database or password (which a person may be changing right now).
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "53300" | "3D000" | "25P03" => {
            Disposition::Unreachable
        }
        // Lock, slot or statement was given up by the server, or it is read-only for a while
        // (a failover in progress).
        "55P03" | "55006" | "57014" | "25006" | "25P04" => Disposition::Retry,
        // A WAL segment or data file that is gone does not come back, nor does damaged data heal.
        "58P01" | "58P02" | "XX001" | "XX002" => Disposition::Halt,
        // The transaction was already failed, or was not open: our own bookkeeping is wrong.
        "25P01" | "25P02" => Disposition::Bug,
        _ => disposition_of_class(sqlstate.get(..2).unwrap_or_default()),
    }
}

fn disposition_of_class(class: &str) -> Disposition {
    match class {
        "08" | "28" => Disposition::Unreachable,
        // 40: rolled back, 53: out of disk, memory or the like, 58: I/O, XX: internal, among them
        // "tuple concurrently updated". A spent retry window turns each into a halt.
        "40" | "53" | "58" | "XX" => Disposition::Retry,
        _ => Disposition::Halt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: Disposition, codes: &[&str]) {
        for code in codes {
            assert_eq!(disposition_of(code), expected, "{code}");
        }
    }

    #[test]
    fn lost_or_refused_sessions_are_unreachable() {
        check(Disposition::Unreachable, &["08006", "57P01", "57P03", "28P01", "28000", "3D000"]);
    }

    #[test]
    fn what_passes_by_itself_is_tried_again() {
        check(Disposition::Retry, &["40001", "40P01", "53100", "55P03", "55006", "57014", "58030"]);
    }

    #[test]
    fn everything_else_stops() {
        check(Disposition::Halt, &["23505", "42501", "42P01", "54000", "55000", "58P01", "XX001"]);
        check(Disposition::Halt, &["", "9", "ZZZZZ", "é"]);
    }
}
