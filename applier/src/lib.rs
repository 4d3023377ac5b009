//! From the change log to a destination: base first, then changes, exactly once.
//!
//! [`run`] follows one log and keeps one destination up to date. It never asks the source. The way of a
//! change: `feed` reads it from the log into a `group`, `plan` turns the group into statements (folding
//! it by key in `fold`, or cutting it into runs in `keyless`), `session` runs them in one destination
//! transaction with the checkpoint, `conflict` decides when a row disagrees.

mod base;
mod checkpoint;
mod config;
mod conflict;
mod destination;
mod error;
mod feed;
mod fold;
mod group;
mod guard;
mod keep;
mod keyless;
mod oids;
mod pipeline;
mod plan;
mod rebase;
mod retry;
mod schema;
pub mod seat;
mod sequences;
mod session;
mod statement;
pub mod status;
mod target;
mod tuple;

use std::sync::Arc;

use tokio::sync::{Notify, watch};

pub use config::{ApplierConfig, Extent, GroupBounds, OnExisting, StopAt};
pub use conflict::{ConflictKind, Policies, Policy};
pub use error::Error;
pub use status::{ApplierState, ApplierStatus, SequenceState};

/// Applies the log to the destination until `shutdown` holds true or the place to stop at is applied.
///
/// `wake` is notified by whoever learns that the log grew; without that the log is looked at several
/// times a second. Needs a multi-thread runtime.
///
/// # Errors
/// When a person is needed, or a retry window is spent.
pub async fn run(
    config: ApplierConfig,
    status: Arc<ApplierStatus>,
    wake: Arc<Notify>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), Error> {
    let done = Box::pin(pipeline::run(config, Arc::clone(&status), wake, shutdown)).await;
    status.set_last_error(done.as_ref().err().map(ToString::to_string));
    status.set_state(ApplierState::Stopped);
    done
}
