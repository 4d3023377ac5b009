//! A pooler in between: as small as one can be, in both of its modes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use pgtrail_tests::{Pipeline, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::look::{databases, look};

/// Server sessions without a client, by startup packet; the last one used comes first.
type Idle = Arc<Mutex<HashMap<Vec<u8>, Vec<TcpStream>>>>;

/// Serves clients of the server at `server_port`. When it `shares`, a client has a server session for
/// one transaction only.
async fn pooler(server_port: u16, shares: bool) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let idle = Idle::default();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let idle = Arc::clone(&idle);
            tokio::spawn(async move {
                let _ = serve(client, server_port, shares, &idle).await;
            });
        }
    });
    port
}

async fn serve(
    mut client: TcpStream,
    server_port: u16,
    shares: bool,
    idle: &Idle,
) -> std::io::Result<()> {
    let startup = loop {
        let packet = untyped(&mut client).await?;
        if packet[4..8] != 80_877_103_u32.to_be_bytes() {
            break packet;
        }
        client.write_all(b"N").await?;
    };
    let mut attached = Some(open(server_port, &startup, Some(&mut client)).await?);
    if shares {
        put_back(idle, &startup, &mut attached);
    }
    loop {
        let (kind, message) = typed(&mut client).await?;
        if kind == b'X' {
            return Ok(());
        }
        let mut server = match attached.take().or_else(|| take(idle, &startup)) {
            Some(server) => server,
            None => open(server_port, &startup, None).await?,
        };
        server.write_all(&message).await?;
        let is_idle = match kind {
            b'Q' | b'S' => answer(&mut server, &mut client).await?,
            _ => false,
        };
        attached = Some(server);
        if shares && is_idle {
            put_back(idle, &startup, &mut attached);
        }
    }
}

fn take(idle: &Idle, startup: &[u8]) -> Option<TcpStream> {
    idle.lock().expect("not poisoned").get_mut(startup)?.pop()
}

fn put_back(idle: &Idle, startup: &[u8], attached: &mut Option<TcpStream>) {
    let mut idle = idle.lock().expect("not poisoned");
    idle.entry(startup.to_vec()).or_default().extend(attached.take());
}

/// A server session, greeting `client` in its name with a process number of our own.
async fn open(
    port: u16,
    startup: &[u8],
    client: Option<&mut TcpStream>,
) -> std::io::Result<TcpStream> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    server.write_all(startup).await?;
    let mut greeting = Vec::new();
    loop {
        let (kind, message) = typed(&mut server).await?;
        match kind {
            b'K' => greeting.extend_from_slice(b"K\0\0\0\x0c\x7f\0\0\x01\0\0\0\x01"),
            _ => greeting.extend_from_slice(&message),
        }
        if kind == b'Z' || kind == b'E' {
            break;
        }
    }
    if let Some(client) = client {
        client.write_all(&greeting).await?;
    }
    Ok(server)
}

/// Passes one answer on; whether the server is then outside of a transaction.
async fn answer(server: &mut TcpStream, client: &mut TcpStream) -> std::io::Result<bool> {
    loop {
        let (kind, message) = typed(server).await?;
        client.write_all(&message).await?;
        if kind == b'Z' {
            return Ok(message.last() == Some(&b'I'));
        }
    }
}

async fn untyped(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    stream.read_exact(&mut packet).await?;
    let length = u32::from_be_bytes(packet[..4].try_into().expect("four bytes"));
    packet.resize(length as usize, 0);
    stream.read_exact(&mut packet[4..]).await?;
    Ok(packet)
}

async fn typed(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await?;
    let mut message = vec![kind];
    message.extend(untyped(stream).await?);
    Ok((kind, message))
}

#[tokio::test]
async fn a_pooler_that_shares_server_processes_is_refused() {
    let (source, destination) = databases().await;
    let before_source = source.at_port(pooler(pair().source.port(), true).await);
    let before_destination = destination.at_port(pooler(pair().destination.port(), true).await);

    let pipeline = Pipeline::builder(&before_source, &destination).build();
    let seen = look(&pipeline, &[]).await;
    assert_eq!(seen.code, 1);
    seen.expect("pooler", "failure", "before the source and shares");
    assert_eq!(seen.item("wal-level", "source")["result"], "not_checked");

    let pipeline = Pipeline::builder(&source, &before_destination).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("pooler", "failure", "before the destination \"default\" and shares");
    pipeline.try_run(&["init"]).await.expect(3).expect_stderr("a pooler stands before");
    let pipeline = Pipeline::builder(&source, &destination).build();
    look(&pipeline, &[]).await.expect("pooler", "pass", "none");
}

#[tokio::test]
async fn a_pooler_that_keeps_sessions_apart_is_a_notice() {
    let (source, destination) = databases().await;
    let before = destination.at_port(pooler(pair().destination.port(), false).await);
    let pipeline = Pipeline::builder(&source, &before).build();
    let seen = look(&pipeline, &[]).await;
    seen.expect("pooler", "notice", "keeps sessions apart");
    assert_eq!(seen.code, 0);
}
