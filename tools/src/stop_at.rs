//! `--stop-at LSN|now`.

use std::fmt;
use std::str::FromStr;

use pgtrail_log::Lsn;

use crate::config::Config;
use crate::failure::Failure;

/// Where a process stops by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopAt {
    /// Where the source (for a lone applier: the log) ends at the start.
    Now,
    /// Once every transaction that commits up to here is done.
    Lsn(Lsn),
}

impl FromStr for StopAt {
    type Err = String;

    fn from_str(text: &str) -> Result<StopAt, String> {
        if text == "now" {
            return Ok(StopAt::Now);
        }
        let lsn =
            text.parse().map_err(|_| "write an LSN such as 16/B374D848, or now".to_owned())?;
        Ok(StopAt::Lsn(lsn))
    }
}

impl fmt::Display for StopAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopAt::Now => f.write_str("now"),
            StopAt::Lsn(lsn) => write!(f, "{lsn}"),
        }
    }
}

/// Without the stage "changes" the end is not for the caller to choose.
///
/// # Errors
/// Then.
pub(crate) fn refuse_stop_at(config: &Config) -> Result<(), Failure> {
    match config.follows() {
        true => Ok(()),
        false => Err(Failure::usage("--stop-at needs the stage \"changes\"")
            .hint("Leave it out: without that stage the work ends when it is done.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_lsn_or_now() {
        assert_eq!("now".parse(), Ok(StopAt::Now));
        assert_eq!("0/10".parse(), Ok(StopAt::Lsn(Lsn::new(16))));
        assert!("soon".parse::<StopAt>().is_err());
    }
}
