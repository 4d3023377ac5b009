//! How values lie on disk, format version 1.
//!
//! Owns bytes and nothing else: no database, no clock. `docs/log-format.md` tells the same layout
//! with its reasons. The one invariant: whatever the bytes, decoding answers with a value or an
//! [`Error`](crate::Error), never with a panic or an allocation that the bytes do not pay for.

pub(crate) mod block;
pub(crate) mod columns;
pub(crate) mod compress;
pub(crate) mod envelope;
pub(crate) mod messages;
pub(crate) mod payload;
pub(crate) mod pieces;
pub(crate) mod records;
pub(crate) mod transactions;
pub(crate) mod values;
pub(crate) mod varint;
