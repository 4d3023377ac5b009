//! The one place that tells the slot a position.
//!
//! The invariant: what is told is durable in the log, and not beyond a prepared transaction whose
//! rows would otherwise never come again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgtrail_log::{DurableMark, Lsn};
use tokio::sync::watch;

use super::positions::Positions;
use crate::Error;
use crate::assemble::Batch;
use crate::replication::{Feedback, FeedbackSender};

/// Publishes what is durable: to whoever follows the log, and to the slot.
#[derive(Debug)]
pub(super) struct Confirmer {
    positions: Arc<Positions>,
    durable: watch::Sender<DurableMark>,
    link: Mutex<Link>,
}

#[derive(Debug, Default)]
struct Link {
    feedback: Option<FeedbackSender>,
    hold: Option<Lsn>,
}

impl Confirmer {
    pub(super) fn new(positions: Arc<Positions>, durable: watch::Sender<DurableMark>) -> Confirmer {
        Confirmer { positions, durable, link: Mutex::new(Link::default()) }
    }

    /// A connection that takes feedback; `hold` is where the slot has to stay for now.
    pub(super) fn attach(&self, feedback: FeedbackSender, hold: Option<Lsn>) -> Result<(), Error> {
        *self.link() = Link { feedback: Some(feedback), hold };
        self.tell(false)
    }

    /// The connection is over. Returns its sender, for a proper end.
    pub(super) fn detach(&self) -> Option<FeedbackSender> {
        self.link().feedback.take()
    }

    /// A batch was written and synced.
    pub(super) fn written(&self, mark: DurableMark, batch: &Durable) -> Result<(), Error> {
        if mark.end_lsn < batch.upto {
            return Err(Error::Invariant("a write left the log's end behind"));
        }
        self.positions.make_durable(mark.end_lsn, batch.transactions, batch.changes)?;
        self.durable.send_replace(mark);
        self.link().hold = batch.hold;
        fail::fail_point!("reader::pipeline::before_confirm");
        self.tell(false)
    }

    /// Asks the source how far it is.
    pub(super) fn ask(&self) -> Result<(), Error> {
        self.tell(true)
    }

    /// Tells the slot again what it may know.
    pub(super) fn tell(&self, reply_requested: bool) -> Result<(), Error> {
        let link = self.link();
        let Some(feedback) = &link.feedback else { return Ok(()) };
        let durable = self.positions.durable();
        let flushed =
            self.positions.confirm(link.hold.map_or(durable, |hold| durable.min(hold)))?;
        let written = self.positions.received();
        feedback.send(Feedback { written, flushed, applied: flushed, reply_requested });
        Ok(())
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left to know of a batch once it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Durable {
    upto: Lsn,
    transactions: u64,
    changes: u64,
    hold: Option<Lsn>,
}

impl Durable {
    pub(super) fn of(batch: &Batch) -> Durable {
        Durable {
            upto: batch.upto,
            transactions: batch.transactions,
            changes: batch.changes,
            hold: batch.hold,
        }
    }
}
