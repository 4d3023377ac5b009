use std::path::PathBuf;
use std::time::Duration;

use pgtrail_log::Lsn;
use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::{ConnInfo, Rate};

use crate::conflict::Policies;

/// What an applier is to do.
#[derive(Clone, Debug)]
pub struct ApplierConfig {
    /// The pipeline's name.
    pub pipeline: String,
    /// The destination's name in the configuration.
    pub destination: String,
    /// How to reach it.
    pub conninfo: ConnInfo,
    /// The log to follow.
    pub log_dir: PathBuf,
    /// From the source's names to the destination's.
    pub mapping: Mapping,
    /// Where to stop; `None` goes on for ever.
    pub stop_at: Option<StopAt>,
    /// How much is applied in one destination transaction.
    pub group: GroupBounds,
    /// What comes after the initial state.
    pub extent: Extent,
    /// Whether the schema is made from the log.
    pub schema: bool,
    /// What becomes of what is at the destination already.
    pub on_existing: OnExisting,
    /// What is done about conflicts.
    pub policies: Policies,
    /// How many tables of the base are loaded side by side.
    pub copy_jobs: usize,
    /// How fast they may be loaded, all together.
    pub copy_rate: Rate,
    /// How long an unreachable destination is tried again, once it has been connected to.
    pub connect_retry: Duration,
    /// How long an error that may pass by itself is tried again.
    pub error_retry: Duration,
    /// How long the destination may be silent while we wait for it.
    pub peer_timeout: Duration,
    /// How long to wait for the seat of an applier that just died.
    pub seat_wait: Duration,
}

impl ApplierConfig {
    /// A configuration with every default.
    pub fn new(
        pipeline: impl Into<String>,
        destination: impl Into<String>,
        conninfo: ConnInfo,
        log_dir: impl Into<PathBuf>,
    ) -> ApplierConfig {
        ApplierConfig {
            pipeline: pipeline.into(),
            destination: destination.into(),
            conninfo,
            log_dir: log_dir.into(),
            mapping: Mapping::identity(),
            stop_at: None,
            group: GroupBounds::default(),
            extent: Extent::Changes,
            schema: false,
            on_existing: OnExisting::Fail,
            policies: Policies::default(),
            copy_jobs: 2,
            copy_rate: Rate::default(),
            connect_retry: Duration::from_secs(12 * 3600),
            error_retry: Duration::from_secs(600),
            peer_timeout: Duration::from_secs(60),
            seat_wait: Duration::from_secs(30),
        }
    }

    /// Where this applier keeps its own view of the log.
    pub(crate) fn follower_dir(&self) -> PathBuf {
        self.log_dir.join("followers").join(&self.destination)
    }
}

/// What becomes of tables and rows that are at the destination before pgtrail comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnExisting {
    /// Nothing is touched: the applier halts.
    #[default]
    Fail,
    /// Tables stay as they are, and so does a row where the copy has one of the same key.
    Keep,
}

/// What comes after the initial state, by the stages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Every change, for as long as it lasts.
    Changes,
    /// Changes up to where the source was when the copy had ended, which the log tells.
    Copy,
    /// Nothing.
    Schema,
}

/// Where an applier is to stop by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopAt {
    /// After every transaction that committed at or before this place.
    Lsn(Lsn),
    /// At the log's durable end, as it is when the applier starts.
    LogEnd,
}

/// How much goes into one destination transaction. A source transaction is never divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupBounds {
    /// Row changes.
    pub rows: usize,
    /// Bytes of row images.
    pub bytes: usize,
    /// Time spent on reading it from the log.
    pub time: Duration,
}

impl Default for GroupBounds {
    /// Rows: statements over a few thousand rows are as fast as they get, and every hot row in a
    /// longer group folds to one update. Bytes: a group is held about three times (as read, as
    /// encoded, in the socket), by two stages at once. Time: bounds the lag a reader of the
    /// destination sees while a backlog is worked off.
    fn default() -> GroupBounds {
        GroupBounds { rows: 20_000, bytes: 8 << 20, time: Duration::from_millis(500) }
    }
}
