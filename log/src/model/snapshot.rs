use std::fmt;
use std::str::FromStr;

use super::Xid;

/// What `pg_current_snapshot()` shows: `xmin:xmax:xip,...`, full 64-bit top-level transaction ids.
///
/// See PostgreSQL's documentation, "Transaction ID and Snapshot Information Functions".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    /// In progress when the snapshot was taken; sorted.
    xip: Vec<u64>,
}

impl Snapshot {
    /// Whether the effects of a finished transaction are visible under this snapshot.
    ///
    /// `xid` must be a top-level id: `xip` lists no subtransactions, so an open subtransaction's id
    /// would pass for visible.
    pub fn sees(&self, xid: Xid) -> bool {
        let xid = xid.as_u64();
        xid < self.xmin || (xid < self.xmax && self.xip.binary_search(&xid).is_err())
    }

    /// Whether every transaction visible under `earlier` is visible here too.
    ///
    /// A base may be read under a snapshot only if it covers the slot's exported snapshot: otherwise
    /// a transaction that committed before the slot's consistent point could be in neither.
    pub fn covers(&self, earlier: &Snapshot) -> bool {
        let hidden_there = |xid: &u64| earlier.xip.binary_search(xid).is_ok();
        let ids_beyond = earlier.xmax.saturating_sub(self.xmax);
        if ids_beyond > earlier.xip.len() as u64 {
            return false;
        }
        (self.xmax..earlier.xmax).all(|xid| hidden_there(&xid))
            && self.xip.iter().filter(|xid| **xid < earlier.xmax).all(hidden_there)
    }

    /// The lowest id that was still in progress: everything before it had finished.
    pub fn xmin(&self) -> Xid {
        Xid::new(self.xmin)
    }

    /// One more than the newest id that had ended: everything from here on is invisible. Some of it may
    /// have been given out.
    pub fn xmax(&self) -> Xid {
        Xid::new(self.xmax)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, xid) in self.xip.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

/// The text is not of the form `10:20:10,14,15`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid snapshot \"{0}\"")]
pub struct ParseSnapshotError(String);

impl FromStr for Snapshot {
    type Err = ParseSnapshotError;

    fn from_str(text: &str) -> Result<Snapshot, ParseSnapshotError> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let xmin: u64 = parts.next()?.parse().ok()?;
            let xmax: u64 = parts.next()?.parse().ok()?;
            // A slot's exported snapshot can end before it begins, when the last ids given out were
            // not committed. To the server everything before xmin has finished, so that is its end.
            let xmax = xmax.max(xmin);
            let list = parts.next()?;
            let xip = if list.is_empty() {
                Vec::new()
            } else {
                list.split(',').map(|xid| xid.parse().ok()).collect::<Option<Vec<u64>>>()?
            };
            xip.is_sorted().then_some(Snapshot { xmin, xmax, xip })
        };
        parse().ok_or_else(|| ParseSnapshotError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().expect("valid snapshot")
    }

    #[test]
    fn sees_what_had_finished() {
        let snapshot = snapshot("10:20:10,14,15");
        for (xid, seen) in
            [(9, true), (10, false), (11, true), (14, false), (19, true), (20, false)]
        {
            assert_eq!(snapshot.sees(Xid::new(xid)), seen, "xid {xid}");
        }
    }

    #[test]
    fn covers_only_when_nothing_visible_is_hidden_again() {
        let exported = snapshot("10:20:10,14");
        assert!(snapshot("10:20:10,14").covers(&exported));
        assert!(snapshot("14:25:14,22").covers(&exported));
        assert!(!snapshot("10:25:10,15").covers(&exported), "15 was visible and is hidden again");
        assert!(!snapshot("10:19:10,14").covers(&exported), "19 was visible, now beyond xmax");
        assert!(snapshot("10:19:10").covers(&snapshot("10:20:10,19")));
    }

    #[test]
    fn an_exported_snapshot_may_end_before_it_begins() {
        let exported = snapshot("740:739:");
        assert_eq!(exported, snapshot("740:740:"));
        assert!(exported.sees(Xid::new(739)) && !exported.sees(Xid::new(740)));
        assert!(!snapshot("739:745:739").covers(&exported), "739 was visible");
    }

    #[test]
    fn round_trips_as_text() {
        for text in ["10:20:10,14,15", "10:10:", "4294967300:4294967301:4294967300"] {
            assert_eq!(snapshot(text).to_string(), text);
        }
        for text in ["", "10:20", "1:9:5,4", "a:b:"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }
}
