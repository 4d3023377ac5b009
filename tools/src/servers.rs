//! Sessions of commands that a person waits for: they try once.

use pgtrail_postgres::{ConnInfo, Session, SessionSettings};

use anyhow::Context as _;
use pgtrail_log::Lsn;

/// Opens a session; an error names which side it is.
pub(crate) async fn connect(info: &ConnInfo, side: &str) -> anyhow::Result<Session> {
    pgtrail_postgres::connect(info, SessionSettings::pinned())
        .await
        .with_context(|| format!("connect to the {side}"))
}

/// Where the source's WAL ends now: every transaction that has committed ends before.
pub(crate) async fn current_lsn(source: &Session) -> Result<Lsn, pgtrail_postgres::Error> {
    // The insert position, not the flushed one: with synchronous_commit off a committed transaction
    // is not flushed yet.
    let row = source.query_one("select pg_catalog.pg_current_wal_insert_lsn()::text", &[]).await?;
    let text: String = row.try_get(0)?;
    text.parse().map_err(|_| pgtrail_postgres::Error::Protocol { what: format!("LSN {text}") })
}

/// The schemas that users made.
pub(crate) async fn schemas(client: &Session) -> Result<Vec<String>, pgtrail_postgres::Error> {
    let sql = "select nspname::text from pg_catalog.pg_namespace \
               where nspname !~ '^pg_' and nspname not in ('information_schema', 'pgtrail') \
               order by 1";
    let rows = client.query(sql, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
