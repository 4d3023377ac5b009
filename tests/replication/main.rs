//! What arrives: every kind of value, table, identity, statement and transaction, by way of the
//! base copy and by way of the stream. After PostgreSQL's own `src/test/subscription/t`.
//!
//! Each test says what happens at the source and then asks that both sides hold the same rows;
//! that nothing was applied twice is the ledger's business. Row ids such as `w3` are those of the
//! fault matrix in the project's design notes.

mod base;
mod columns;
mod encoding;
mod generated;
mod identity;
mod large;
mod majors;
mod names;
mod partition;
mod resync;
mod sequences;
mod settings;
mod streamed;
mod toast;
mod truncate;
mod two_phase;
mod types;
