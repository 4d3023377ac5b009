//! The schema engine on real servers.
//!
//! The fixtures together have every kind of object that a schema can hold. What the engine makes of
//! them is judged by `pg_dump`: two databases with equal dumps have equal schemas, and between
//! versions `pg_dump | psql` says what the other server makes of the same schema.

mod alters;
mod commands;
mod dump;
mod fixture;
mod keep;
mod pipeline;
mod regression;
mod round_trip;
mod selection;
