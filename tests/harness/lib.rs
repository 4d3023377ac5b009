//! The harness of the end-to-end suites: temporary servers, the real binary, a hostile network,
//! workloads and the oracles that judge them.
//!
//! It owns how a test gets servers ([`Cluster`], [`pair`]), drives the product ([`Pipeline`],
//! [`Process`]), hurts it ([`Proxy`], [`Stop`]) and knows what the outcome must be ([`Ledger`],
//! [`tables_of`]). It does not own any claim: those stand in the suites.
//!
//! The one invariant: whatever a test process starts lives below its scratch directory, and a
//! reaper removes all of it when that process is gone, however it went (see [`scratch`]). Helpers
//! panic with the evidence instead of returning errors, because a test has no better use for them.

pub mod cluster;
pub mod database;
pub mod install;
pub mod ledger;
pub mod link;
pub mod oracle;
pub mod pair;
pub mod pipeline;
pub mod process;
pub mod proxy;
pub mod scratch;
pub mod seed;
pub mod wait;

pub use cluster::{Cluster, ClusterBuilder, Stop};
pub use database::{Database, Sql};
pub use install::Install;
pub use ledger::{Ledger, LedgerOptions};
pub use link::{Link, LinkBuilder};
pub use oracle::{assert_equal, differences, tables_of, wait_equal};
pub use pair::{Pair, pair};
pub use pipeline::{Pipeline, PipelineBuilder};
pub use process::{Exit, Process, pgtrail_binary};
pub use proxy::Proxy;
pub use seed::{budget_secs, seed};
pub use wait::{wait_for, wait_until};
