//! The `pgtrail` binary. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _armed = arm();
    pgtrail_tools::main()
}

/// Arms what `$FAILPOINTS` names. A panic at a failpoint stands for a crash: nothing is cleaned up.
#[cfg(feature = "failpoints")]
fn arm() -> fail::FailScenario<'static> {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    fail::FailScenario::setup()
}
