/// What a program should do about an error.
///
/// Every crate's `Error` answers this for each of its variants, without a wildcard arm. The command
/// line turns it into an exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// It may pass by itself: try again with back-off, inside the retry window.
    Retry,
    /// The database cannot be reached or refuses the session. Long-running processes retry it inside
    /// their window once they have connected; commands a person waits for exit with 4.
    Unreachable,
    /// The configuration or the command line is wrong: exit with 2.
    Usage,
    /// Stop, keep everything, and tell a person what to do: exit with 3.
    Halt,
    /// The log is damaged: stop and exit with 5.
    Damaged,
    /// Our own invariant does not hold: stop and report, exit with 3.
    Bug,
}

impl Disposition {
    /// The documented exit code of a process that ends because of such an error.
    pub fn exit_code(self) -> u8 {
        match self {
            Disposition::Usage => 2,
            Disposition::Retry | Disposition::Halt | Disposition::Bug => 3,
            Disposition::Unreachable => 4,
            Disposition::Damaged => 5,
        }
    }
}
