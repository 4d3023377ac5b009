#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
//! A session in its barest form: messages in and out, and simple queries.

use std::collections::HashMap;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Error;
use crate::conninfo::Target;
use crate::error::ServerError;
use crate::wire::WireStream;

/// No answer outside a stream of changes is near this size; a larger length is a server that is
/// none, or garbage.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

const READ_BYTES: usize = 8 << 10;

/// A message from the server: its kind, and its body without the length.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Bytes,
}

/// A row of a simple query's answer: text or null.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row(Vec<Option<String>>);

impl Row {
    /// The column's text; nothing when it is null or there is no such column.
    pub fn text(&self, column: usize) -> Option<&str> {
        self.0.get(column)?.as_deref()
    }
}

/// An authenticated session on which nothing has been asked yet.
pub struct RawSession {
    pub(super) stream: WireStream,
    pub(super) input: BytesMut,
    pub(super) target: Target,
    pub(super) parameters: HashMap<String, String>,
    /// What the server sent between AuthenticationOk and the first query, word for word.
    pub(super) greeting: BytesMut,
}

impl fmt::Debug for RawSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSession").field("target", &self.target).finish_non_exhaustive()
    }
}

impl RawSession {
    pub(super) fn new(stream: WireStream, target: Target) -> RawSession {
        RawSession {
            stream,
            input: BytesMut::with_capacity(READ_BYTES),
            target,
            parameters: HashMap::new(),
            greeting: BytesMut::new(),
        }
    }

    /// The server this session is with.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether what is sent is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    /// What the server reported of itself at the start, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Sends one or more whole messages.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send(&mut self, messages: &[u8]) -> Result<(), Error> {
        self.stream.write_all(messages).await.map_err(Error::broken)?;
        self.stream.flush().await.map_err(Error::broken)
    }

    /// Waits for the next message that is neither a notice nor a changed parameter.
    ///
    /// # Errors
    /// When the connection is broken or what comes is not the protocol.
    pub async fn receive(&mut self) -> Result<Message, Error> {
        loop {
            let message = self.receive_any().await?;
            match message.kind {
                b'N' => {
                    let notice = ServerError::parse(&message.body);
                    tracing::debug!(sqlstate = notice.sqlstate, "notice from the server");
                }
                b'S' => self.note_parameter(&message.body),
                _ => return Ok(message),
            }
        }
    }

    pub(super) async fn receive_any(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = split_message(&mut self.input)? {
                return Ok(message);
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await.map_err(Error::broken)? == 0 {
                return Err(Error::Closed { source: None });
            }
        }
    }

    pub(super) fn note_parameter(&mut self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            self.parameters.insert(name.into_owned(), value.into_owned());
        }
    }

    /// Runs a query (or a replication command that answers like one) and takes all its rows.
    ///
    /// # Errors
    /// When the server reports an error, after which the session can go on, or the connection fails.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        self.send(&query_message(sql)?).await?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let message = self.receive().await?;
            match message.kind {
                b'D' => rows.push(row(&message.body)?),
                b'E' => {
                    failure = Some(Error::Database(Box::new(ServerError::parse(&message.body))))
                }
                b'Z' => return failure.map_or(Ok(rows), Err),
                // Row description, command complete, empty query.
                b'T' | b'C' | b'I' => {}
                other => return Err(unexpected(other)),
            }
            // A FATAL error is the last thing a server says.
            if let Some(Error::Database(server)) = &failure
                && matches!(server.severity.as_str(), "FATAL" | "PANIC")
            {
                return failure.map_or(Ok(rows), Err);
            }
        }
    }

    /// The stream, the greeting, and what was received but not looked at.
    pub fn into_parts(self) -> (WireStream, BytesMut, BytesMut) {
        (self.stream, self.greeting, self.input)
    }
}

/// A Query message.
///
/// # Errors
/// When the text holds a NUL byte.
pub fn query_message(sql: &str) -> Result<BytesMut, Error> {
    let mut buffer = BytesMut::new();
    frontend::query(sql, &mut buffer).map_err(|error| Error::protocol(error.to_string()))?;
    Ok(buffer)
}

/// The complaint about a message that has no place here.
pub fn unexpected(kind: u8) -> Error {
    Error::protocol(format!("message of kind {:?} has no place here", char::from(kind)))
}

fn split_message(input: &mut BytesMut) -> Result<Option<Message>, Error> {
    let Some((&[kind, a, b, c, d], _)) = input.split_first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !kind.is_ascii_alphanumeric() || !(4..=MAX_MESSAGE_BYTES).contains(&length) {
        return Err(Error::protocol("it does not speak PostgreSQL's protocol"));
    }
    if input.len() <= length {
        return Ok(None);
    }
    let mut message = input.split_to(length + 1).freeze();
    message.advance(5);
    Ok(Some(Message { kind, body: message }))
}

fn row(body: &[u8]) -> Result<Row, Error> {
    let malformed = || Error::protocol("a row is malformed");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(malformed)?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        rest = after;
        // -1 stands for null.
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            columns.push(None);
            continue;
        };
        let (value, after) = rest.split_at_checked(length).ok_or_else(malformed)?;
        columns.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = after;
    }
    Ok(Row(columns))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits_whole_messages_only() {
        let bytes = b"Z\0\0\0\x05IN\0\0\0\x04";
        for end in 0..bytes.len() {
            let mut input = BytesMut::from(&bytes[..end]);
            let split = split_message(&mut input).expect("well-formed");
            assert_eq!(split.is_some(), end >= 6, "cut at {end}");
        }
    }

    #[test]
    fn rows_have_text_and_nulls() {
        let parsed = row(b"\0\x02\0\0\0\x02hi\xff\xff\xff\xff").expect("a row");
        assert_eq!((parsed.text(0), parsed.text(1), parsed.text(2)), (Some("hi"), None, None));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = row(&bytes);
            let _ = ServerError::parse(&bytes);
            let mut input = BytesMut::from(bytes.as_slice());
            while let Ok(Some(_)) = split_message(&mut input) {}
        }
    }
}
