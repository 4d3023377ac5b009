//! Owns how long and how often a failed connection is tried again.
//!
//! The invariant: before the source was reached once, only a slot that somebody else still holds is
//! waited for; everything else is reported at once, because a person is waiting.

use std::time::{Duration, Instant};

use pgtrail_log::Disposition;

use crate::Error;

/// The first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A connection that lasted this long was a good one: what ended it is a new trouble, with a window
/// of its own.
const HEALTHY: Duration = Duration::from_secs(60);

/// The windows for one reader.
#[derive(Debug)]
pub(crate) struct Retry {
    connect_window: Duration,
    error_window: Duration,
    connected_before: bool,
    trouble_since: Option<Instant>,
    pause: Duration,
}

impl Retry {
    pub(crate) fn new(connect_window: Duration, error_window: Duration) -> Retry {
        Retry {
            connect_window,
            error_window,
            connected_before: false,
            trouble_since: None,
            pause: PAUSE.0,
        }
    }

    /// The source was reached and the slot taken.
    pub(crate) fn connected(&mut self) {
        self.connected_before = true;
    }

    /// The connection did its work: it lasted, or brought something new into the log.
    pub(crate) fn worked(&mut self, lasted: Duration, progress: bool) {
        if progress || lasted >= HEALTHY {
            self.trouble_since = None;
            self.pause = PAUSE.0;
        }
    }

    /// How long to wait before the next try; none when the error is final.
    pub(crate) fn after(&mut self, error: &Error, now: Instant) -> Option<Duration> {
        let window = self.window(error)?;
        let since = *self.trouble_since.get_or_insert(now);
        if now.duration_since(since) >= window {
            return None;
        }
        let pause = self.pause;
        self.pause = PAUSE.1.min(pause * 2);
        // Between half and all of it, so that the clients of a restarted server do not come at once.
        Some(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>()))
    }

    fn window(&self, error: &Error) -> Option<Duration> {
        if error.is_of_log() {
            return None;
        }
        match (error.disposition(), error) {
            (_, Error::SlotActive { .. }) => Some(self.error_window),
            (Disposition::Retry, _) if self.connected_before => Some(self.error_window),
            (Disposition::Unreachable, _) if self.connected_before => Some(self.connect_window),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn unreachable() -> Error {
        Error::Postgres(pgtrail_postgres::Error::ConnectTimeout {
            target: "nowhere".to_owned(),
            after: MINUTE,
        })
    }

    fn garbled() -> Error {
        Error::Postgres(pgtrail_postgres::Error::Protocol { what: "an empty answer".to_owned() })
    }

    fn active() -> Error {
        Error::SlotActive { slot: "s".to_owned(), holder: "process 1".to_owned() }
    }

    #[test]
    fn before_the_first_connection_only_a_held_slot_is_waited_for() {
        let now = Instant::now();
        assert_eq!(Retry::new(HOUR, MINUTE).after(&unreachable(), now), None);
        assert_eq!(Retry::new(HOUR, MINUTE).after(&garbled(), now), None);
        assert!(Retry::new(HOUR, MINUTE).after(&active(), now).is_some());
    }

    #[test]
    fn each_kind_has_its_window() {
        let now = Instant::now();
        let mut retry = Retry::new(HOUR, MINUTE);
        retry.connected();
        assert!(retry.after(&garbled(), now).is_some());
        assert!(retry.after(&garbled(), now + MINUTE).is_none());
        assert!(retry.after(&unreachable(), now + MINUTE).is_some());
        assert!(retry.after(&unreachable(), now + HOUR).is_none());
        retry.worked(Duration::ZERO, true);
        assert!(retry.after(&garbled(), now + HOUR).is_some());
    }

    #[test]
    fn halts_and_failures_of_the_log_are_final() {
        let now = Instant::now();
        let mut retry = Retry::new(HOUR, MINUTE);
        retry.connected();
        assert_eq!(retry.after(&Error::SlotMissing { slot: "s".to_owned() }, now), None);
        assert_eq!(retry.after(&Error::Log(pgtrail_log::Error::Closed), now), None);
    }

    #[test]
    fn pauses_grow_to_a_cap_and_start_over_after_work() {
        let now = Instant::now();
        let mut retry = Retry::new(HOUR, HOUR);
        retry.connected();
        let pauses: Vec<_> = (0..12).filter_map(|_| retry.after(&garbled(), now)).collect();
        assert!(pauses.iter().all(|pause| *pause <= PAUSE.1));
        assert!(pauses.last() >= Some(&(PAUSE.1 / 2)));
        retry.worked(HEALTHY, false);
        assert!(retry.after(&garbled(), now) <= Some(PAUSE.0));
    }
}
