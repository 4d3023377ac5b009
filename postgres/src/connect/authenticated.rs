//! An authenticated stream in the shape `tokio-postgres` expects of a new one.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready as poll_ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::RawSession;
use crate::wire::WireStream;

/// AuthenticationOk.
const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";

/// Answers the client library's startup packet from memory.
///
/// `tokio-postgres` wants to send the startup packet itself, but knows neither `require_auth` nor
/// channel binding's rules nor password files. So its packet is swallowed here, and it reads
/// "authenticated" and then what the server really said after that.
#[derive(Debug)]
pub(super) struct Authenticated {
    stream: WireStream,
    replay: Bytes,
    swallow: Swallow,
}

/// What is still to be taken off the client library's output.
#[derive(Debug)]
enum Swallow {
    /// The packet's own length, as far as it was seen.
    Length(Vec<u8>),
    /// So many bytes of its rest.
    Rest(usize),
    Nothing,
}

impl Authenticated {
    pub(super) fn new(session: RawSession) -> Authenticated {
        let (stream, greeting, input) = session.into_parts();
        let mut replay = BytesMut::from(AUTHENTICATION_OK);
        replay.extend_from_slice(&greeting);
        replay.extend_from_slice(&input);
        Authenticated { stream, replay: replay.freeze(), swallow: Swallow::Length(Vec::new()) }
    }

    /// A stream that passes everything on.
    pub(super) fn bare(stream: WireStream) -> Authenticated {
        Authenticated { stream, replay: Bytes::new(), swallow: Swallow::Nothing }
    }
}

impl AsyncRead for Authenticated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replay.has_remaining() {
            let length = self.replay.len().min(buffer.remaining());
            buffer.put_slice(&self.replay.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Authenticated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.swallow {
            Swallow::Nothing => Pin::new(&mut self.stream).poll_write(context, bytes),
            Swallow::Length(seen) => {
                let taken = bytes.len().min(4 - seen.len());
                seen.extend(bytes.iter().take(taken));
                if let Ok(length) = <[u8; 4]>::try_from(seen.as_slice()) {
                    let rest = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                    self.swallow = if rest == 0 { Swallow::Nothing } else { Swallow::Rest(rest) };
                }
                Poll::Ready(Ok(taken))
            }
            Swallow::Rest(rest) => {
                let taken = bytes.len().min(*rest);
                *rest -= taken;
                if *rest == 0 {
                    self.swallow = Swallow::Nothing;
                }
                Poll::Ready(Ok(taken))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl TlsStream for Authenticated {
    /// None: the authentication that would be bound is over.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// "Encrypts" a stream that is as encrypted as it will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passthrough;

impl TlsConnect<Authenticated> for Passthrough {
    type Stream = Authenticated;
    type Error = io::Error;
    type Future = Ready<io::Result<Authenticated>>;

    fn connect(self, stream: Authenticated) -> Self::Future {
        ready(Ok(stream))
    }
}
