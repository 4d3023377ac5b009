//! The two servers that all tests of a suite share, each test in databases of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cluster::Cluster;
use crate::database::Database;

/// A source and a destination server. Tests that stop or kill a server start their own
/// with [`Pair::start`].
#[derive(Debug)]
pub struct Pair {
    /// Where changes come from.
    pub source: Cluster,
    /// Where they go.
    pub destination: Cluster,
}

/// The pair of this test process, started at first use.
pub fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(Pair::start)
}

impl Pair {
    /// A pair of its own, with the default version on both sides.
    pub fn start() -> Pair {
        Pair { source: Cluster::builder().start(), destination: Cluster::builder().start() }
    }

    /// Two empty databases with a name that no other test of this process has.
    pub async fn fresh_databases(&self) -> (Database, Database) {
        let name = fresh_name();
        (self.source.create_database(&name).await, self.destination.create_database(&name).await)
    }
}

/// A name for a database or a pipeline that nobody else in this process has.
pub fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
