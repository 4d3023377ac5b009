//! What the commands do and refuse: setting up and taking apart, bad input with its answer and exit
//! code, the control sockets, and the output of `status` and `log`.
//!
//! Rows of the fault matrix: P6 (a second process), P8 (SIGTERM), O9 (a halt is told everywhere
//! alike).

mod logs;
mod processes;
mod refusals;
mod release;
mod setup;
mod stages;
