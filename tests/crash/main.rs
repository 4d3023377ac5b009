//! SIGKILL at random moments, of everything there is, under the ledger; and the log's order against
//! an independent decoder.
//!
//! Each round kills the reader, the applier, the source server or the destination server, or breaks
//! a connection (a cut, a swallowed reply to a COMMIT), lets the load run on, and starts again what
//! died. A poller asks all the while whether the destination shows whole transactions only. In the
//! end both sides are equal row for row, and an audit trigger has seen each row operation once.
//!
//! Rounds go on until there were 50 or `PGTRAIL_CRASH_SECS` (300) are over; `PGTRAIL_SEED` repeats a
//! run's choices.

mod order;
mod rounds;
