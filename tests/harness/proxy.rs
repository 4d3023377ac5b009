//! A TCP proxy between a process and a server that misbehaves on demand: cuts, silence, delay,
//! and the swallowed reply to a COMMIT.
//!
//! It runs in a thread of its own, so a busy test cannot stall it. It understands just enough of
//! the frontend/backend protocol (message framing, Query, Parse, Bind, Execute, CommandComplete)
//! to see a COMMIT go by; connections must be without TLS.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;

/// What the proxy does to its connections. All of it can change while they are open.
#[derive(Debug, Default)]
struct Faults {
    /// Bytes from the server, over all connections, that may still pass; u64::MAX for no limit.
    budget: AtomicU64,
    /// Nothing passes in either direction, and nothing is closed.
    blackhole: AtomicBool,
    /// New connections are closed at once.
    refuse: AtomicBool,
    /// Milliseconds that each read from the server waits.
    delay_ms: AtomicU64,
    /// COMMITs until the one whose reply is swallowed; 0 for none.
    swallow_in: AtomicU64,
    /// Replies swallowed so far.
    swallowed: AtomicU64,
    /// Connections ended by a budget or a swallowed reply.
    cuts: AtomicU64,
    /// Connections taken.
    accepted: AtomicU64,
    /// Bytes that came from the server.
    received: AtomicU64,
}

/// A proxy to one server.
pub struct Proxy {
    port: u16,
    faults: Arc<Faults>,
    /// A new generation ends every connection of the older ones.
    generation: watch::Sender<u64>,
    stop: watch::Sender<bool>,
}

impl Proxy {
    /// Listens on a port of its own and passes everything on to `target_port` of this machine.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(target_port: u16) -> Proxy {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        listener.set_nonblocking(true).expect("set nonblocking");
        let port = listener.local_addr().expect("address").port();
        let faults = Arc::new(Faults { budget: u64::MAX.into(), ..Faults::default() });
        let (generation, generations) = watch::channel(0);
        let (stop, mut stopped) = watch::channel(false);
        let shared = Arc::clone(&faults);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("build runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("listener");
                tokio::select! {
                    () = accept(listener, target_port, shared, generations) => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        });
        Proxy { port, faults, generation, stop }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every open connection now.
    pub fn cut_all(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// After `bytes` more from the server, over all connections, ends the connection that carries
    /// the next one; later connections pass.
    pub fn cut_after(&self, bytes: u64) {
        self.faults.budget.store(bytes, Ordering::SeqCst);
    }

    /// Whether everything is silently held back, connections staying open.
    pub fn blackhole(&self, on: bool) {
        self.faults.blackhole.store(on, Ordering::SeqCst);
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, on: bool) {
        self.faults.refuse.store(on, Ordering::SeqCst);
    }

    /// How long each portion from the server is held back.
    pub fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.faults.delay_ms.store(millis, Ordering::SeqCst);
    }

    /// Lets the `n`-th COMMIT from now reach the server and be carried out, but not its reply:
    /// the connection ends instead.
    pub fn swallow_commit_reply(&self, n: u64) {
        self.faults.swallow_in.store(n, Ordering::SeqCst);
    }

    /// Replies to a COMMIT swallowed so far.
    pub fn swallowed(&self) -> u64 {
        self.faults.swallowed.load(Ordering::SeqCst)
    }

    /// Connections that a byte budget or a swallowed reply ended.
    pub fn cuts(&self) -> u64 {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> u64 {
        self.faults.accepted.load(Ordering::SeqCst)
    }

    /// Bytes the server sent so far.
    pub fn received(&self) -> u64 {
        self.faults.received.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn accept(
    listener: TcpListener,
    target_port: u16,
    faults: Arc<Faults>,
    generations: watch::Receiver<u64>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if faults.refuse.load(Ordering::SeqCst) {
            continue;
        }
        faults.accepted.fetch_add(1, Ordering::SeqCst);
        let faults = Arc::clone(&faults);
        let mut generations = generations.clone();
        generations.mark_unchanged();
        tokio::spawn(async move {
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target_port));
            let Ok(server) = TcpStream::connect(target).await else { return };
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let connection = carry(client, server, &faults);
            tokio::select! {
                _ = connection => {}
                _ = generations.changed() => {}
            }
        });
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, faults: &Faults) -> io::Result<()> {
    let swallowing = AtomicBool::new(false);
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    tokio::select! {
        done = forward(client_read, server_write, faults, &swallowing) => done,
        done = answer(server_read, client_write, faults, &swallowing) => done,
    }
}

/// Client to server.
async fn forward(
    mut from: tcp::ReadHalf<'_>,
    mut to: tcp::WriteHalf<'_>,
    faults: &Faults,
    swallowing: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut watcher = CommitWatcher::default();
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        held_back(faults).await;
        for _ in 0..watcher.take(&buffer[..count]) {
            let before = faults.swallow_in.load(Ordering::SeqCst);
            if before > 0 {
                faults.swallow_in.store(before - 1, Ordering::SeqCst);
                // From here on nothing of the server's answers reaches the client.
                swallowing.fetch_or(before == 1, Ordering::SeqCst);
            }
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Server to client.
async fn answer(
    mut from: tcp::ReadHalf<'_>,
    mut to: tcp::WriteHalf<'_>,
    faults: &Faults,
    swallowing: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut swallowed = Vec::new();
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        faults.received.fetch_add(count as u64, Ordering::SeqCst);
        let delay = faults.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        held_back(faults).await;
        let mut bytes = &buffer[..count];
        if swallowing.load(Ordering::SeqCst) {
            swallowed.extend_from_slice(bytes);
            // CommandComplete of the commit: the server has carried it out.
            if swallowed.windows(COMMITTED.len()).any(|window| window == COMMITTED) {
                faults.swallowed.fetch_add(1, Ordering::SeqCst);
                faults.cuts.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            continue;
        }
        let budget = faults.budget.load(Ordering::SeqCst);
        if budget != u64::MAX {
            let passing = usize::try_from(budget).unwrap_or(usize::MAX).min(bytes.len());
            let cut = passing < bytes.len();
            bytes = &bytes[..passing];
            faults
                .budget
                .store(if cut { u64::MAX } else { budget - passing as u64 }, Ordering::SeqCst);
            to.write_all(bytes).await?;
            if cut {
                faults.cuts.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            continue;
        }
        to.write_all(bytes).await?;
    }
}

/// `CommandComplete` with the tag of a commit.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

async fn held_back(faults: &Faults) {
    while faults.blackhole.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sees COMMITs in the bytes of a frontend, in whatever portions they come.
#[derive(Default)]
struct CommitWatcher {
    pending: Vec<u8>,
    /// Bytes of a message too large to be of interest that are still to come.
    skip: usize,
    started: bool,
    statements: HashMap<Vec<u8>, bool>,
    portals: HashMap<Vec<u8>, bool>,
}

/// No COMMIT is longer; larger messages are passed over unread.
const LARGEST: usize = 1024 * 1024;

impl CommitWatcher {
    /// Takes the next bytes and returns how many COMMITs they complete.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.pending.extend_from_slice(&bytes[skipped..]);
        let mut commits = 0;
        loop {
            let header = if self.started { 5 } else { 4 };
            let Some(length) = self.pending.get(header - 4..header) else { return commits };
            let length = u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize;
            let total = header - 4 + length.max(4);
            if !self.started {
                let Some(message) = self.pending.get(..total) else { return commits };
                // SSLRequest and its like are followed by the real startup message.
                self.started = message.get(4..6) != Some(&[0x04, 0xd2]);
                self.pending.drain(..total);
                continue;
            }
            if total > LARGEST {
                self.skip = total.saturating_sub(self.pending.len());
                self.pending.drain(..total.min(self.pending.len()));
                continue;
            }
            let Some(message) = self.pending.get(..total) else { return commits };
            let (kind, body) = (message[0], message[5..].to_vec());
            self.pending.drain(..total);
            commits += usize::from(self.message(kind, &body));
        }
    }

    fn message(&mut self, kind: u8, body: &[u8]) -> bool {
        let mut parts = body.split(|byte| *byte == 0);
        let mut part = || parts.next().unwrap_or_default().to_vec();
        match kind {
            b'Q' => is_commit(&part()),
            b'P' => {
                let (name, text) = (part(), part());
                self.statements.insert(name, is_commit(&text));
                false
            }
            b'B' => {
                let (portal, statement) = (part(), part());
                let commits = self.statements.get(&statement).copied().unwrap_or(false);
                self.portals.insert(portal, commits);
                false
            }
            b'E' => self.portals.get(&part()).copied().unwrap_or(false),
            _ => false,
        }
    }
}

/// Whether the last statement of the text is a COMMIT.
fn is_commit(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let last = text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    last.rsplit(';').next().unwrap_or_default().trim() == "commit"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("small").to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    #[test]
    fn sees_commits_in_any_portions() {
        let mut stream = [8u32.to_be_bytes(), 80_877_103u32.to_be_bytes()].concat();
        stream.extend([12u32.to_be_bytes(), 196_608u32.to_be_bytes(), [0; 4]].concat());
        stream.extend(message(b'Q', b"begin\0"));
        stream.extend(message(b'Q', b"insert into t values (1); COMMIT ;\0"));
        stream.extend(message(b'P', b"s1\0commit\0\0\0"));
        stream.extend(message(b'd', &vec![b'E'; 2 * LARGEST]));
        stream.extend(message(b'B', b"\0s1\0\0\0\0\0"));
        stream.extend(message(b'E', b"\0\0\0\0\0"));
        stream.extend(message(b'Q', b"select 'commit'\0"));
        for portion in [1, 7, 4096, stream.len()] {
            let mut watcher = CommitWatcher::default();
            let commits: usize = stream.chunks(portion).map(|bytes| watcher.take(bytes)).sum();
            assert_eq!(commits, 2, "portions of {portion}");
        }
    }
}
