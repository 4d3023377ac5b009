use std::fmt;
use std::str::FromStr;

/// A place in the source's WAL: a byte offset, shown as PostgreSQL shows a `pg_lsn`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// `InvalidXLogRecPtr`: no place at all.
    pub const INVALID: Lsn = Lsn(0);

    /// The place `offset` bytes into the WAL.
    pub const fn new(offset: u64) -> Lsn {
        Lsn(offset)
    }

    /// The byte offset.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whether this is a place, not [`Lsn::INVALID`].
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }

    /// Bytes of WAL from `earlier` to here; 0 when `earlier` is not earlier.
    pub const fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<u64> for Lsn {
    fn from(offset: u64) -> Lsn {
        Lsn(offset)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not of the form `16/B374D848`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid LSN \"{0}\"")]
pub struct ParseLsnError(String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Lsn, ParseLsnError> {
        let half = |part: &str| {
            let plain = !part.is_empty() && part.len() <= 8 && !part.starts_with('+');
            plain.then(|| u32::from_str_radix(part, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some((half(high)?, half(low)?)))
            .map(|(high, low)| Lsn((u64::from(high) << 32) | u64::from(low)))
            .ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_parses_as_postgres_does() {
        let lsn = Lsn::new(0x16_B374_D848);
        assert_eq!(lsn.to_string(), "16/B374D848");
        assert_eq!("16/B374D848".parse(), Ok(lsn));
        assert_eq!("0/0".parse(), Ok(Lsn::INVALID));
    }

    #[test]
    fn refuses_what_is_not_an_lsn() {
        for text in ["", "16", "16/", "/1", "16/B374D8481", "x/1", "+1/1", "1/2/3"] {
            assert_eq!(text.parse::<Lsn>(), Err(ParseLsnError(text.to_owned())));
        }
    }
}
