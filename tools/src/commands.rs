//! The commands, one file each with its help text.

pub mod applier;
pub mod demo;
pub mod grants;
pub mod init;
pub mod log;
pub mod precheck;
pub mod reader;
pub mod resync;
pub mod run;
pub mod schema;
pub mod status;
pub mod teardown;
