//! The applier against a real destination, fed from logs written here: no source server.
//!
//! Each test writes the records a source would send, lets the applier run to the log's end, and asks
//! the destination. Ids such as `e4` are those of the project's findings.

mod base;
mod conflicts;
mod findings;
mod policies;
mod rows;
mod scene;
mod seat;
