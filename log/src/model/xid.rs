use std::fmt;

/// A transaction id widened to 64 bits (PostgreSQL's `FullTransactionId`).
///
/// pgoutput sends 32 bits. Visibility is only ever tested on the widened form: a 32-bit comparison
/// against a base kept for 2^31 transactions would skip changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Xid(u64);

impl Xid {
    /// The transaction with this full id.
    pub const fn new(full: u64) -> Xid {
        Xid(full)
    }

    /// The full id.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Widens `xid` to the full id nearest to `next`, the source's next full id.
    ///
    /// Right as long as the transaction began within 2^31 of `next`, which the server's own
    /// wraparound protection guarantees for every transaction it can still decode.
    pub fn widen(xid: u32, next: Xid) -> Xid {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
        let distance = xid.wrapping_sub(next.0 as u32).cast_signed();
        Xid(next.0.saturating_add_signed(i64::from(distance)))
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_to_the_nearest_full_id() {
        let next = Xid::new(7 << 32 | 10);
        assert_eq!(Xid::widen(9, next), Xid::new(7 << 32 | 9));
        assert_eq!(Xid::widen(12, next), Xid::new(7 << 32 | 12));
        assert_eq!(Xid::widen(u32::MAX, next), Xid::new((6 << 32) | 0xFFFF_FFFF));
    }
}
