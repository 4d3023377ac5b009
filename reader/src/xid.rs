//! Owns the widening of transaction ids: the stream carries 32 bits, the log keeps 64.
//!
//! The invariant: the reference id is within 2^31 of everything the server can still decode. It is
//! read from the source at every connect and every few minutes, and follows the stream in between.

use std::sync::atomic::{AtomicU64, Ordering};

use pgtrail_log::Xid;

/// The source's next full transaction id, as far as the reader knows.
#[derive(Debug, Default)]
pub(crate) struct NextXid(AtomicU64);

impl NextXid {
    /// Takes over what the source says. Never goes back: ids of a source only grow, and an answer
    /// may come late.
    pub(crate) fn observe(&self, next: Xid) {
        self.0.fetch_max(next.as_u64(), Ordering::Relaxed);
    }

    /// The full id of a transaction in the stream.
    pub(crate) fn widen(&self, xid: u32) -> Xid {
        let full = Xid::widen(xid, Xid::new(self.0.load(Ordering::Relaxed)));
        self.observe(Xid::new(full.as_u64().saturating_add(1)));
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_stream_over_a_wraparound() {
        let next = NextXid::default();
        next.observe(Xid::new((5 << 32) | 0xFFFF_FFF0));
        assert_eq!(next.widen(0xFFFF_FFFF), Xid::new((5 << 32) | 0xFFFF_FFFF));
        assert_eq!(next.widen(3), Xid::new((6 << 32) | 3));
        assert_eq!(next.widen(0xFFFF_FFFE), Xid::new((5 << 32) | 0xFFFF_FFFE));
    }

    #[test]
    fn a_late_answer_does_not_take_it_back() {
        let next = NextXid::default();
        next.observe(Xid::new(7 << 32));
        next.observe(Xid::new(3 << 32));
        assert_eq!(next.widen(5), Xid::new((7 << 32) | 5));
    }
}
