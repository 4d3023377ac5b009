//! Status updates to the source: how far the log has come.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use pgtrail_log::{Lsn, Timestamp};
use pgtrail_postgres::Error;
use pgtrail_postgres::wire::WireStream;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::pulse::Pulse;

/// The last update is repeated this often: `wal_sender_timeout` counts from it, and servers set it
/// to 60 s by default, rarely under 30.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);

/// At most so often. Each update wakes the walsender out of decoding; the log confirms more often
/// than a slot's position has any use for.
const MIN_SPACING: Duration = Duration::from_millis(10);

/// How long a clean end may take before it is left to the server to notice.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Kind, length, `r`, three places, a clock, a flag.
const UPDATE_BYTES: usize = 1 + 4 + 1 + 4 * 8 + 1;

/// CopyDone, then Terminate.
const GOODBYE: &[u8] = b"c\0\0\0\x04X\0\0\0\x04";

/// How far the log has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Feedback {
    /// Received.
    pub written: Lsn,
    /// Durable: the slot lets go of everything before this.
    pub flushed: Lsn,
    /// What `pg_stat_replication` shows as replayed.
    pub applied: Lsn,
    /// Ask the source for a keepalive.
    pub reply_requested: bool,
}

impl Feedback {
    fn encode(&self) -> BytesMut {
        let mut message = BytesMut::with_capacity(UPDATE_BYTES);
        message.put_u8(b'd');
        message.put_u32(UPDATE_BYTES as u32 - 1);
        message.put_u8(b'r');
        message.put_u64(self.written.as_u64());
        message.put_u64(self.flushed.as_u64());
        message.put_u64(self.applied.as_u64());
        message.put_i64(Timestamp::now().0);
        message.put_u8(self.reply_requested.into());
        message
    }
}

/// Sends status updates from a task of its own. Dropped, it stops at once; see [`Self::close`].
#[derive(Debug)]
pub struct FeedbackSender {
    latest: watch::Sender<Feedback>,
    task: Option<JoinHandle<Result<(), Error>>>,
}

impl FeedbackSender {
    pub(super) fn spawn(write: WriteHalf<WireStream>, pulse: Arc<Pulse>) -> FeedbackSender {
        // Until the first update all places are 0, which the server takes as "nothing new".
        let (latest, receiver) = watch::channel(Feedback::default());
        FeedbackSender { latest, task: Some(tokio::spawn(run(write, receiver, pulse))) }
    }

    /// Hands an update over and returns at once. Only the latest is sent, and repeated.
    pub fn send(&self, feedback: Feedback) {
        self.latest.send_replace(feedback);
    }

    /// Sends what is still to be sent, says goodbye to the server and ends the connection's write
    /// half. The read half may be read to its end or dropped.
    ///
    /// # Errors
    /// When the connection is broken or the server takes nothing for some seconds.
    pub async fn close(mut self) -> Result<(), Error> {
        let Some(mut task) = self.task.take() else { return Ok(()) };
        // Nobody sends any more: that is what tells the task to end.
        let (closed, _) = watch::channel(Feedback::default());
        drop(std::mem::replace(&mut self.latest, closed));
        match timeout(CLOSE_TIMEOUT, &mut task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Closed { source: None }),
            Err(_) => {
                task.abort();
                Err(Error::Timeout { after: CLOSE_TIMEOUT })
            }
        }
    }
}

impl Drop for FeedbackSender {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn run(
    mut write: WriteHalf<WireStream>,
    mut latest: watch::Receiver<Feedback>,
    pulse: Arc<Pulse>,
) -> Result<(), Error> {
    let mut repeat = interval(REPEAT_INTERVAL.min(pulse.peer_timeout() / 4));
    repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    repeat.reset();
    loop {
        let ended = tokio::select! {
            changed = latest.changed() => changed.is_err(),
            _ = repeat.tick() => false,
        };
        if ended {
            write.write_all(GOODBYE).await.map_err(Error::broken)?;
            return write.shutdown().await.map_err(Error::broken);
        }
        let mut feedback = *latest.borrow_and_update();
        feedback.reply_requested |= pulse.is_faint();
        let sent = Instant::now();
        fail::fail_point!("reader::replication::before_feedback");
        write.write_all(&feedback.encode()).await.map_err(Error::broken)?;
        write.flush().await.map_err(Error::broken)?;
        fail::fail_point!("reader::replication::after_feedback");
        tracing::trace!(flushed = %feedback.flushed, "told the slot");
        repeat.reset();
        sleep_until(sent + MIN_SPACING).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_has_the_layout_of_the_manual() {
        let feedback = Feedback {
            written: Lsn::new(3),
            flushed: Lsn::new(2),
            applied: Lsn::new(1),
            reply_requested: true,
        };
        let message = feedback.encode();
        assert_eq!(&message[..6], b"d\0\0\0\x26r");
        assert_eq!(message.len(), 0x26 + 1);
        assert_eq!((message[13], message[21], message[29], message[38]), (3, 2, 1, 1));
    }
}
