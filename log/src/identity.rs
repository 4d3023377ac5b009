//! Which log this is: the source database and slot it belongs to, and its incarnation.
//!
//! Owns the values; where they are kept is the business of [`crate::store`]. The one invariant: an
//! incarnation is drawn once, when a log is created, and never again, so two logs of the same
//! pipeline cannot pass for each other.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::time::SystemTime;

use crate::model::{Epoch, Lsn, Snapshot, Timestamp};

/// Tells one creation of a log from every other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Incarnation(pub u128);

impl Incarnation {
    /// A fresh one.
    pub fn random() -> Incarnation {
        // `RandomState` is seeded by the operating system's generator; time and process are added
        // so that its per-thread increments never decide alone.
        let draw = |salt: u64| {
            u128::from(RandomState::new().hash_one((salt, SystemTime::now(), std::process::id())))
        };
        Incarnation((draw(1) << 64) | draw(2))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid incarnation \"{0}\"")]
pub struct ParseIncarnationError(String);

impl FromStr for Incarnation {
    type Err = ParseIncarnationError;

    fn from_str(text: &str) -> Result<Incarnation, ParseIncarnationError> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()
            .map(Incarnation)
            .ok_or_else(|| ParseIncarnationError(text.to_owned()))
    }
}

/// Where a stretch of the source's history begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochStart {
    /// Its number.
    pub epoch: Epoch,
    /// The source's timeline during it.
    pub timeline: u32,
    /// Its first LSN.
    pub begins_at: Lsn,
}

/// The identity marker: which source, which slot, which creation of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Name of the pipeline.
    pub pipeline: String,
    /// `system_identifier` of the source cluster.
    pub system_identifier: u64,
    /// The source database.
    pub database: String,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// This creation of the log.
    pub incarnation: Incarnation,
    /// The epochs known, oldest first.
    pub epochs: Vec<EpochStart>,
    /// Where the slot became consistent: transactions that commit from here on are streamed.
    pub consistent_point: Lsn,
    /// The snapshot the slot exported: what every base must cover.
    pub exported_snapshot: Snapshot,
    /// When the log was created, by this machine's clock.
    pub created: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_differ_and_round_trip_as_text() {
        let one = Incarnation::random();
        assert_ne!(one, Incarnation::random());
        assert_eq!(one.to_string().parse(), Ok(one));
        assert!("+f".parse::<Incarnation>().is_err());
    }
}
