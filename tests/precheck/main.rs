//! `pgtrail precheck` and `pgtrail grants`: each item is caused on a real server, seen by its id, and
//! mended by the very command it printed.

mod command;
mod grants;
mod look;
mod objects;
mod pooler;
mod rights;
mod server;
mod sides;
mod values;
