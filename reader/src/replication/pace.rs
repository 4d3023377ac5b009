use std::time::Duration;

use tokio::time::Instant;

/// How long a busy stream is left to gather: a timer tick. The walsender can have some 30 kB ready
/// by then, in 300 messages; TCP's receive buffer takes far more.
const GATHER: Duration = Duration::from_millis(1);

/// Reads that follow each other this closely mean that messages come faster than they are waited for.
const CLOSE: Duration = Duration::from_millis(1);

/// So many close reads in a row make the stream busy. A short transaction on an idle stream takes
/// fewer, and is passed on without delay.
const CLOSE_READS: u32 = 16;

/// Less than this gathered is not worth waiting for.
const WORTHWHILE_BYTES: usize = 4 << 10;

/// Decides when a read should be put off.
///
/// Not on Unix sockets: their buffer counts each small message as a kilobyte and is soon full, so
/// gathering would stop the sender.
#[derive(Debug)]
pub(super) struct Pace {
    may_gather: bool,
    close_reads: u32,
    last_read: Instant,
    gathered: bool,
    /// When the next read may begin.
    pub(super) wait_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(may_gather: bool) -> Pace {
        let last_read = Instant::now();
        Pace { may_gather, close_reads: 0, last_read, gathered: false, wait_until: None }
    }

    /// Notes a read, at this moment, of `read` bytes into a buffer with room for `room`.
    pub(super) fn note(&mut self, now: Instant, read: usize, room: usize) {
        if !self.may_gather {
            return;
        }
        self.close_reads = match (self.gathered, now - self.last_read < CLOSE) {
            (true, _) if read < WORTHWHILE_BYTES => 0,
            (true, _) => self.close_reads,
            (false, true) => self.close_reads.saturating_add(1),
            (false, false) => 0,
        };
        self.last_read = now;
        // A full buffer means that there is more already.
        self.gathered = self.close_reads >= CLOSE_READS && read < room;
        self.wait_until = self.gathered.then(|| now + GATHER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 256 << 10;

    fn gathers_after(reads: &[(u64, usize)]) -> bool {
        let mut pace = Pace::new(true);
        let mut now = pace.last_read;
        for (micros, bytes) in reads {
            now += Duration::from_micros(*micros);
            pace.note(now, *bytes, ROOM);
        }
        pace.wait_until.is_some()
    }

    #[test]
    fn a_busy_stream_gathers_until_it_is_no_longer_worth_it() {
        let busy = [(50, 100); CLOSE_READS as usize];
        assert!(gathers_after(&busy));
        assert!(!gathers_after(&busy[..10]));
        assert!(gathers_after(&[&busy[..], &[(1500, 30_000)]].concat()));
        assert!(!gathers_after(&[&busy[..], &[(1500, 500)]].concat()));
        assert!(!gathers_after(&[&busy[..], &[(1500, ROOM)]].concat()));
    }

    #[test]
    fn a_stream_with_pauses_never_gathers() {
        assert!(!gathers_after(&[(5000, 100); 50]));
        let transactions = [(5000, 60), (50, 60), (50, 60), (50, 60)].repeat(20);
        assert!(!gathers_after(&transactions));
    }
}
