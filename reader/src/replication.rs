//! The replication link to the source: slots, and the stream of changes.
//!
//! Thin, over the session that `pgtrail-postgres` opens: commands are simple queries, the stream has
//! its own framing. What the payloads mean is `pgoutput`'s business, and what may be confirmed is
//! `pipeline`'s.
//!
//! The invariant: feedback never waits for reading. The read half and the feedback task share only
//! the socket and a clock, so a status update goes out while half of a 500 MB message has arrived,
//! and reading goes on while a status update cannot be sent.

mod command;
mod feedback;
mod frames;
mod pace;
mod pulse;
mod stream;

use std::time::Duration;

use pgtrail_log::Lsn;
use pgtrail_postgres::connect::{self, PINNED_EVERYWHERE, RawSession, Row, newer_settings_query};
use pgtrail_postgres::error::ServerError;
use pgtrail_postgres::{Capabilities, ConnInfo, Error};

pub use command::StartOptions;
pub use feedback::{Feedback, FeedbackSender};
pub use frames::Event;
pub use stream::{ReplicationReader, ReplicationStream};

/// How long a source may say nothing at all before it counts as gone.
pub const DEFAULT_PEER_TIMEOUT: Duration = Duration::from_secs(60);

/// A replication session that runs commands. [`ReplicationClient::start`] turns it into a stream.
#[derive(Debug)]
pub struct ReplicationClient {
    session: RawSession,
    capabilities: Capabilities,
    peer_timeout: Duration,
}

/// What IDENTIFY_SYSTEM says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SystemIdentity {
    /// Chosen by initdb, kept by every copy of the cluster.
    pub system_identifier: u64,
    /// Grows with every promotion.
    pub timeline: u32,
    /// How far the server's WAL is flushed.
    pub flush_lsn: Lsn,
    /// The database of the session.
    pub dbname: String,
}

/// A slot that was just made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatedSlot {
    /// Transactions that commit after this are in the slot's stream, all earlier ones in the snapshot.
    pub consistent_point: Lsn,
    /// For `set transaction snapshot`, until the client runs its next command or is dropped.
    pub snapshot_name: String,
}

impl ReplicationClient {
    /// Opens a replication session with the database of the connection string.
    ///
    /// # Errors
    /// When no server can be reached, or none lets the role in.
    pub async fn connect(info: &ConnInfo) -> Result<ReplicationClient, Error> {
        // In the startup packet: pgoutput's text follows the walsender's own settings, which
        // `alter database` and `alter role` would otherwise decide. The limits would end the session
        // that keeps an exported snapshot alive.
        let startup = [&[("replication", "database")], PINNED_EVERYWHERE].concat();
        let mut session = connect::open(info, &startup).await?;
        session.query(&newer_settings_query()).await?;
        let rows = session.query("show server_version_num").await?;
        let version = rows.first().and_then(|row| row.text(0)).and_then(|text| text.parse().ok());
        let version = version.ok_or_else(|| malformed("server_version_num"))?;
        let capabilities = Capabilities::of(version);
        Ok(ReplicationClient { session, capabilities, peer_timeout: DEFAULT_PEER_TIMEOUT })
    }

    /// The same, with another limit on the server's silence.
    #[must_use]
    pub fn with_peer_timeout(mut self, peer_timeout: Duration) -> ReplicationClient {
        self.peer_timeout = peer_timeout;
        self
    }

    /// What the server can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Which cluster this is, and how far its WAL goes.
    ///
    /// # Errors
    /// When the server reports an error or the connection fails.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, Error> {
        let row = self.only_row("IDENTIFY_SYSTEM").await?;
        let parsed = || {
            Some(SystemIdentity {
                system_identifier: row.text(0)?.parse().ok()?,
                timeline: row.text(1)?.parse().ok()?,
                flush_lsn: row.text(2)?.parse().ok()?,
                dbname: row.text(3)?.to_owned(),
            })
        };
        parsed().ok_or_else(|| malformed("IDENTIFY_SYSTEM"))
    }

    /// Makes a logical slot for pgoutput and exports the snapshot at its consistent point.
    ///
    /// `failover` asks for the slot to be kept on standbys, where the server can do that. The server
    /// first waits for all running writing transactions to end.
    ///
    /// # Errors
    /// When the server reports an error (42710: the slot exists) or the connection fails.
    pub async fn create_slot(&mut self, name: &str, failover: bool) -> Result<CreatedSlot, Error> {
        let row = self.only_row(&command::create_slot(name, failover, &self.capabilities)).await?;
        let parsed = || {
            Some(CreatedSlot {
                consistent_point: row.text(1)?.parse().ok()?,
                snapshot_name: row.text(2)?.to_owned(),
            })
        };
        parsed().ok_or_else(|| malformed("CREATE_REPLICATION_SLOT"))
    }

    /// Drops a slot; with `wait`, once whoever uses it has let go of it.
    ///
    /// # Errors
    /// When the server reports an error (42704: no such slot, 55006: in use) or the connection fails.
    pub async fn drop_slot(&mut self, name: &str, wait: bool) -> Result<(), Error> {
        self.session.query(&command::drop_slot(name, wait)).await.map(drop)
    }

    /// Starts the slot's stream. The server begins at the slot's confirmed position or at `from`,
    /// whichever is later, and does not say so.
    ///
    /// # Errors
    /// When the server reports an error (55006: the slot is in use) or the connection fails.
    pub async fn start(
        mut self,
        slot: &str,
        from: Lsn,
        options: &StartOptions,
    ) -> Result<ReplicationStream, Error> {
        let query = connect::query_message(&command::start(slot, from, options))?;
        self.session.send(&query).await?;
        let answer = self.session.receive().await?;
        match answer.kind {
            b'W' => Ok(ReplicationStream::new(self.session, self.peer_timeout)),
            b'E' => Err(Error::Database(Box::new(ServerError::parse(&answer.body)))),
            other => Err(connect::unexpected(other)),
        }
    }

    async fn only_row(&mut self, sql: &str) -> Result<Row, Error> {
        self.session.query(sql).await?.pop().ok_or_else(|| malformed("the server"))
    }
}

fn malformed(of: &str) -> Error {
    Error::Protocol { what: format!("the answer of {of} is malformed") }
}
