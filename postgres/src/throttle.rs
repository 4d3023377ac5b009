//! How fast rows may be read from, or written to, a server.
//!
//! A bucket without depth: who has moved an amount waits until that amount was due. Whoever shares a
//! throttle shares its rate. The invariant: from the first amount on, no more than rate times time has
//! been let through, whatever the number of sessions; what was not used is not saved up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The most that may be moved in a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Rows; no bound without.
    pub rows_per_second: Option<u64>,
    /// Bytes of COPY data; no bound without.
    pub bytes_per_second: Option<u64>,
}

impl Rate {
    /// Whether there is no bound.
    pub fn is_unbounded(&self) -> bool {
        *self == Rate::default()
    }
}

/// Keeps to a [`Rate`]. Clones share it.
#[derive(Clone, Debug)]
pub struct Throttle {
    rate: Rate,
    /// When all that was let through is due.
    due: Arc<Mutex<Option<Instant>>>,
}

impl Throttle {
    /// Nothing let through yet.
    pub fn new(rate: Rate) -> Throttle {
        Throttle { rate, due: Arc::default() }
    }

    /// Whether there is no bound.
    pub fn is_unbounded(&self) -> bool {
        self.rate.is_unbounded()
    }

    /// Waits until this amount, with all before it, is due.
    pub async fn pass(&self, rows: u64, bytes: u64) {
        if let Some(due) = self.reserve(Instant::now(), rows, bytes) {
            sleep_until(due).await;
        }
    }

    fn reserve(&self, now: Instant, rows: u64, bytes: u64) -> Option<Instant> {
        let rows = takes(rows, self.rate.rows_per_second);
        let takes = rows.max(takes(bytes, self.rate.bytes_per_second));
        if takes.is_zero() {
            return None;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let after = due.map_or(now, |due| due.max(now)) + takes;
        *due = Some(after);
        Some(after)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no exact thing")]
fn takes(amount: u64, per_second: Option<u64>) -> Duration {
    match per_second {
        None => Duration::ZERO,
        Some(rate) => Duration::from_secs_f64(amount as f64 / rate.max(1) as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_due_one_after_the_other() {
        let rate = Rate { rows_per_second: Some(100), bytes_per_second: Some(1000) };
        let throttle = Throttle::new(rate);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(throttle.reserve(now, 100, 0), Some(now + second));
        assert_eq!(throttle.clone().reserve(now, 0, 2000), Some(now + 3 * second));
        // The scarcer of the two counts.
        assert_eq!(throttle.reserve(now, 200, 500), Some(now + 5 * second));
        // An hour without use saves nothing up.
        let later = now + Duration::from_secs(3600);
        assert_eq!(throttle.reserve(later, 100, 0), Some(later + second));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        assert_eq!(Throttle::new(Rate::default()).reserve(Instant::now(), 1 << 40, 1 << 40), None);
    }
}
