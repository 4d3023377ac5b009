//! A source that does as it is told: for what real ones do only under stress.

use bytes::{Buf, BufMut, BytesMut};
use pgtrail_log::Lsn;
use pgtrail_postgres::ConnInfo;
use pgtrail_reader::replication::{ReplicationClient, ReplicationStream, StartOptions};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::parse;

/// The server's end of a stream that was started.
pub(crate) struct FakeSource {
    stream: TcpStream,
    input: BytesMut,
}

/// Starts a stream with a fake source.
pub(crate) async fn start(peer_timeout: Duration) -> (FakeSource, ReplicationStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let info = parse(&format!("host=127.0.0.1 port={port} user=u sslmode=disable"));
    let (source, stream) = tokio::join!(accept(listener), connect(&info, peer_timeout));
    (source, stream)
}

async fn connect(info: &ConnInfo, peer_timeout: Duration) -> ReplicationStream {
    let client = ReplicationClient::connect(info).await.expect("session");
    let options = StartOptions {
        protocol: 1,
        publications: vec!["p".to_owned()],
        binary: false,
        streaming: false,
        messages: false,
    };
    let client = client.with_peer_timeout(peer_timeout);
    client.start("s", Lsn::INVALID, &options).await.expect("stream")
}

async fn accept(listener: TcpListener) -> FakeSource {
    let (stream, _) = listener.accept().await.expect("accept");
    let mut source = FakeSource { stream, input: BytesMut::new() };
    let length = source.stream.read_u32().await.expect("startup packet");
    let mut packet = vec![0; length as usize - 4];
    source.stream.read_exact(&mut packet).await.expect("startup packet");
    source.send(b'R', &[0; 4]).await;
    source.send(b'Z', b"I").await;
    loop {
        let (kind, body) = source.receive().await;
        assert_eq!(kind, b'Q');
        if body.starts_with(b"START_REPLICATION") {
            source.send(b'W', &[0; 3]).await;
            return source;
        }
        if body.starts_with(b"show server_version_num") {
            source.send(b'D', b"\0\x01\0\0\0\x06150020").await;
        }
        source.send(b'C', b"OK\0").await;
        source.send(b'Z', b"I").await;
    }
}

impl FakeSource {
    pub(crate) async fn send(&mut self, kind: u8, body: &[u8]) {
        let mut message = BytesMut::new();
        message.put_u8(kind);
        message.put_u32(u32::try_from(body.len() + 4).expect("small"));
        message.extend_from_slice(body);
        self.send_bytes(&message).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client reads");
    }

    pub(crate) async fn send_keepalive(&mut self, wal_end: u64, reply: bool) {
        let mut body = BytesMut::from(&b"k"[..]);
        body.put_u64(wal_end);
        body.put_u64(0);
        body.put_u8(reply.into());
        self.send(b'd', &body).await;
    }

    /// The next message from the client.
    pub(crate) async fn receive(&mut self) -> (u8, BytesMut) {
        loop {
            if let Some(length) = self.input.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().expect("four")) as usize;
                if self.input.len() > length {
                    let mut message = self.input.split_to(length + 1);
                    let kind = message.get_u8();
                    message.advance(4);
                    return (kind, message);
                }
            }
            let read = self.stream.read_buf(&mut self.input).await.expect("read");
            assert_ne!(read, 0, "the client went away");
        }
    }

    /// The next status update: the flushed place, and whether an answer is wanted.
    pub(crate) async fn receive_feedback(&mut self) -> (u64, bool) {
        let (kind, mut body) = self.receive().await;
        assert_eq!((kind, body.get_u8()), (b'd', b'r'));
        body.advance(8);
        let flushed = body.get_u64();
        body.advance(16);
        (flushed, body.get_u8() != 0)
    }
}
