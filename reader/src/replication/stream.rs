//! The read half of the stream.
//!
//! The buffer is large and payloads are slices of it: per message there is no copy, no allocation
//! and no system call. A message larger than the buffer gets one of exactly its own size, which goes
//! when the message goes, so that a single huge one does not stay in memory.
//!
//! A walsender sends each message by itself, and a reader that waits for each costs more than it
//! reads: a wake-up on this side, a system call, and a wake-up that the sender has to make. So on a
//! busy TCP connection it lets a millisecond's worth gather first (see [`Pace`]).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use pgtrail_postgres::Error;
use pgtrail_postgres::connect::RawSession;
use pgtrail_postgres::wire::WireStream;
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::feedback::FeedbackSender;
use super::frames::{self, Event, Frame};
use super::pace::Pace;
use super::pulse::Pulse;

/// Large enough that a busy stream costs one system call for hundreds of messages.
const BUFFER_BYTES: usize = 256 << 10;

/// With less room than this a fresh buffer is taken rather than read into the rest of the old.
const MIN_ROOM_BYTES: usize = 32 << 10;

/// A started stream, not yet divided into its halves.
#[derive(Debug)]
pub struct ReplicationStream {
    stream: WireStream,
    buffer: BytesMut,
    peer_timeout: Duration,
}

impl ReplicationStream {
    pub(super) fn new(session: RawSession, peer_timeout: Duration) -> ReplicationStream {
        let (stream, _, buffer) = session.into_parts();
        ReplicationStream { stream, buffer, peer_timeout }
    }

    /// The half that reads, and the task that sends status updates.
    pub fn split(self) -> (ReplicationReader, FeedbackSender) {
        let pulse = Arc::new(Pulse::new(self.peer_timeout));
        let is_local = self.stream.is_local();
        let (read, write) = tokio::io::split(self.stream);
        let reader = ReplicationReader {
            read,
            buffer: self.buffer,
            deadline: Box::pin(sleep_until(Instant::now() + self.peer_timeout)),
            pulse: Arc::clone(&pulse),
            pace: Pace::new(!is_local),
        };
        (reader, FeedbackSender::spawn(write, pulse))
    }
}

/// The read half.
#[derive(Debug)]
pub struct ReplicationReader {
    read: ReadHalf<WireStream>,
    buffer: BytesMut,
    /// Moved only when it fires: re-arming a timer at each read would cost more than the read.
    deadline: Pin<Box<Sleep>>,
    pulse: Arc<Pulse>,
    pace: Pace,
}

impl ReplicationReader {
    /// The next event, waited for.
    ///
    /// Cancel safe: an event is either returned or still there for the next call.
    ///
    /// # Errors
    /// When the server reports an error, the connection ends, what comes is not the protocol, or
    /// nothing comes for the whole of `peer_timeout`.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            self.fill().await?;
        }
    }

    /// The next event if it is in memory already.
    pub fn try_next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            match frames::split(&mut self.buffer) {
                Ok(Some(Frame::Event(event))) => {
                    self.let_go_of_large_buffer(&event);
                    return Some(Ok(event));
                }
                Ok(Some(Frame::Ignored)) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// A reserve on the emptied rest of a large message's buffer would take the whole of it back.
    fn let_go_of_large_buffer(&mut self, event: &Event) {
        if let Event::Data { body, .. } = event
            && body.len() >= BUFFER_BYTES
            && self.buffer.is_empty()
        {
            self.buffer = BytesMut::new();
        }
    }

    async fn fill(&mut self) -> Result<(), Error> {
        if let Some(until) = self.pace.wait_until {
            // Kept until it is over: a caller that cancels and calls again does not start anew.
            sleep_until(until).await;
            self.pace.wait_until = None;
        }
        let room = self.make_room();
        let read = loop {
            let mut limited = (&mut self.buffer).limit(room);
            tokio::select! {
                biased;
                read = self.read.read_buf(&mut limited) => break read.map_err(Error::broken)?,
                () = &mut self.deadline => {}
            }
            let deadline = Instant::from_std(self.pulse.last_heard()) + self.pulse.peer_timeout();
            if deadline <= Instant::now() {
                return Err(Error::Timeout { after: self.pulse.peer_timeout() });
            }
            self.deadline.as_mut().reset(deadline);
        };
        if read == 0 {
            return Err(Error::Closed { source: None });
        }
        self.pulse.beat();
        self.pace.note(Instant::now(), read, room);
        Ok(())
    }

    /// Provides room in the buffer and says how much of it may be used.
    fn make_room(&mut self) -> usize {
        let held = self.buffer.len();
        match frames::frame_bytes(&self.buffer) {
            Some(bytes) if bytes > BUFFER_BYTES => {
                if self.buffer.capacity() < bytes {
                    let mut own = BytesMut::with_capacity(bytes);
                    own.extend_from_slice(&self.buffer);
                    self.buffer = own;
                }
                // Nothing beyond the message: its buffer is to go with it.
                bytes - held
            }
            _ => {
                if self.buffer.capacity() - held < MIN_ROOM_BYTES {
                    self.buffer.reserve(BUFFER_BYTES);
                }
                self.buffer.capacity() - held
            }
        }
    }
}
