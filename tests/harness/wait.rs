//! Waiting for a condition, with a deadline. The only place of the suites that sleeps.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Polls `condition` until it holds.
///
/// # Panics
/// When it does not hold `within` the time, naming `what` was waited for.
pub async fn wait_until(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    wait_for(what, within, async || condition().await.then_some(())).await;
}

/// Polls `look` until it finds something, and returns it.
///
/// # Panics
/// When nothing was found `within` the time, naming `what` was waited for.
pub async fn wait_for<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < within, "waited {within:?} in vain for {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// [`wait_for`] for code without a runtime; `None` when the time is over.
pub fn poll_blocking<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if started.elapsed() >= within {
            return None;
        }
        std::thread::sleep(INTERVAL);
    }
}
