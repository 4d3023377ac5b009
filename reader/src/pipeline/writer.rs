//! The writer thread: takes what has been assembled, writes it, syncs once, confirms once.
//!
//! It runs at its own pace. While it writes, the next batches gather in a queue that is bounded in
//! bytes; when it is done it takes as much as one write may hold. So a slow disk makes the writes
//! larger, not more.
//!
//! The invariant: batches are written in the order they were queued, and a failed write ends the
//! thread for good.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use pgtrail_log::LogWriter;
use tokio::sync::{Notify, oneshot};

use super::confirm::{Confirmer, Durable};
use crate::Error;
use crate::assemble::Batch;

/// Bytes of records that may wait. Together with the transactions in progress (64 MB), the write
/// under way and RocksDB's buffers this keeps the process under 300 MB.
const QUEUE_BYTES: usize = 24 << 20;

/// Bytes of records in one write: a sync costs half a millisecond or more, compressing these about
/// twenty.
const WRITE_BYTES: usize = 8 << 20;

/// Batches on their way to the writer thread.
#[derive(Debug, Default)]
pub(super) struct LogQueue {
    inner: Mutex<Inner>,
    arrived: Condvar,
    /// The writer has nothing to do.
    idle: AtomicBool,
    became_idle: Notify,
    made_room: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    batches: VecDeque<Batch>,
    bytes: usize,
    closed: bool,
}

impl LogQueue {
    /// Until a batch may be queued. One is always taken when none waits, however large.
    ///
    /// Apart from [`LogQueue::push`], so that a caller that is cancelled while it waits loses nothing.
    pub(super) async fn room(&self) {
        loop {
            let made_room = self.made_room.notified();
            {
                let inner = self.inner();
                if inner.batches.is_empty() || inner.bytes < QUEUE_BYTES || inner.closed {
                    return;
                }
            }
            made_room.await;
        }
    }

    /// Queues a batch.
    pub(super) fn push(&self, batch: Batch) {
        {
            let mut inner = self.inner();
            inner.bytes += batch.bytes;
            inner.batches.push_back(batch);
            self.idle.store(false, Ordering::Release);
        }
        self.arrived.notify_one();
    }

    /// Whether the writer waits for work.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Acquire)
    }

    /// Until the writer waits for work.
    pub(super) async fn idle(&self) {
        loop {
            let became_idle = self.became_idle.notified();
            if self.is_idle() {
                return;
            }
            became_idle.await;
        }
    }

    /// No more batches come; the writer ends after those that are there.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.arrived.notify_one();
    }

    /// What to write next; none when there is nothing and nothing will come.
    fn take(&self) -> Option<Batch> {
        let mut inner = self.inner();
        loop {
            if let Some(mut batch) = inner.batches.pop_front() {
                while let Some(next) = inner.batches.front()
                    && batch.bytes + next.bytes <= WRITE_BYTES
                {
                    let next = inner.batches.pop_front();
                    next.into_iter().for_each(|next| batch.append(next));
                }
                inner.bytes -= batch.bytes;
                drop(inner);
                self.made_room.notify_one();
                batch.drop_discarded_chunks();
                return Some(batch);
            }
            self.idle.store(true, Ordering::Release);
            self.became_idle.notify_one();
            if inner.closed {
                return None;
            }
            inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread is gone: nobody must wait for it.
    fn abandon(&self) {
        self.inner().closed = true;
        self.idle.store(true, Ordering::Release);
        self.became_idle.notify_one();
        self.made_room.notify_one();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer thread, seen from the tasks.
pub(super) struct Writing {
    end: oneshot::Receiver<Result<(), Error>>,
    result: Option<Result<(), Error>>,
}

impl Writing {
    /// Starts the thread.
    pub(super) fn start(
        queue: Arc<LogQueue>,
        log: Arc<LogWriter>,
        confirmer: Arc<Confirmer>,
    ) -> Result<Writing, Error> {
        let (ended, end) = oneshot::channel();
        let run = move || {
            let result = write_all(&queue, &log, &confirmer);
            queue.abandon();
            drop((queue, log, confirmer));
            // Nobody listens any more when the process is ending for another reason.
            let _ = ended.send(result);
        };
        thread::Builder::new()
            .name("pgtrail-writer".to_owned())
            .spawn(run)
            .map_err(|_| Error::Invariant("the writer thread could not be started"))?;
        Ok(Writing { end, result: None })
    }

    /// Ends only when the thread does, which before [`Writing::finish`] is a failure.
    pub(super) async fn failed(&mut self) -> Error {
        self.result = Some(self.ended().await);
        // The failure itself is told by `finish`.
        Error::Invariant("the writer thread ended")
    }

    /// Has everything written that is queued, and tells how it went.
    pub(super) async fn finish(mut self, queue: &LogQueue) -> Result<(), Error> {
        queue.close();
        match self.result.take() {
            Some(result) => result,
            None => self.ended().await,
        }
    }

    async fn ended(&mut self) -> Result<(), Error> {
        (&mut self.end).await.unwrap_or(Err(Error::Invariant("the writer thread panicked")))
    }
}

fn write_all(queue: &LogQueue, log: &LogWriter, confirmer: &Confirmer) -> Result<(), Error> {
    while let Some(batch) = queue.take() {
        let durable = Durable::of(&batch);
        fail::fail_point!("reader::pipeline::before_write");
        let mark = log.write(batch.set)?;
        fail::fail_point!("reader::pipeline::after_write");
        confirmer.written(mark, &durable)?;
    }
    // A clean stop leaves no WAL behind, only what is compressed.
    log.flush()?;
    Ok(())
}
