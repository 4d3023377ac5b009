//! Damaged, lost, aged and foreign logs.
//!
//! A byte changed in any file of a log is either reported (`log check` ends with 5) or changes
//! nothing at all of what the log holds; in no case does an applier write what the source never
//! had. A log that is gone, older than the slot, or another source's is refused at start, each with
//! a code of its own.

mod digest;
mod flips;
mod refused;
