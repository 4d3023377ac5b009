//! What the jobs of the copy share: tables that nobody reads, and parts of tables that somebody leads.
//!
//! Owns the order of work: tables first, the largest first, then help with what is left of the large
//! ones. The invariant: a job ends only when nothing is left and nobody works on something that could
//! still come back, or be offered in parts.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgtrail_log::BaseTable;
use tokio::sync::Notify;

use super::parts::Offer;

/// A table that has no base yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) table: BaseTable,
    pub(super) tries: u32,
}

/// What a job does next.
#[derive(Debug)]
pub(super) enum Work {
    Table(Pending),
    Help(Arc<Offer>),
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    left: VecDeque<Pending>,
    /// Tables that a job works on.
    led: usize,
    offers: Vec<Arc<Offer>>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(left: VecDeque<Pending>) -> Queue {
        let state = State { left, ..State::default() };
        Queue { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits for work; `None` when none will come. `declined` are offers that this job could not help
    /// with.
    pub(super) async fn next(&self, declined: &[Arc<Offer>]) -> Option<Work> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                if let Some(pending) = state.left.pop_front() {
                    state.led += 1;
                    return Some(Work::Table(pending));
                }
                let is_declined =
                    |offer: &Arc<Offer>| declined.iter().any(|other| Arc::ptr_eq(offer, other));
                let offer =
                    state.offers.iter().find(|offer| offer.has_parts() && !is_declined(offer));
                if let Some(offer) = offer {
                    return Some(Work::Help(Arc::clone(offer)));
                }
                if state.led == 0 {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// A table is done with.
    pub(super) fn done(&self) {
        self.state().led -= 1;
        self.changed.notify_waiters();
    }

    /// A table is to be tried again, after all others.
    pub(super) fn put_back(&self, pending: Pending) {
        let mut state = self.state();
        state.led -= 1;
        state.left.push_back(pending);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Leaves nothing to take.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.left.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Lets others help, until the answer is dropped.
    pub(super) fn offer(self: &Arc<Queue>, offer: &Arc<Offer>) -> Offered {
        self.state().offers.push(Arc::clone(offer));
        self.changed.notify_waiters();
        Offered { queue: Arc::clone(self), offer: Arc::clone(offer) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An offer in the queue.
#[derive(Debug)]
pub(super) struct Offered {
    queue: Arc<Queue>,
    offer: Arc<Offer>,
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.offer.withdraw();
        self.queue.state().offers.retain(|other| !Arc::ptr_eq(other, &self.offer));
    }
}
