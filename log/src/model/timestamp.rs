use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A PostgreSQL `timestamptz` on the wire: microseconds since 2000-01-01 00:00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

/// From 1970-01-01 to 2000-01-01, in seconds.
const EPOCH_SECONDS: u64 = 946_684_800;

impl Timestamp {
    /// The moment by this machine's clock.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = since.saturating_sub(Duration::from_secs(EPOCH_SECONDS)).as_micros();
        Timestamp(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Microseconds since 1970-01-01 00:00:00 UTC.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(EPOCH_SECONDS.cast_signed() * 1_000_000)
    }

    /// How long ago this was, by this machine's clock; zero for a moment still to come.
    pub fn elapsed(self) -> Duration {
        let micros = Timestamp::now().0.saturating_sub(self.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}
