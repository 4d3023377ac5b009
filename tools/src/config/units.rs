//! Values with units, read and shown: `"30s"`, `"12h"`, `"64MB"`.

use std::time::Duration;

/// As in `postgresql.conf`: multiples of 1024.
const SIZE_UNITS: [(&str, u64); 5] =
    [("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40), ("B", 1)];

/// Reads `"64MB"`.
///
/// # Errors
/// When it is not a whole number and one of the known units.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let refuse =
        || format!("invalid size \"{text}\": write a whole number and B, kB, MB, GB or TB");
    let (unit, factor) =
        SIZE_UNITS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(refuse)?;
    let number = text[..text.len() - unit.len()].trim_end();
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.then(|| number.parse().ok()).flatten().ok_or_else(refuse)?;
    number.checked_mul(*factor).ok_or_else(refuse)
}

/// Reads `"30s"`, `"1h 30m"`.
///
/// # Errors
/// When it is not a number with a unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("invalid duration \"{text}\": write a number and ms, s, m, h or d, such as \"30s\"")
    })
}

/// A size as a person reads it: `1.4 MB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn show_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// serde for a duration.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, de};

    pub(in super::super) fn deserialize<'de, D>(deserializer: D) -> Result<Duration, D::Error>
    where
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(de::Error::custom)
    }
}

/// serde for a size.
pub(super) mod size {
    use serde::{Deserialize as _, Deserializer, de};

    pub(in super::super) fn deserialize<'de, D>(deserializer: D) -> Result<u64, D::Error>
    where
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        super::parse_size(&text).map_err(de::Error::custom)
    }
}

/// serde for a size that may be left out.
pub(super) mod optional_size {
    use serde::Deserializer;

    pub(in super::super) fn deserialize<'de, D>(deserializer: D) -> Result<Option<u64>, D::Error>
    where
        D: Deserializer<'de>,
    {
        super::size::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_as_postgresql_conf_does() {
        assert_eq!(parse_size("64MB"), Ok(64 << 20));
        assert_eq!(parse_size("5 GB"), Ok(5 << 30));
        assert_eq!(parse_size("12B"), Ok(12));
        for wrong in ["", "64", "MB", "1.5GB", "-1kB", "64mb", "99999999999TB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_durations() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "30", "s", "soon"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shows_sizes_with_two_or_three_digits() {
        assert_eq!(show_size(0), "0 B");
        assert_eq!(show_size(1023), "1023 B");
        assert_eq!(show_size(1536), "1.5 kB");
        assert_eq!(show_size(200 << 20), "200 MB");
    }
}
