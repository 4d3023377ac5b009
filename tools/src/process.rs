//! What every long-running process of ours does: stop cleanly on a signal, tell its rates, and
//! leave a note when it halts.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::render::{Report, say};

/// What a second SIGTERM or SIGINT does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Second {
    /// The process ends at once: what it was doing is safe to cut short.
    Ends,
    /// Nothing: what others would have to clean up is being cleaned up.
    IsIgnored,
}

/// Becomes true at the first SIGTERM or SIGINT.
///
/// # Errors
/// When signals cannot be caught.
pub(crate) fn shutdown_on_signal(second: Second) -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    stop_on_signal(stop, second)?;
    Ok(stopped)
}

/// The same for a process that `pgtrail run` started: also when that one is gone, however it went.
/// Its end of our standard input closes with it.
///
/// # Errors
/// When signals cannot be caught.
pub(crate) fn shutdown_of_child(supervised: bool) -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    if supervised {
        let stop = stop.clone();
        // A thread of its own: a blocking read would keep the runtime from ending.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = stop.send(true);
        });
    }
    // A terminal's Ctrl-C comes twice: to all of the process group, and from the parent as SIGTERM.
    let second = if supervised { Second::IsIgnored } else { Second::Ends };
    stop_on_signal(stop, second)?;
    Ok(stopped)
}

fn stop_on_signal(stop: watch::Sender<bool>, second: Second) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
    tokio::spawn(async move {
        let mut already = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if already && second == Second::Ends {
                say("stopped at once by a second signal");
                std::process::exit(130);
            }
            already = true;
            let _ = stop.send(true);
        }
    });
    Ok(())
}

/// Waits until `shutdown` is true; for ever when it never becomes so.
pub(crate) async fn asked_to_stop(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The note a halted process leaves in the log directory, for `pgtrail status`. The next start
/// removes it.
#[derive(Clone, Debug)]
pub(crate) struct HaltNote {
    path: PathBuf,
}

impl HaltNote {
    /// The note of the process called `process` ("reader", "applier-NAME").
    pub(crate) fn of(log_dir: &Path, process: &str) -> HaltNote {
        HaltNote { path: log_dir.join(format!("{process}.halted")) }
    }

    /// Forgets an earlier halt.
    pub(crate) fn clear(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// Notes how the process ended, unless it ended well. Failing to is not worth more than the
    /// error itself.
    pub(crate) fn leave(&self, result: &anyhow::Result<()>) {
        if let Err(error) = result {
            let report = Report::of(error);
            let _ = std::fs::write(&self.path, report.json().to_string());
        }
    }

    /// What the process said when it halted.
    pub(crate) fn read(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }
}

/// Counters that grow, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) transactions: u64,
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
    pub(crate) base_rows: u64,
    pub(crate) base_bytes: u64,
    /// How far the work has come in, and how far it is done: byte offsets.
    pub(crate) head: u64,
    pub(crate) tail: u64,
}

/// How fast the counters grew lately, and for how long what came in has waited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    samples: Arc<Mutex<VecDeque<(Instant, Counters)>>>,
}

/// Rates are the mean over this many seconds: long enough to be steady, short enough to be of now.
const RATE_WINDOW: usize = 5;

/// Samples kept while something waits: a lag is known up to an hour, then shown as one.
const LAG_WINDOW: usize = 3600;

impl Rates {
    /// Starts to look at the counters every second, until the runtime ends.
    pub(crate) fn watch(counters: impl Fn() -> Counters + Send + 'static) -> Rates {
        let rates = Rates::default();
        let samples = Arc::clone(&rates.samples);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tick.tick().await;
                let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                push(&mut samples, (Instant::now(), counters()));
            }
        });
        rates
    }

    /// The rates as `status` shows them.
    pub(crate) fn json(&self) -> Value {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let first = samples.len().saturating_sub(RATE_WINDOW + 1);
        let (Some(first), Some(last)) = (samples.get(first), samples.back()) else {
            return rates_between(&Counters::default(), &Counters::default(), Duration::ZERO);
        };
        rates_between(&first.1, &last.1, last.0.duration_since(first.0))
    }

    /// For how long the oldest work that came in and is not done has waited, to the second.
    pub(crate) fn lag(&self, tail: u64) -> Duration {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = samples.iter().find(|(_, counters)| counters.head > tail);
        waiting.map(|(since, _)| since.elapsed()).unwrap_or_default()
    }
}

/// Adds a sample and drops those that neither the rates nor the lag need any more.
fn push(samples: &mut VecDeque<(Instant, Counters)>, sample: (Instant, Counters)) {
    let tail = sample.1.tail;
    samples.push_back(sample);
    while samples.len() > RATE_WINDOW + 1 {
        let needed = samples.front().is_some_and(|(_, first)| first.head > tail);
        if needed && samples.len() <= LAG_WINDOW {
            break;
        }
        samples.pop_front();
    }
}

fn rates_between(earlier: &Counters, later: &Counters, elapsed: Duration) -> Value {
    let rate = |earlier: u64, later: u64| {
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        later.saturating_sub(earlier).saturating_mul(1000).checked_div(millis).unwrap_or(0)
    };
    json!({
        "transactions_per_s": rate(earlier.transactions, later.transactions),
        "changes_per_s": rate(earlier.changes, later.changes),
        "bytes_per_s": rate(earlier.bytes, later.bytes),
        "base_rows_per_s": rate(earlier.base_rows, later.base_rows),
        "base_bytes_per_s": rate(earlier.base_bytes, later.base_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        let later = Counters { transactions: 10, changes: 30, ..Counters::default() };
        let rates = rates_between(&Counters::default(), &later, Duration::from_secs(2));
        assert_eq!(rates["transactions_per_s"], 5);
        assert_eq!(rates["changes_per_s"], 15);
        let none = rates_between(&Counters::default(), &later, Duration::ZERO);
        assert_eq!(none["changes_per_s"], 0);
    }

    #[test]
    fn samples_stay_while_their_work_waits() {
        let now = Instant::now();
        let mut samples = VecDeque::new();
        for head in 1..=20 {
            push(&mut samples, (now, Counters { head, tail: 3, ..Counters::default() }));
        }
        assert_eq!(samples.front().expect("a sample").1.head, 4, "4 came in and is not done");
        push(&mut samples, (now, Counters { head: 20, tail: 20, ..Counters::default() }));
        assert_eq!(samples.len(), RATE_WINDOW + 1);
    }

    #[test]
    fn a_halt_leaves_a_note_until_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let note = HaltNote::of(dir.path(), "reader");
        note.leave(&Ok(()));
        assert_eq!(note.read(), None);
        note.leave(&Err(crate::Failure::halt("PGT-0599", "stuck").hint("look").into()));
        assert_eq!(note.read().expect("a note")["code"], "PGT-0599");
        note.clear();
        assert_eq!(note.read(), None);
    }
}
