//! Suite `base`: the initial copy, the catalog snapshots it goes by, and the comparison that judges
//! it.
//!
//! Names begin with the finding that a test stands for: what was tried on real servers and would
//! lose rows if the copy were built otherwise.

mod along;
mod catalog;
mod comparing;
mod copies;
mod formats;
mod handover;
mod parts;
mod restart;
