//! Sessions at the destination.
//!
//! Owns their settings. The invariant: a session says whether triggers and foreign keys rest in it;
//! nobody guesses.

use std::sync::Arc;

use pgtrail_postgres::{ConnInfo, Session, SessionSettings, connect, sqlstate};

use crate::Error;

/// Plans are pinned to indexes: a plan made from stale statistics must not scan a table for every set.
/// Statements that have no index to use say so for themselves (see [`SCANS_ON`]).
pub(crate) const SCANS_OFF: &str =
    "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off";

/// For statements that read whole tables.
pub(crate) const SCANS_ON: &str =
    "set enable_seqscan = on; set enable_hashjoin = on; set enable_mergejoin = on";

/// A session for applying.
#[derive(Debug)]
pub(crate) struct Destination {
    pub session: Arc<Session>,
    /// The server process, to find ourselves in `pg_stat_activity`.
    pub pid: i32,
    /// `session_replication_role = replica` holds: triggers and foreign keys rest.
    pub replica: bool,
}

impl Destination {
    pub(crate) async fn connect(info: &ConnInfo) -> Result<Destination, Error> {
        // Safe: checkpoint and data go back together, and the log still has the rest.
        let settings = SessionSettings::pinned().with("synchronous_commit", "off");
        let session = Arc::new(connect(info, settings).await?);
        let replica = session.batch_execute("set session_replication_role = replica").await;
        let replica = match replica.map_err(Error::from) {
            Ok(()) => true,
            Err(error) if is_denied(&error) => false,
            Err(error) => return Err(error),
        };
        session.batch_execute(SCANS_OFF).await?;
        // One plan for a statement, made once. A server process whose client died in the middle of a
        // long statement notices it, and gives the seat back. Older servers know neither setting.
        let sql = "select pg_backend_pid(), array(\
             select set_config(s.name, wanted.value, false) \
             from (values ('plan_cache_mode', 'force_generic_plan'), \
             ('client_connection_check_interval', '5s')) wanted (name, value) \
             join pg_settings s on s.name = wanted.name)";
        let rows = session.query_typed(sql, &[]).await?;
        let pid = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        Ok(Destination { session, pid, replica })
    }
}

fn is_denied(error: &Error) -> bool {
    let Error::Postgres(error) = error else { return false };
    error.sqlstate() == Some(sqlstate::code::INSUFFICIENT_PRIVILEGE)
}
