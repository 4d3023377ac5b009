//! Where the source's sequences stand.
//!
//! Owns the values only; [`crate::LogWriter`] writes them, [`crate::LogFollower`] reads them. Sequences
//! are in no transaction, so their values have no place among the changes: the log holds the newest of
//! all, and from where in the WAL on they are at least that far. The one invariant: that place never
//! moves back.

use crate::model::{Lsn, Timestamp};

/// Where a sequence stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SequenceValue {
    /// Schema at the source.
    pub schema: String,
    /// Name at the source.
    pub name: String,
    /// `last_value`, as the sequence itself shows it.
    pub last_value: i64,
    /// `is_called`: whether `last_value` has been given out, or is the next to be.
    pub is_called: bool,
}

/// The newest known values of all selected sequences.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SequenceValues {
    /// When they were read, by the reader's clock.
    pub read_at: Timestamp,
    /// In no order.
    pub values: Vec<SequenceValue>,
}

/// What the log knows of sequences, in a few bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SequenceMark {
    /// Grows whenever a value changed; 0 when the log holds none.
    pub number: u64,
    /// The values are at least those of this place in the source's WAL.
    pub as_of: Lsn,
}
