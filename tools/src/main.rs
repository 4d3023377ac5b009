//! The `pgtrail` binary. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgtrail_tools::main()
}
