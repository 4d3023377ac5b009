//! pgoutput: the bytes of the source's output plugin, protocol versions 1 to 4, as [`Message`]s.
//!
//! Owns the wire format and nothing else: no input or output, no memory of earlier messages but one,
//! whether the stream is inside a chunk of a transaction in progress (see [`Decoder`]). See
//! PostgreSQL's documentation, "Logical Replication Message Formats".
//!
//! The one invariant: any bytes give a message or a [`DecodeError`], never a panic, and a message
//! borrows from the bytes: rows cost no allocation.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

mod bytes;
mod decoder;
mod message;

pub use decoder::{DecodeError, Decoder, Flaw};
pub use message::{
    Begin, ColumnDescription, Commit, Message, Oids, Prepared, RelationDescription,
    RollbackPrepared, Row, TypeDescription,
};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod wire;
