//! Waiting for the destination, within bounds.
//!
//! Owns the difference between a statement that takes long and an answer that never comes. The
//! invariant: no wait goes on for longer than the peer timeout without a sign that the server is at
//! work, nor for longer than a few seconds after a stop was asked for.

use std::pin::pin;
use std::time::Duration;

use pgtrail_postgres::{ConnInfo, SessionSettings, connect};
use tokio::sync::watch;
use tokio_postgres::types::Type;

use crate::Error;

/// A stop waits this long for the transaction in hand; then the server rolls it back.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// Watches over waits.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub conninfo: ConnInfo,
    pub peer_timeout: Duration,
    pub shutdown: watch::Receiver<bool>,
}

impl Guard {
    /// Waits for `work`, done by the server process `pid`.
    pub(crate) async fn watch<T>(
        &self,
        pid: i32,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut work = pin!(work);
        let mut shutdown = self.shutdown.clone();
        let mut out_of_patience = pin!(async {
            stop_asked(&mut shutdown).await;
            tokio::time::sleep(STOP_PATIENCE).await;
        });
        let after = self.peer_timeout;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = &mut out_of_patience => return Err(Error::Timeout { after: STOP_PATIENCE }),
                () = tokio::time::sleep(after) => {
                    let asked = tokio::time::timeout(after, self.is_working(pid)).await;
                    if !matches!(asked, Ok(Ok(true))) {
                        return Err(Error::Timeout { after });
                    }
                }
            }
        }
    }

    /// Whether the server process is at work, seen from a second session: a statement may take any
    /// time, but one that waits for us while we wait for it has lost something on the way.
    async fn is_working(&self, pid: i32) -> Result<bool, Error> {
        let session = connect(&self.conninfo, SessionSettings::pinned()).await?;
        let sql = "select from pg_catalog.pg_stat_activity \
             where pid = $1 and state = 'active' and wait_event_type is distinct from 'Client'";
        Ok(!session.query_typed(sql, &[(&pid, Type::INT4)]).await?.is_empty())
    }
}

/// Returns when a stop is asked for: never, when nobody is left who could.
pub(crate) async fn stop_asked(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
