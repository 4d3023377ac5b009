//! The reader: the source's replication slot, decoded and put into the change log.
//!
//! Owns everything that talks to the source: the replication connection, the copy of the tables into
//! the log ([`base`]), the stream of changes, and the watch over slot and publication. It knows
//! nothing of destinations.
//!
//! The one invariant: `received_lsn >= durable_lsn >= confirmed_flush_lsn`. The slot is told a place
//! only after the log holds everything before it, synced. Only `pipeline` confirms.

pub mod base;
pub mod pgoutput;
pub mod replication;

mod assemble;
mod config;
mod diagnose;
mod error;
mod pipeline;
mod rebase;
mod relations;
mod retention;
mod retry;
mod schema;
mod sequences;
mod status;
mod stream;
mod watch;
mod xid;

pub use config::{ReaderConfig, Retention};
pub use error::Error;
pub use pipeline::run;
pub use rebase::ResyncRequest;
pub use retention::Fullness;
pub use status::{ReaderState, ReaderStatus, StatusSnapshot};
