//! An applier's place at its destination: the tables in schema `pgtrail`, and the right to work there.
//!
//! Owns who may apply. Two things keep a second applier out: a session advisory lock for the pair of
//! pipeline and destination, which ends with its holder's session, and a fence, a number that each new
//! holder raises. The invariant: every commit checks the fence, so one who lost the lock without
//! noticing cannot commit.

use std::time::Duration;

use pgtrail_log::Identity;
use pgtrail_postgres::Session;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::Error;
use crate::checkpoint::Checkpoint;

/// What lives in schema `pgtrail`.
const TABLES: [&str; 3] = ["base_load", "rebase", "checkpoint"];

/// How often the lock is tried again. It ends when the server notices that its holder is gone.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// Makes the tables and this pipeline's checkpoint row; does nothing where they are.
///
/// # Errors
/// When the role may not create them.
pub async fn install(client: &Client, pipeline: &str, destination: &str) -> Result<(), Error> {
    client.batch_execute(include_str!("sql/seat.sql")).await?;
    client
        .execute_typed(
            "insert into pgtrail.checkpoint (pipeline, destination) values ($1, $2) \
             on conflict do nothing",
            &[(&pipeline, Type::TEXT), (&destination, Type::TEXT)],
        )
        .await?;
    Ok(())
}

/// Removes this pipeline's rows, the tables when no other pipeline has rows in them, and the schema
/// when nothing else is in it.
///
/// # Errors
/// When a statement fails.
pub async fn remove(client: &Client, pipeline: &str, destination: &str) -> Result<(), Error> {
    client.batch_execute("begin").await?;
    let done = remove_in_transaction(client, pipeline, destination).await;
    client.batch_execute(if done.is_ok() { "commit" } else { "rollback" }).await?;
    done
}

async fn remove_in_transaction(
    client: &Client,
    pipeline: &str,
    destination: &str,
) -> Result<(), Error> {
    if !is_installed(client).await? {
        return Ok(());
    }
    for table in TABLES {
        let sql = format!("delete from pgtrail.{table} where pipeline = $1 and destination = $2");
        let names: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&pipeline, Type::TEXT), (&destination, Type::TEXT)];
        client.execute_typed(&sql, &names).await?;
    }
    let others = client.query_typed("select from pgtrail.checkpoint limit 1", &[]).await?;
    if !others.is_empty() {
        return Ok(());
    }
    // Another pipeline's role may have made them.
    let foreign = "select from pg_catalog.pg_class c \
         where c.oid in ('pgtrail.checkpoint'::pg_catalog.regclass, \
                         'pgtrail.base_load'::pg_catalog.regclass, \
                         'pgtrail.rebase'::pg_catalog.regclass) \
         and not pg_catalog.pg_has_role(c.relowner, 'usage')";
    if !client.query_typed(foreign, &[]).await?.is_empty() {
        return Ok(());
    }
    client
        .batch_execute("drop table pgtrail.checkpoint, pgtrail.base_load, pgtrail.rebase")
        .await?;
    // The source's objects live in a schema of the same name, when both are one database. Who may
    // not create schemas was given this one, and keeps it.
    let left = client
        .query_typed(
            "select from pg_catalog.pg_namespace n where n.nspname = 'pgtrail' and (\
             not pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create') or \
             exists (select from pg_catalog.pg_class c where c.relnamespace = n.oid) \
             or exists (select from pg_catalog.pg_proc p where p.pronamespace = n.oid) \
             or exists (select from pg_catalog.pg_type t where t.typnamespace = n.oid))",
            &[],
        )
        .await?;
    if left.is_empty() {
        client.batch_execute("drop schema pgtrail").await?;
    }
    Ok(())
}

/// Whether this pipeline has its row there.
///
/// # Errors
/// When a statement fails.
pub async fn is_set_up(client: &Client, pipeline: &str, destination: &str) -> Result<bool, Error> {
    if !is_installed(client).await? {
        return Ok(false);
    }
    let sql = "select from pgtrail.checkpoint where pipeline = $1 and destination = $2";
    let names: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&pipeline, Type::TEXT), (&destination, Type::TEXT)];
    Ok(!client.query_typed(sql, &names).await?.is_empty())
}

async fn is_installed(client: &Client) -> Result<bool, Error> {
    let sql = "select from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = 'pgtrail' and c.relname::text = any($1)";
    let found = client.query_typed(sql, &[(&TABLES.as_slice(), Type::TEXT_ARRAY)]).await?;
    Ok(found.len() == TABLES.len())
}

/// A seat that is held.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub pipeline: String,
    pub destination: String,
    /// The number no later holder has.
    pub fence: i64,
}

/// Who wants a seat, for which log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub pipeline: &'a str,
    pub destination: &'a str,
    pub identity: &'a Identity,
    /// How long to wait for a holder that just died.
    pub patience: Duration,
    /// The server process of our own last session, which may not have noticed its end.
    pub predecessor: Option<i32>,
}

/// Takes the seat and reads how far the destination is.
pub(crate) async fn take(
    session: &Session,
    claim: &Claim<'_>,
) -> Result<(Seat, Checkpoint), Error> {
    refuse_own_source(session, claim).await?;
    let not_installed = || Error::NotInstalled {
        pipeline: claim.pipeline.to_owned(),
        destination: claim.destination.to_owned(),
    };
    if !is_installed(session).await? {
        return Err(not_installed());
    }
    lock(session, claim).await?;
    fail::fail_point!("applier::seat::locked");
    let found = Checkpoint::read(session, claim.pipeline, claim.destination).await?;
    let found = found.ok_or_else(not_installed)?;
    found.belongs_to(claim.identity)?;
    let fence = raise_fence(session, claim).await?;
    // Read again: until the fence was raised, the one before us could still commit.
    let checkpoint = Checkpoint::read(session, claim.pipeline, claim.destination).await?;
    let seat = Seat {
        pipeline: claim.pipeline.to_owned(),
        destination: claim.destination.to_owned(),
        fence,
    };
    Ok((seat, checkpoint.ok_or_else(not_installed)?))
}

/// The source's own schema names the pipeline; a destination's does not.
async fn refuse_own_source(session: &Session, claim: &Claim<'_>) -> Result<(), Error> {
    let identity = claim.identity;
    let sql = "select to_regclass('pgtrail.pipeline') is not null \
         and current_database() = $1 \
         and (select system_identifier::text from pg_control_system()) = $2";
    let system = identity.system_identifier.to_string();
    let here =
        session.query_typed(sql, &[(&identity.database, Type::TEXT), (&system, Type::TEXT)]).await;
    // A role that may not ask is not refused for that.
    let Ok(rows) = here else { return Ok(()) };
    if !rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        return Ok(());
    }
    let sql = "select from pgtrail.pipeline where name = $1";
    let named = session.query_typed(sql, &[(&claim.pipeline, Type::TEXT)]).await;
    match named {
        Ok(rows) if !rows.is_empty() => Err(Error::OwnSource),
        _ => Ok(()),
    }
}

async fn lock(session: &Session, claim: &Claim<'_>) -> Result<(), Error> {
    let key = lock_key(claim.pipeline, claim.destination);
    let deadline = Instant::now() + claim.patience;
    loop {
        let sql = "select pg_try_advisory_lock($1)";
        let rows = session.query_typed(sql, &[(&key, Type::INT8)]).await?;
        if rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            return Ok(());
        }
        let holder = holder(session, key).await?;
        if let (Some(pid), Some(predecessor)) = (holder, claim.predecessor)
            && pid == predecessor
        {
            // Our own last session: the server has not noticed yet that its connection is gone.
            let sql = "select pg_terminate_backend($1)";
            session.query_typed(sql, &[(&pid, Type::INT4)]).await?;
        }
        if Instant::now() >= deadline {
            return Err(Error::SeatTaken { holder });
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
}

async fn holder(session: &Session, key: i64) -> Result<Option<i32>, Error> {
    let sql = "select l.pid from pg_catalog.pg_locks l \
         join pg_catalog.pg_database d on d.oid = l.database and d.datname = current_database() \
         where l.locktype = 'advisory' and l.granted and l.objsubid = 1 \
         and (l.classid::bigint << 32 | l.objid::bigint) = $1";
    let rows = session.query_typed(sql, &[(&key, Type::INT8)]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

async fn raise_fence(session: &Session, claim: &Claim<'_>) -> Result<i64, Error> {
    let sql = "update pgtrail.checkpoint \
         set fence = fence + 1, system_identifier = $3, incarnation = $4, updated_at = now() \
         where pipeline = $1 and destination = $2 \
         returning fence";
    let system = claim.identity.system_identifier.to_string();
    let incarnation = claim.identity.incarnation.to_string();
    let rows = session
        .query_typed(
            sql,
            &[
                (&claim.pipeline, Type::TEXT),
                (&claim.destination, Type::TEXT),
                (&system, Type::TEXT),
                (&incarnation, Type::TEXT),
            ],
        )
        .await?;
    let row = rows.first().ok_or_else(|| Error::Bug("the checkpoint row vanished".to_owned()))?;
    Ok(row.try_get(0)?)
}

/// FNV-1a over both names: any two pairs of names that meet by chance only wait for each other.
fn lock_key(pipeline: &str, destination: &str) -> i64 {
    let bytes = ["pgtrail applier", pipeline, destination].join("\0");
    let hash = bytes.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_names_have_locks_of_their_own() {
        assert_ne!(lock_key("a", "bc"), lock_key("ab", "c"));
        assert_ne!(lock_key("a", "default"), lock_key("b", "default"));
        assert_eq!(lock_key("a", "default"), lock_key("a", "default"));
    }
}
