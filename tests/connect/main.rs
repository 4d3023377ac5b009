//! Suite `connect`: how sessions come about, against real servers.
//!
//! Authentication methods, TLS modes and certificates, what is refused and how that is said, the
//! settings of a session, and the replication link with its slots and its stream. Rows of the fault
//! matrix: N1 (silence is noticed), N3 (feedback goes on while a large message arrives), N7 (files
//! are read anew), S1 and S8 (slot and role errors keep their SQLSTATE), W11 (pinned settings).

mod authentication;
mod certificates;
mod fake;
mod hosts;
mod replication;
mod server;
mod session;
mod silence;
mod tls;
