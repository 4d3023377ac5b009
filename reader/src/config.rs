//! What a reader needs to be told.

use std::path::PathBuf;
use std::time::Duration;

use pgtrail_log::Lsn;
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::{ConnInfo, Rate};

/// Everything a reader needs to be told.
#[derive(Clone, Debug)]
pub struct ReaderConfig {
    /// Name of the pipeline.
    pub pipeline: String,
    /// How to reach the source.
    pub conninfo: ConnInfo,
    /// Where the log is.
    pub log_dir: PathBuf,
    /// The publication of the tables.
    pub publication: String,
    /// The replication slot.
    pub slot: String,
    /// Which tables go into the log.
    pub selection: Selection,
    /// Whether the source's schema goes into the log, for destinations to make theirs from.
    pub schema: bool,
    /// Whether existing rows are copied. Without, the initial set is empty.
    pub copy: bool,
    /// Whether changes go on after the copy. Without, they end where the source was when the copy
    /// had ended; without a copy as well there is no slot, and only the schema is taken.
    pub changes: bool,
    /// How often sequences are asked where they stand.
    pub sequence_interval: Duration,
    /// How many sessions copy at once.
    pub copy_jobs: usize,
    /// How fast the copy may read.
    pub copy_rate: Rate,
    /// Where to end: everything that committed up to here, and the whole copy, is in the log.
    pub stop_at: Option<Lsn>,
    /// How long a source that cannot be reached is tried again, after it once was.
    pub connect_retry: Duration,
    /// How long errors that may pass by themselves are tried again.
    pub error_retry: Duration,
    /// What stays in the log.
    pub retention: Retention,
    /// The appliers registered in the configuration: nothing they still need is purged.
    pub appliers: Vec<String>,
}

/// What stays in the log.
#[derive(Clone, Debug)]
pub struct Retention {
    /// How long changes are kept after all appliers have them.
    pub keep: Duration,
    /// Above this many bytes, changes that all appliers have go before `keep` is over; if that is not
    /// enough the reader stops reading.
    pub max_size: Option<u64>,
    /// Below this many free bytes on the log's disk the reader stops reading.
    pub min_free: u64,
    /// Whether the rows of the initial copy stay after all appliers have loaded them.
    pub keep_base: bool,
}

/// WAL page size of all but custom builds.
const WAL_PAGE: u64 = 8192;

/// The longest page header.
const WAL_PAGE_HEADER: u64 = 40;

/// The place that counts for "up to `stop_at`".
///
/// No record starts or ends inside a page header, so a position there (the source gives such ones
/// out, as its insert position) would never be passed on an idle source.
pub(crate) fn reachable(stop_at: Lsn) -> Lsn {
    let into_page = stop_at.as_u64() % WAL_PAGE;
    match into_page < WAL_PAGE_HEADER {
        true => Lsn::new(stop_at.as_u64() - into_page),
        false => stop_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_inside_a_page_header_counts_as_the_page_start() {
        for (asked, reached) in [
            (0x16_0000, 0x16_0000),
            (0x16_0018, 0x16_0000),
            (0x16_0027, 0x16_0000),
            (0x16_0028, 0x16_0028),
            (0x16_1fff, 0x16_1fff),
            (0x16_2018, 0x16_2000),
        ] {
            assert_eq!(reachable(Lsn::new(asked)), Lsn::new(reached), "{asked:x}");
        }
    }
}
