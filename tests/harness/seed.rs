//! Seeds and budgets: what a run chose by chance is printed, and can be chosen again.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The seed of this run: `PGTRAIL_SEED` if set, else a fresh one. Printed, so that a failure shows
/// how to repeat it.
///
/// # Panics
/// When `PGTRAIL_SEED` is not a number.
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("PGTRAIL_SEED") {
        Ok(text) => text.parse().expect("PGTRAIL_SEED is a number"),
        Err(_) => rand::random::<u32>().into(),
    };
    println!("{test}: PGTRAIL_SEED={seed}");
    seed
}

/// A generator for one purpose of a test, independent of its other purposes.
pub fn rng(seed: u64, purpose: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// A time budget in seconds from the environment.
///
/// # Panics
/// When the variable is set and is not a number.
pub fn budget_secs(variable: &str, default: u64) -> Duration {
    Duration::from_secs(number(variable, default))
}

/// A number from the environment.
///
/// # Panics
/// When the variable is set and is not a number.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")),
        Err(_) => default,
    }
}
