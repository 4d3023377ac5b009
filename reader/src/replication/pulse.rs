use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the source was last heard: written by the read half, read by both.
#[derive(Debug)]
pub(super) struct Pulse {
    began: Instant,
    last_heard_millis: AtomicU64,
    peer_timeout: Duration,
}

impl Pulse {
    pub(super) fn new(peer_timeout: Duration) -> Pulse {
        Pulse { began: Instant::now(), last_heard_millis: AtomicU64::new(0), peer_timeout }
    }

    pub(super) fn peer_timeout(&self) -> Duration {
        self.peer_timeout
    }

    pub(super) fn beat(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_heard_millis.store(millis, Ordering::Relaxed);
    }

    pub(super) fn last_heard(&self) -> Instant {
        self.began + Duration::from_millis(self.last_heard_millis.load(Ordering::Relaxed))
    }

    /// Whether the silence has lasted long enough to ask for an answer, while there is time for one.
    ///
    /// A source with a long or no `wal_sender_timeout` says nothing of its own accord.
    pub(super) fn is_faint(&self) -> bool {
        self.last_heard().elapsed() > self.peer_timeout / 3
    }
}
