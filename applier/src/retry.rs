//! Whether and when to try again.
//!
//! Owns the two windows. The invariant: trying again never goes on for longer than its window without
//! progress, and a spent window is a halt that names what kept failing.

use std::time::Duration;

use pgtrail_log::Disposition;
use rand::Rng;
use tokio::time::Instant;

use crate::Error;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// No pause is longer: a destination that comes back is noticed soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The state of trying.
#[derive(Debug)]
pub(crate) struct Retry {
    connect: Duration,
    error: Duration,
    /// A process that never got in fails at once: a person is waiting for it.
    connected: bool,
    failing_since: Option<Instant>,
    failures: u32,
}

impl Retry {
    pub(crate) fn new(connect: Duration, error: Duration) -> Retry {
        Retry { connect, error, connected: false, failing_since: None, failures: 0 }
    }

    /// The destination let us in.
    pub(crate) fn connected(&mut self) {
        self.connected = true;
    }

    /// Something was committed.
    pub(crate) fn progressed(&mut self) {
        self.failing_since = None;
        self.failures = 0;
    }

    /// How long to wait before the next try.
    ///
    /// # Errors
    /// With `error`, or with what says that the window is spent, when there is to be no next try.
    pub(crate) fn after(&mut self, error: Error) -> Result<Duration, Error> {
        let window = match error.disposition() {
            Disposition::Retry => self.error,
            Disposition::Unreachable if self.connected => self.connect,
            Disposition::Unreachable
            | Disposition::Usage
            | Disposition::Halt
            | Disposition::Damaged
            | Disposition::Bug => return Err(error),
        };
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= window {
            return Err(Error::RetrySpent { window, source: Box::new(error) });
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures += 1;
        // Several appliers that lost one server do not come back in step.
        Ok(pause.mul_f64(rand::rng().random_range(0.5..1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> Error {
        Error::Timeout { after: Duration::from_secs(1) }
    }

    #[test]
    fn gives_up_at_once_before_the_first_connection() {
        let mut retry = Retry::new(Duration::from_secs(60), Duration::from_secs(60));
        assert!(retry.after(unreachable()).is_err());
        retry.connected();
        assert!(retry.after(unreachable()).is_ok());
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_start_over_after_progress() {
        let mut retry = Retry::new(Duration::from_secs(3600), Duration::from_secs(60));
        retry.connected();
        let pauses: Vec<_> = (0..12).filter_map(|_| retry.after(unreachable()).ok()).collect();
        assert!(pauses[0] < pauses[3] && pauses[3] < pauses[7]);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        retry.progressed();
        assert!(retry.after(unreachable()).is_ok_and(|pause| pause <= FIRST_PAUSE));
    }

    #[test]
    fn a_spent_window_is_a_halt() {
        let mut retry = Retry::new(Duration::ZERO, Duration::ZERO);
        retry.connected();
        let error = retry.after(unreachable()).expect_err("the window is spent");
        assert_eq!(error.disposition(), Disposition::Halt);
        assert_eq!(error.code(), Some("PGT-0410"));
    }

    #[test]
    fn halts_are_not_tried_again() {
        let mut retry = Retry::new(Duration::from_secs(60), Duration::from_secs(60));
        retry.connected();
        assert!(matches!(retry.after(Error::Fenced), Err(Error::Fenced)));
    }
}
