//! Owns the three places of one reader and the order they must keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pgtrail_log::Lsn;

use crate::{Error, ReaderStatus};

/// `received_lsn >= durable_lsn >= confirmed_flush_lsn`, checked where each of them moves.
#[derive(Debug)]
pub(super) struct Positions {
    received: AtomicU64,
    durable: AtomicU64,
    confirmed: AtomicU64,
    status: Arc<ReaderStatus>,
}

impl Positions {
    /// A log that ends here, and a slot that is not further.
    pub(super) fn new(log_end: Lsn, status: Arc<ReaderStatus>) -> Positions {
        status.written(log_end, 0, 0);
        Positions {
            received: AtomicU64::new(log_end.as_u64()),
            durable: AtomicU64::new(log_end.as_u64()),
            confirmed: AtomicU64::new(0),
            status,
        }
    }

    pub(super) fn received(&self) -> Lsn {
        Lsn::new(self.received.load(Ordering::Acquire))
    }

    pub(super) fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    /// The stream has come to here.
    pub(super) fn receive(&self, upto: Lsn, bytes: u64) {
        self.received.fetch_max(upto.as_u64(), Ordering::AcqRel);
        self.status.received(upto, bytes);
    }

    /// The log holds everything up to here, synced.
    pub(super) fn make_durable(
        &self,
        upto: Lsn,
        transactions: u64,
        changes: u64,
    ) -> Result<(), Error> {
        if upto > self.received() {
            return Err(Error::Invariant("the log is ahead of what was received"));
        }
        self.durable.fetch_max(upto.as_u64(), Ordering::AcqRel);
        self.status.written(upto, transactions, changes);
        Ok(())
    }

    /// The slot may be told this. It never goes back.
    pub(super) fn confirm(&self, upto: Lsn) -> Result<Lsn, Error> {
        if upto > self.durable() {
            return Err(Error::Invariant("a position would be confirmed that is not durable"));
        }
        let before = self.confirmed.fetch_max(upto.as_u64(), Ordering::AcqRel);
        self.status.confirmed(upto);
        Ok(upto.max(Lsn::new(before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions() -> Positions {
        Positions::new(Lsn::new(100), Arc::new(ReaderStatus::new()))
    }

    #[test]
    fn each_follows_the_one_before() {
        let positions = positions();
        assert!(positions.make_durable(Lsn::new(101), 1, 1).is_err());
        positions.receive(Lsn::new(101), 10);
        assert!(positions.confirm(Lsn::new(101)).is_err());
        assert!(positions.make_durable(Lsn::new(101), 1, 1).is_ok());
        assert_eq!(positions.confirm(Lsn::new(101)).ok(), Some(Lsn::new(101)));
    }

    #[test]
    fn what_was_confirmed_is_not_taken_back() {
        let positions = positions();
        assert_eq!(positions.confirm(Lsn::new(100)).ok(), Some(Lsn::new(100)));
        assert_eq!(positions.confirm(Lsn::new(50)).ok(), Some(Lsn::new(100)));
    }
}
