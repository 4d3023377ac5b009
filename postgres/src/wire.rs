//! The stream under a session: a Unix socket, a TCP connection, or TLS over one.
//!
//! Opens one stream to one address; which addresses to try, and in which order encrypted and not, is
//! [`crate::connect`]'s business. The invariant: a [`WireStream`] is as encrypted as it will ever
//! be, so what is written to it next is the startup packet.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::Error;
use crate::conninfo::{Keepalives, TlsSettings};
use crate::tls;

/// A stream on which a session can start.
#[derive(Debug)]
pub struct WireStream {
    transport: Transport,
    /// `tls-server-end-point` data, when the server's certificate allows it.
    channel_binding: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A TLS handshake that could not be agreed on.
#[derive(Debug)]
pub(crate) enum NotEncrypted {
    /// The server said no.
    Declined,
    /// It went wrong.
    Failed(Error),
}

impl WireStream {
    /// Connects to a server's Unix socket.
    ///
    /// # Errors
    /// When nothing listens there.
    pub(crate) async fn unix(path: &Path) -> io::Result<WireStream> {
        let path = path.to_string_lossy();
        // "@" stands for the NUL byte that begins a name in Linux's abstract namespace.
        let stream = match path.strip_prefix('@') {
            Some(name) => UnixStream::connect(format!("\0{name}")).await?,
            None => UnixStream::connect(&*path).await?,
        };
        Ok(WireStream { transport: Transport::Unix(stream), channel_binding: None })
    }

    /// Connects over TCP, unencrypted.
    ///
    /// # Errors
    /// When nothing listens there, or the socket does not take its settings.
    pub(crate) async fn tcp(
        address: SocketAddr,
        keepalives: &Keepalives,
    ) -> io::Result<WireStream> {
        let stream = tcp(address, keepalives).await?;
        Ok(WireStream { transport: Transport::Tcp(stream), channel_binding: None })
    }

    /// Connects over TCP and encrypts, asking the server first unless the settings say not to.
    ///
    /// # Errors
    /// When the connection or the encryption fails.
    pub(crate) async fn encrypted(
        address: SocketAddr,
        keepalives: &Keepalives,
        settings: &TlsSettings,
        host: &str,
    ) -> io::Result<Result<WireStream, NotEncrypted>> {
        let mut stream = tcp(address, keepalives).await?;
        if !settings.direct {
            match ask_for_tls(&mut stream).await {
                Ok(true) => {}
                Ok(false) => return Ok(Err(NotEncrypted::Declined)),
                Err(error) => return Ok(Err(NotEncrypted::Failed(error))),
            }
        }
        let (stream, channel_binding) = match tls::handshake(stream, settings, host).await {
            Ok(done) => done,
            Err(error) => return Ok(Err(NotEncrypted::Failed(error))),
        };
        let transport = Transport::Tls(Box::new(stream));
        Ok(Ok(WireStream { transport, channel_binding }))
    }

    /// Whether what is sent is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Whether it is a Unix socket.
    pub fn is_local(&self) -> bool {
        matches!(self.transport, Transport::Unix(_))
    }

    /// Data that ties an authentication to this TLS connection (RFC 5929).
    pub fn channel_binding(&self) -> Option<&[u8]> {
        self.channel_binding.as_deref()
    }
}

async fn tcp(address: SocketAddr, keepalives: &Keepalives) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    if keepalives.enabled {
        let mut settings = TcpKeepalive::new();
        if let Some(idle) = keepalives.idle {
            settings = settings.with_time(idle);
        }
        if let Some(interval) = keepalives.interval {
            settings = settings.with_interval(interval);
        }
        if let Some(count) = keepalives.count {
            settings = settings.with_retries(count);
        }
        socket.set_keepalive(true)?;
        socket.set_tcp_keepalive(&settings)?;
    }
    if keepalives.user_timeout.is_some() {
        socket.set_tcp_user_timeout(keepalives.user_timeout)?;
    }
    Ok(stream)
}

/// Sends SSLRequest. The answer is one byte, sent in the clear by whoever is there.
async fn ask_for_tls(stream: &mut TcpStream) -> Result<bool, Error> {
    /// Length 8, then the number PostgreSQL gave this request: 1234 and 5679 in 16 bits each.
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    stream.write_all(&SSL_REQUEST).await.map_err(Error::broken)?;
    match stream.read_u8().await.map_err(Error::broken)? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        // Servers that cannot even fork answer with an error. It is not shown: unauthenticated text.
        b'E' => Err(Error::protocol("it answers the request for encryption with an error")),
        _ => Err(Error::protocol("it answers the request for encryption with neither yes nor no")),
    }
}

impl AsyncRead for WireStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for WireStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
