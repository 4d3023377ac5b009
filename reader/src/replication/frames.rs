#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
//! The stream's framing: CopyData messages with WAL data and keepalives in them.
//!
//! | bytes | WAL data | keepalive |
//! |---|---|---|
//! | 1 | `d` | `d` |
//! | 4 | length of all that follows, itself included | the same |
//! | 1 | `w` | `k` |
//! | 8 | where the data's WAL begins | the end of WAL on the server |
//! | 8 | the end of WAL on the server | the server's clock |
//! | 8 or 1 | the server's clock | 1 when an answer is wanted at once |
//! | the rest | one pgoutput message | |

use bytes::{Buf, Bytes, BytesMut};
use pgtrail_log::Lsn;
use pgtrail_postgres::Error;
use pgtrail_postgres::connect::unexpected;
use pgtrail_postgres::error::ServerError;

/// PostgreSQL's own limit on a message is 1 GiB; the rest is room for this framing.
const MAX_FRAME_BYTES: usize = (1 << 30) + 1024;

/// Kind and length.
const HEADER_BYTES: usize = 5;

/// Header, `w`, and three 8-byte numbers.
const DATA_PREFIX_BYTES: usize = HEADER_BYTES + 25;

/// What the source says on the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// One pgoutput message.
    Data {
        /// Where in the WAL it belongs; 0 for messages that stand for no record.
        wal_start: Lsn,
        /// The end of WAL at the source when it was sent.
        wal_end: Lsn,
        /// The message. It shares memory with its neighbours: copy what is to be kept.
        body: Bytes,
    },
    /// The source is there and has nothing to send.
    Keepalive {
        /// Everything before this has been sent.
        wal_end: Lsn,
        /// The source will end the connection unless it is answered.
        reply_requested: bool,
    },
    /// The source has ended the stream.
    End,
}

/// What a frame holds.
#[derive(Debug)]
pub(super) enum Frame {
    Event(Event),
    /// A notice or a changed parameter.
    Ignored,
}

/// The length of the frame at the start of the buffer, once its header is there.
pub(super) fn frame_bytes(buffer: &[u8]) -> Option<usize> {
    let (&[_, a, b, c, d], _) = buffer.split_first_chunk::<HEADER_BYTES>()?;
    Some(u32::from_be_bytes([a, b, c, d]) as usize + 1)
}

/// Takes the first frame off the buffer, if it is there as a whole.
pub(super) fn split(buffer: &mut BytesMut) -> Result<Option<Frame>, Error> {
    let Some(bytes) = frame_bytes(buffer) else { return Ok(None) };
    if !(HEADER_BYTES..=MAX_FRAME_BYTES).contains(&bytes) {
        return Err(Error::Protocol { what: format!("a message of {bytes} bytes") });
    }
    if buffer.len() < bytes {
        return Ok(None);
    }
    let frame = match (buffer.first(), buffer.get(HEADER_BYTES)) {
        (Some(b'd'), Some(b'w')) => return data(buffer.split_to(bytes)).map(Some),
        (Some(b'd'), Some(b'k')) => keepalive(&buffer.split_to(bytes))?,
        (Some(b'c'), _) => {
            buffer.advance(bytes);
            Frame::Event(Event::End)
        }
        (Some(b'E'), _) => {
            let body = buffer.split_to(bytes).split_off(HEADER_BYTES);
            return Err(Error::Database(Box::new(ServerError::parse(&body))));
        }
        (Some(b'N' | b'S'), _) => {
            buffer.advance(bytes);
            Frame::Ignored
        }
        // What follows the end of the stream: CommandComplete, ReadyForQuery.
        (Some(b'C' | b'Z'), _) => {
            buffer.advance(bytes);
            Frame::Ignored
        }
        (Some(kind), _) => return Err(unexpected(*kind)),
        (None, _) => return Ok(None),
    };
    Ok(Some(frame))
}

fn data(mut frame: BytesMut) -> Result<Frame, Error> {
    let wal_start = lsn_at(&frame, HEADER_BYTES + 1)?;
    let wal_end = lsn_at(&frame, HEADER_BYTES + 9)?;
    if frame.len() < DATA_PREFIX_BYTES {
        return Err(cut_short());
    }
    frame.advance(DATA_PREFIX_BYTES);
    Ok(Frame::Event(Event::Data { wal_start, wal_end, body: frame.freeze() }))
}

fn keepalive(frame: &[u8]) -> Result<Frame, Error> {
    let wal_end = lsn_at(frame, HEADER_BYTES + 1)?;
    let flag = frame.get(HEADER_BYTES + 17).ok_or_else(cut_short)?;
    Ok(Frame::Event(Event::Keepalive { wal_end, reply_requested: *flag != 0 }))
}

fn lsn_at(frame: &[u8], offset: usize) -> Result<Lsn, Error> {
    let bytes = frame.get(offset..).and_then(<[u8]>::first_chunk::<8>).ok_or_else(cut_short)?;
    Ok(Lsn::new(u64::from_be_bytes(*bytes)))
}

fn cut_short() -> Error {
    Error::Protocol { what: "a message of the stream is cut short".to_owned() }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind];
        frame.put_u32(u32::try_from(body.len() + 4).expect("small"));
        frame.extend_from_slice(body);
        frame
    }

    fn wal_data(start: u64, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![b'w'];
        body.put_u64(start);
        body.put_u64(start + 100);
        body.put_u64(0);
        body.extend_from_slice(payload);
        frame(b'd', &body)
    }

    fn keepalive(wal_end: u64, reply: u8) -> Vec<u8> {
        let mut body = vec![b'k'];
        body.put_u64(wal_end);
        body.put_u64(0);
        body.put_u8(reply);
        frame(b'd', &body)
    }

    fn events(buffer: &mut BytesMut) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        while let Some(frame) = split(buffer)? {
            if let Frame::Event(event) = frame {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn sample() -> (Vec<u8>, Vec<Event>) {
        let bytes = [
            wal_data(7, b"first"),
            frame(b'N', b"SNOTICE\0\0"),
            keepalive(300, 1),
            wal_data(9, b""),
            frame(b'S', b"TimeZone\0UTC\0"),
            keepalive(301, 0),
            frame(b'c', b""),
        ];
        let data = |start, payload: &'static [u8]| Event::Data {
            wal_start: Lsn::new(start),
            wal_end: Lsn::new(start + 100),
            body: Bytes::from_static(payload),
        };
        let keepalive = |wal_end, reply_requested| Event::Keepalive {
            wal_end: Lsn::new(wal_end),
            reply_requested,
        };
        let events = vec![
            data(7, b"first"),
            keepalive(300, true),
            data(9, b""),
            keepalive(301, false),
            Event::End,
        ];
        (bytes.concat(), events)
    }

    #[test]
    fn takes_whole_frames_only() {
        let (bytes, expected) = sample();
        let mut buffer = BytesMut::from(bytes.as_slice());
        assert_eq!(events(&mut buffer).expect("well-formed"), expected);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_error_keeps_its_sqlstate() {
        let mut buffer = BytesMut::from(&frame(b'E', b"SFATAL\0C57P01\0Mterminating\0\0")[..]);
        let error = split(&mut buffer).expect_err("an error");
        assert_eq!(error.sqlstate(), Some("57P01"));
    }

    #[test]
    fn refuses_what_is_cut_short_or_too_long_or_unknown() {
        for bytes in [
            frame(b'd', b"w1234567"),
            frame(b'd', b"k12345678"),
            frame(b'd', b"x"),
            frame(b'd', b""),
            frame(b'T', b""),
            b"d\x7f\xff\xff\xff".to_vec(),
            b"d\0\0\0\x03".to_vec(),
        ] {
            assert!(split(&mut BytesMut::from(bytes.as_slice())).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            cuts in proptest::collection::vec(0..200_usize, 0..12),
        ) {
            let (bytes, expected) = sample();
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            let mut at = 0;
            for cut in cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([bytes.len()]) {
                if cut > at {
                    buffer.extend_from_slice(&bytes[at..cut]);
                    at = cut;
                }
                found.extend(events(&mut buffer)?);
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = events(&mut BytesMut::from(bytes.as_slice()));
        }
    }
}
