//! Tests of the whole log: a real database in a temporary directory.

mod damage;
mod follow;
mod format;
mod life;
mod support;
