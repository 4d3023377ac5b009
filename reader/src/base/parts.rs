//! A large table read in parts by several sessions.
//!
//! Owns who reads which part. The leader holds the table's lock and the snapshot, and offers the parts;
//! whoever has nothing else to do imports the snapshot, takes the lock without waiting for it, and reads
//! what is left, one part after the other. Who does not get the lock has taken no part: waiting behind an
//! ALTER that waits for the leader would never end. The invariant: the base is finished only when every
//! part was read to its end; a part that was begun and not finished spoils the whole table, because some
//! of its rows are in the base already.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgtrail_log::{BaseTable, CopyFormat};
use tokio::sync::{Notify, mpsc};

use super::rows::Rows;

/// A table of at least this many pages (64 MB) is read in parts: below that one session takes a second
/// at most, and exporting a snapshot for others gains nothing.
pub(super) const SPLIT_PAGES: u64 = 8192;

/// Pages of a part (32 MB): small enough for sessions to end together, large enough for a COPY's
/// beginning to cost nothing.
const PART_PAGES: u64 = 4096;

/// Pages from the first to before the end; without an end, to the table's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) from: u64,
    pub(super) to: Option<u64>,
}

impl Part {
    /// The condition that only its rows meet.
    pub(super) fn condition(self) -> String {
        let from = format!("ctid >= '({},0)'::pg_catalog.tid", self.from);
        match self.to {
            Some(to) => format!("{from} and ctid < '({to},0)'::pg_catalog.tid"),
            None => from,
        }
    }
}

/// The parts of a table of so many pages; one part when it is not worth splitting. The last one has no
/// end: the table may have grown since it was measured.
pub(super) fn split(pages: u64, split_pages: u64) -> Vec<Part> {
    let size = PART_PAGES.min(split_pages.div_ceil(2)).max(1);
    let count = if pages < split_pages { 1 } else { (pages / size).max(1) };
    (0..count)
        .map(|n| Part { from: n * size, to: (n + 1 < count).then_some((n + 1) * size) })
        .collect()
}

/// The parts of one table, and what is needed to read them.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) table: BaseTable,
    /// The leader's snapshot, exported.
    pub(super) snapshot: String,
    /// Column list and table, for the COPY of a part.
    pub(super) columns: String,
    pub(super) format: CopyFormat,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    left: VecDeque<Part>,
    running: usize,
    failed: bool,
    /// Where the rows go; `None` once nothing more may come.
    sender: Option<mpsc::Sender<Rows>>,
}

impl Offer {
    pub(super) fn new(
        table: BaseTable,
        snapshot: String,
        columns: String,
        format: CopyFormat,
        parts: Vec<Part>,
        sender: mpsc::Sender<Rows>,
    ) -> Offer {
        let state = State { left: parts.into(), running: 0, failed: false, sender: Some(sender) };
        let (state, changed) = (Mutex::new(state), Notify::new());
        Offer { table, snapshot, columns, format, state, changed }
    }

    /// Whether there is a part that nobody reads.
    pub(super) fn has_parts(&self) -> bool {
        let state = self.state();
        !state.left.is_empty() && !state.failed && state.sender.is_some()
    }

    /// Takes a part, and where its rows go.
    pub(super) fn claim(self: &Arc<Offer>) -> Option<(Claim, mpsc::Sender<Rows>)> {
        let mut state = self.state();
        if state.failed {
            return None;
        }
        let sender = state.sender.clone()?;
        let part = state.left.pop_front()?;
        state.running += 1;
        Some((Claim { offer: Arc::clone(self), part, complete: false }, sender))
    }

    /// Waits until no part is being read; whether all were read to their end.
    pub(super) async fn settled(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            let (running, left, failed) = {
                let state = self.state();
                (state.running, state.left.len(), state.failed)
            };
            if running == 0 {
                return left == 0 && !failed;
            }
            changed.await;
        }
    }

    /// No more parts are given out, and the rows' way ends with those under way.
    pub(super) fn withdraw(&self) {
        let mut state = self.state();
        state.failed |= !state.left.is_empty() || state.running > 0;
        state.sender = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part that is being read. Dropped before it is complete, it spoils the table.
#[derive(Debug)]
pub(super) struct Claim {
    offer: Arc<Offer>,
    pub(super) part: Part,
    complete: bool,
}

impl Claim {
    /// All its rows are on their way.
    pub(super) fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.offer.state();
        state.running -= 1;
        state.failed |= !self.complete;
        drop(state);
        self.offer.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pages: u64, split_pages: u64, expected: &[(u64, Option<u64>)]) {
        let found: Vec<_> =
            split(pages, split_pages).into_iter().map(|part| (part.from, part.to)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn parts_cover_every_page_once_and_the_last_has_no_end() {
        check(0, SPLIT_PAGES, &[(0, None)]);
        check(SPLIT_PAGES - 1, SPLIT_PAGES, &[(0, None)]);
        check(SPLIT_PAGES, SPLIT_PAGES, &[(0, Some(PART_PAGES)), (PART_PAGES, None)]);
        check(7, 4, &[(0, Some(2)), (2, Some(4)), (4, None)]);
        check(2, 1, &[(0, Some(1)), (1, None)]);
    }

    fn offer(parts: Vec<Part>) -> (Arc<Offer>, mpsc::Receiver<Rows>) {
        let (sender, receiver) = mpsc::channel(1);
        let table = BaseTable {
            relation: 1,
            schema: "s".to_owned(),
            name: "t".to_owned(),
            size: pgtrail_log::TableSize::default(),
        };
        let (snapshot, columns) = (String::new(), String::new());
        let offer = Offer::new(table, snapshot, columns, CopyFormat::Text, parts, sender);
        (Arc::new(offer), receiver)
    }

    #[tokio::test]
    async fn a_part_that_was_given_up_spoils_the_table() {
        let (whole, _rows) = offer(split(4, 1));
        while let Some((claim, _)) = whole.claim() {
            claim.complete();
        }
        assert!(whole.settled().await);
        let (spoilt, _rows) = offer(split(4, 1));
        drop(spoilt.claim());
        assert!(!spoilt.has_parts() && spoilt.claim().is_none());
        assert!(!spoilt.settled().await);
    }
}
