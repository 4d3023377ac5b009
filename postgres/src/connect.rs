//! Sessions: from a connection string to a server that takes statements.
//!
//! Both kinds of session begin here, in the same way: hosts, addresses and encryption are tried in
//! libpq's order, and one piece of code authenticates ([`startup`]). [`RawSession`] is what the
//! replication client builds on; [`Session`] hands the authenticated stream to `tokio-postgres`.
//!
//! The invariant: a [`Session`]'s settings are pinned. Whatever the server, the database or the role
//! sets, dates, intervals, floats, bytea, encoding, time zone and name lookup are the same.

mod authenticated;
mod link;
mod raw;
mod settings;
mod startup;

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode as StreamMode, SslNegotiation};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Connection};

use crate::capabilities::Capabilities;
use crate::conninfo::{ConnInfo, SslMode, Target, TargetSession};
use crate::wire::{NotEncrypted, WireStream};
use crate::{Error, conninfo};
use authenticated::{Authenticated, Passthrough};

pub use link::Link;
pub use raw::{Message, RawSession, Row, query_message, unexpected};
pub use settings::{PINNED_EVERYWHERE, SessionSettings, newer_settings_query};

/// Opens an SQL session.
///
/// # Errors
/// When no server can be reached, or none lets the role in.
pub async fn connect(info: &ConnInfo, settings: SessionSettings) -> Result<Session, Error> {
    let raw = open(info, &[]).await?;
    let target = raw.target().clone();
    let link = Link::of(&raw);
    let mut config = Config::new();
    // The stream is encrypted and authenticated already, or will never be.
    config.user(info.user()).ssl_mode(StreamMode::Require).ssl_negotiation(SslNegotiation::Direct);
    let (client, connection) = config.connect_raw(Authenticated::new(raw), Passthrough).await?;
    let mut session = Session {
        cancel: Cancel { token: client.cancel_token(), info: info.clone(), target },
        connection: tokio::spawn(drive(connection)),
        capabilities: Capabilities::of(0),
        link,
        client,
    };
    session.client.batch_execute(&settings.to_sql()).await?;
    session.capabilities = Capabilities::probe(&session.client).await?;
    Ok(session)
}

/// Opens a session and leaves what is said on it to the caller.
///
/// `parameters` go into the startup packet, after those of the connection string.
///
/// # Errors
/// When no server can be reached, or none lets the role in.
pub async fn open(info: &ConnInfo, parameters: &[(&str, &str)]) -> Result<RawSession, Error> {
    let found = try_targets(info, parameters, info.target_session()).await;
    match (found, info.target_session()) {
        // No standby among them: any of them, then.
        (Err(Error::WrongTarget { .. }), TargetSession::PreferStandby) => {
            try_targets(info, parameters, TargetSession::Any).await
        }
        (found, _) => found,
    }
}

async fn try_targets(
    info: &ConnInfo,
    parameters: &[(&str, &str)],
    wanted: TargetSession,
) -> Result<RawSession, Error> {
    let mut last = None;
    for target in info.targets() {
        match try_target(info, target, parameters, wanted).await {
            Ok(session) => return Ok(session),
            Err(error) if ends_the_search(&error) => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    // There is always a target.
    Err(last.unwrap_or_else(|| Error::protocol("no host to connect to")))
}

/// A server that answered and refused is the one that was meant, unless it cannot serve anybody now.
fn ends_the_search(error: &Error) -> bool {
    match error {
        Error::Refused { server, .. } => server.sqlstate != "57P03",
        Error::Authentication { .. } | Error::Conninfo(_) | Error::TlsFile { .. } => true,
        _ => false,
    }
}

async fn try_target(
    info: &ConnInfo,
    target: &Target,
    parameters: &[(&str, &str)],
    wanted: TargetSession,
) -> Result<RawSession, Error> {
    let attempt = Attempt { info, target, parameters, wanted };
    if let Some(path) = target.socket() {
        return attempt.timed(attempt.unix(&path)).await;
    }
    let mut last = None;
    for address in attempt.addresses().await? {
        match attempt.tcp(address).await {
            Ok(session) => return Ok(session),
            Err(error) if ends_the_search(&error) => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        attempt.unreachable(std::io::Error::other("the host's name has no address"))
    }))
}

/// One try at one server.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    info: &'a ConnInfo,
    target: &'a Target,
    parameters: &'a [(&'a str, &'a str)],
    wanted: TargetSession,
}

impl Attempt<'_> {
    fn unreachable(&self, source: std::io::Error) -> Error {
        Error::Unreachable { target: self.target.to_string(), source }
    }

    async fn timed<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Some(after) = self.info.connect_timeout() else { return work.await };
        let target = || self.target.to_string();
        match tokio::time::timeout(after, work).await {
            Ok(done) => done,
            Err(_) => Err(Error::ConnectTimeout { target: target(), after }),
        }
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let Target { host, address, port } = self.target;
        if let Some(address) = address {
            return Ok(vec![SocketAddr::new(*address, *port)]);
        }
        let lookup = async { Ok(tokio::net::lookup_host((host.as_str(), *port)).await) };
        let found = self.timed(lookup).await?;
        Ok(found.map_err(|error| self.unreachable(error))?.collect())
    }

    async fn unix(&self, path: &std::path::Path) -> Result<RawSession, Error> {
        let stream = WireStream::unix(path).await.map_err(|error| self.unreachable(error))?;
        self.start(stream).await
    }

    /// Encrypted and not, in the order and with the second chances that `sslmode` gives.
    async fn tcp(&self, address: SocketAddr) -> Result<RawSession, Error> {
        let plain = || self.timed(self.plain(address));
        let encrypted = || self.timed(self.encrypted(address));
        let gives_up = |error: &Error| {
            matches!(error, Error::Unreachable { .. } | Error::ConnectTimeout { .. })
        };
        match self.info.sslmode() {
            SslMode::Disable => plain().await,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => encrypted().await,
            SslMode::Prefer => match encrypted().await {
                Err(error) if !gives_up(&error) => match plain().await {
                    Ok(session) => Ok(session),
                    // Refused both times: what was said on the better connection counts.
                    Err(_) if ends_the_search(&error) => Err(error),
                    Err(second) => Err(second),
                },
                done => done,
            },
            SslMode::Allow => match plain().await {
                Err(error) if !gives_up(&error) => match encrypted().await {
                    Ok(session) => Ok(session),
                    Err(Error::Tls { .. }) => Err(error),
                    Err(second) => Err(second),
                },
                done => done,
            },
        }
    }

    async fn plain(&self, address: SocketAddr) -> Result<RawSession, Error> {
        let stream = WireStream::tcp(address, &self.info.keepalives).await;
        self.start(stream.map_err(|error| self.unreachable(error))?).await
    }

    async fn encrypted(&self, address: SocketAddr) -> Result<RawSession, Error> {
        let host = &self.target.host;
        let (keepalives, tls) = (&self.info.keepalives, &self.info.tls);
        let stream = WireStream::encrypted(address, keepalives, tls, host).await;
        match stream.map_err(|error| self.unreachable(error))? {
            Ok(stream) => self.start(stream).await,
            Err(NotEncrypted::Failed(Error::Tls { what, source, .. })) => {
                Err(Error::Tls { target: self.target.to_string(), what, source })
            }
            Err(NotEncrypted::Failed(error)) => Err(error),
            Err(NotEncrypted::Declined) => Err(Error::Tls {
                target: self.target.to_string(),
                what: "the server does not offer it".to_owned(),
                source: None,
            }),
        }
    }

    async fn start(&self, stream: WireStream) -> Result<RawSession, Error> {
        let password = self.info.password(self.target);
        let start = startup::Startup { info: self.info, target: self.target, password };
        let mut session = start.run(stream, self.parameters).await?;
        match unfit_for(&mut session, self.wanted).await? {
            None => Ok(session),
            Some(what) => Err(Error::WrongTarget { target: self.target.to_string(), what }),
        }
    }
}

/// What the server is not, that it should be.
async fn unfit_for(
    session: &mut RawSession,
    wanted: TargetSession,
) -> Result<Option<&'static str>, Error> {
    let (query, fit, what) = match wanted {
        TargetSession::Any => return Ok(None),
        TargetSession::ReadWrite => (READ_ONLY, "off", "is read-only"),
        TargetSession::ReadOnly => (READ_ONLY, "on", "is not read-only"),
        TargetSession::Primary => (IN_RECOVERY, "f", "is in recovery"),
        TargetSession::Standby | TargetSession::PreferStandby => {
            (IN_RECOVERY, "t", "is not in recovery")
        }
    };
    let rows = session.query(query).await?;
    let answer = rows.first().and_then(|row| row.text(0));
    Ok((answer != Some(fit)).then_some(what))
}

const READ_ONLY: &str = "show transaction_read_only";
const IN_RECOVERY: &str = "select pg_catalog.pg_is_in_recovery()";

/// An SQL session. It ends when this is dropped.
#[derive(Debug)]
pub struct Session {
    client: Client,
    connection: JoinHandle<()>,
    capabilities: Capabilities,
    link: Link,
    cancel: Cancel,
}

impl Session {
    /// What the server can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// How the server is reached.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// A handle that cancels whatever this session is running, usable while it runs.
    pub fn canceller(&self) -> Cancel {
        self.cancel.clone()
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Cancels a session's running statement, over a connection of its own.
#[derive(Clone)]
pub struct Cancel {
    token: CancelToken,
    info: ConnInfo,
    target: Target,
}

impl Cancel {
    /// Asks the server to cancel. Whether there was something to cancel is not known.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn cancel(&self) -> Result<(), Error> {
        let attempt = Attempt {
            info: &self.info,
            target: &self.target,
            parameters: &[],
            wanted: TargetSession::Any,
        };
        let stream = attempt.timed(attempt.bare()).await?;
        Ok(self.token.cancel_query_raw(stream, Passthrough).await?)
    }
}

impl Attempt<'_> {
    /// A stream without a session: for the one message of a cancellation.
    async fn bare(&self) -> Result<Authenticated, Error> {
        let unreachable = |error| self.unreachable(error);
        if let Some(path) = self.target.socket() {
            let stream = WireStream::unix(&path).await.map_err(unreachable)?;
            return Ok(Authenticated::bare(stream));
        }
        let (keepalives, tls) = (&self.info.keepalives, &self.info.tls);
        for address in self.addresses().await? {
            if tls.mode >= conninfo::SslMode::Prefer {
                let host = &self.target.host;
                let stream = WireStream::encrypted(address, keepalives, tls, host).await;
                match stream.map_err(unreachable)? {
                    Ok(stream) => return Ok(Authenticated::bare(stream)),
                    Err(NotEncrypted::Failed(error)) if tls.mode > SslMode::Prefer => {
                        return Err(error);
                    }
                    Err(_) if tls.mode > SslMode::Prefer => continue,
                    Err(_) => {}
                }
            }
            let stream = WireStream::tcp(address, keepalives).await.map_err(unreachable)?;
            return Ok(Authenticated::bare(stream));
        }
        Err(self.unreachable(std::io::Error::other("no address takes the cancellation")))
    }
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancel").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Moves the session's messages until it ends. How it ended, its statements report.
async fn drive(mut connection: Connection<Authenticated, Authenticated>) {
    loop {
        match std::future::poll_fn(|context| connection.poll_message(context)).await {
            // Notices may hold column values: only their code is logged.
            Some(Ok(AsyncMessage::Notice(notice))) => {
                tracing::debug!(sqlstate = notice.code().code(), "notice from the server");
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let sqlstate = error.code().map(|code| code.code().to_owned());
                tracing::debug!(sqlstate, "session ended");
                return;
            }
            None => return,
        }
    }
}
