use std::fmt;

use super::Lsn;

/// One stretch of a source's history. A promoted standby may use the same LSNs again on its new
/// timeline, so a timeline switch begins a new epoch. The first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch a new log begins with.
    pub const FIRST: Epoch = Epoch(1);
}

/// A place in the log: the source's epoch, a transaction's commit LSN, then the record's ordinal
/// inside it.
///
/// LSNs of changes in interleaved transactions do not grow in the order we receive them; commit LSNs
/// do. Order therefore begins with the commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// The stretch of history.
    pub epoch: Epoch,
    /// LSN of the transaction's commit record, as BEGIN and COMMIT messages carry it.
    pub commit_lsn: Lsn,
    /// Number of the record in its transaction, from 0.
    pub ordinal: u64,
}

impl Position {
    /// The first record of the transaction that committed at `commit_lsn`.
    pub fn of_transaction(epoch: Epoch, commit_lsn: Lsn) -> Position {
        Position { epoch, commit_lsn, ordinal: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != Epoch::FIRST {
            write!(f, "{}:", self.epoch.0)?;
        }
        write!(f, "{}.{}", self.commit_lsn, self.ordinal)
    }
}
