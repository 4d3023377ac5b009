//! What both sides need of PostgreSQL: connections, catalog snapshots, names, quoting, SQLSTATEs.
//!
//! Reader, applier and tools all connect through here, so a source and a destination are reached by
//! the same rules: one connection string as libpq reads it ([`conninfo`]), one stream under both
//! kinds of session ([`wire`], [`tls`]), one set of session settings ([`connect`]). What a server can
//! do is asked once ([`capabilities`]); no other place compares versions.
//!
//! pgoutput is not here: it has one user, the reader.

pub mod capabilities;
pub mod connect;
pub mod conninfo;
pub mod error;
pub mod mapping;
pub mod quote;
pub mod schema;
pub mod selection;
pub mod sequence;
pub mod sqlstate;
pub mod throttle;
pub mod tls;
pub mod wire;

pub use capabilities::Capabilities;
pub use connect::{Session, SessionSettings, connect};
pub use conninfo::ConnInfo;
pub use error::Error;
pub use throttle::{Rate, Throttle};
