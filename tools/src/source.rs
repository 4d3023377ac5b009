//! pgtrail's objects at the source: its schema, replica identities, and the slot's removal.
//!
//! Owns their SQL. The invariant: every row and object carries the pipeline's name, and undoing one
//! pipeline leaves what another needs.

use std::time::{Duration, Instant};

use pgtrail_log::{Lsn, ReplicaIdentity};
use pgtrail_postgres::quote::{quote_ident, quote_literal};
use pgtrail_postgres::schema::{RelationKind, Table};
use pgtrail_postgres::{Error, Session};
use pgtrail_reader::replication::SystemIdentity;

/// Serialises init and teardown of several pipelines at one database. The number is ours alone:
/// "pgtrail" in ASCII.
const ADVISORY_KEY: i64 = 0x0070_6774_7261_696c;

/// A lock that is not had in this time is given back and asked for again, so that the application
/// never queues behind a statement of ours for longer.
const LOCK_TIMEOUT: &str = "1s";

/// How often a lock is asked for before init gives up.
const LOCK_TRIES: u32 = 60;

/// What the source knows of a pipeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Registered {
    /// The log's incarnation; `None` when init was cut short.
    pub(crate) incarnation: Option<String>,
}

/// The row of `pipeline`, if the source has one.
pub(crate) async fn registered(
    client: &Session,
    pipeline: &str,
) -> Result<Option<Registered>, Error> {
    if !has_own_schema(client).await? {
        return Ok(None);
    }
    let sql = "select incarnation from pgtrail.pipeline where name = $1";
    let row = client.query_opt(sql, &[&pipeline]).await?;
    Ok(match row {
        Some(row) => Some(Registered { incarnation: row.try_get(0)? }),
        None => None,
    })
}

async fn has_own_schema(client: &Session) -> Result<bool, Error> {
    let sql = "select pg_catalog.to_regclass('pgtrail.pipeline') is not null";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// Makes the schema and notes that init is at work; `is_given` when somebody else made the
/// publication.
pub(crate) async fn register(
    client: &Session,
    pipeline: &str,
    slot: &str,
    publication: &str,
    is_given: bool,
) -> Result<(), Error> {
    let sql = format!(
        "select pg_catalog.pg_advisory_xact_lock({ADVISORY_KEY});\n{}\n\
         insert into pgtrail.pipeline (name, slot, publication, publication_given) \
         values ({}, {}, {}, {is_given})",
        include_str!("source/objects.sql"),
        quote_literal(pipeline),
        quote_literal(slot),
        quote_literal(publication),
    );
    Ok(client.batch_execute(&sql).await?)
}

/// Whether somebody else made the publication of `pipeline`.
pub(crate) async fn is_publication_given(client: &Session, pipeline: &str) -> Result<bool, Error> {
    if !has_own_schema(client).await? {
        return Ok(false);
    }
    let sql = "select publication_given from pgtrail.pipeline where name = $1";
    let row = client.query_opt(sql, &[&pipeline]).await?;
    Ok(match row {
        Some(row) => row.try_get(0)?,
        None => false,
    })
}

/// Notes that init is complete, and for which log.
pub(crate) async fn complete(
    client: &Session,
    pipeline: &str,
    incarnation: &str,
) -> Result<(), Error> {
    let sql = "update pgtrail.pipeline set incarnation = $2 where name = $1";
    client.execute(sql, &[&pipeline, &incarnation]).await?;
    Ok(())
}

/// Removes the pipeline's rows, and pgtrail's tables and schema when no other pipeline uses them.
pub(crate) async fn forget(client: &Session, pipeline: &str) -> Result<(), Error> {
    if !has_own_schema(client).await? {
        return Ok(());
    }
    let sql = format!(
        "select pg_catalog.pg_advisory_xact_lock({ADVISORY_KEY});\n\
         delete from pgtrail.pipeline where name = {};\n{}",
        quote_literal(pipeline),
        include_str!("source/forget.sql"),
    );
    Ok(client.batch_execute(&sql).await?)
}

/// A replica identity that init gives to a table without one.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct GivenIdentity<'a> {
    pub(crate) table: &'a Table,
    /// A unique index over columns that are not null; `None`: FULL.
    pub(crate) index: Option<&'a str>,
}

/// The tables whose updates and deletes could not be replicated as they are, and what each would be
/// given.
pub(crate) fn lacking_identity(tables: &[Table]) -> Vec<GivenIdentity<'_>> {
    tables
        .iter()
        // A partitioned table has no rows of its own: its leaves count.
        .filter(|table| table.kind == RelationKind::Table && !table.has_replica_identity())
        .map(|table| {
            let index = table.not_null_unique_index().map(|index| index.name.as_str());
            GivenIdentity { table, index }
        })
        .collect()
}

impl GivenIdentity<'_> {
    /// `full`, or the index, as people read it.
    pub(crate) fn describe(&self) -> String {
        match self.index {
            Some(index) => format!("replica identity using index {index}"),
            None => "replica identity full".to_owned(),
        }
    }

    /// The statement alone, with nothing noted for teardown.
    pub(crate) fn statement(&self) -> String {
        let identity = match self.index {
            Some(index) => format!("using index {}", quote_ident(index)),
            None => "full".to_owned(),
        };
        format!("alter table {} replica identity {identity}", self.table.qualified())
    }

    fn sql(&self, pipeline: &str) -> String {
        let table = self.table;
        let previous_index = table
            .unique_indexes
            .iter()
            .find(|index| index.is_replica_identity)
            .map_or_else(|| "null".to_owned(), |index| quote_literal(&index.name));
        let given = if self.index.is_some() { 'i' } else { 'f' };
        // One batch is one transaction: the note and the change come together.
        format!(
            "set local lock_timeout = '{LOCK_TIMEOUT}';\n\
             insert into pgtrail.replica_identity \
             (pipeline, relation, schema_name, table_name, previous, previous_index, given) \
             values ({}, {}, {}, {}, '{}', {previous_index}, '{given}') \
             on conflict (pipeline, relation) do nothing;\n\
             {}",
            quote_literal(pipeline),
            table.oid,
            quote_literal(&table.schema),
            quote_literal(&table.name),
            letter(table.replica_identity),
            self.statement(),
        )
    }
}

fn letter(identity: ReplicaIdentity) -> char {
    match identity {
        ReplicaIdentity::Default => 'd',
        ReplicaIdentity::Nothing => 'n',
        ReplicaIdentity::Full => 'f',
        ReplicaIdentity::Index => 'i',
    }
}

/// Gives a table its identity, waiting for its lock in short turns.
pub(crate) async fn give_identity(
    client: &Session,
    pipeline: &str,
    given: &GivenIdentity<'_>,
) -> Result<(), Error> {
    with_lock_retries(client, &given.sql(pipeline)).await
}

/// Where another pipeline's init gave a selected table its identity, this pipeline relies on it as
/// well.
pub(crate) async fn share_identities(
    client: &Session,
    pipeline: &str,
    tables: &[Table],
) -> Result<(), Error> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let sql = include_str!("source/share_identities.sql");
    client.execute(sql, &[&pipeline, &oids]).await?;
    Ok(())
}

/// Puts back the identities that init changed, where they still are as init left them, the table is
/// still there, and no other pipeline relies on them. Returns the tables' names.
pub(crate) async fn restore_identities(
    client: &Session,
    pipeline: &str,
) -> Result<Vec<String>, Error> {
    if !has_own_schema(client).await? {
        return Ok(Vec::new());
    }
    let mut restored = Vec::new();
    let rows = client.query(include_str!("source/changed_identities.sql"), &[&pipeline]).await?;
    for row in rows {
        let relation: u32 = row.try_get("relation")?;
        let (schema, name): (String, String) =
            (row.try_get("schema_name")?, row.try_get("table_name")?);
        let previous: String = row.try_get("previous")?;
        let index: Option<String> = row.try_get("previous_index")?;
        let identity = match (previous.as_str(), index) {
            ("i", Some(index)) => format!("using index {}", quote_ident(&index)),
            ("n" | "i", _) => "nothing".to_owned(),
            _ => "default".to_owned(),
        };
        let table = pgtrail_postgres::quote::qualified(&schema, &name);
        let sql = format!(
            "set local lock_timeout = '{LOCK_TIMEOUT}';\n\
             alter table {table} replica identity {identity};\n\
             delete from pgtrail.replica_identity where pipeline = {} and relation = {relation}",
            quote_literal(pipeline)
        );
        with_lock_retries(client, &sql).await?;
        restored.push(format!("{schema}.{name}"));
    }
    Ok(restored)
}

async fn with_lock_retries(client: &Session, sql: &str) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match client.batch_execute(sql).await.map_err(Error::from) {
            Err(error) if error.sqlstate() == Some("55P03") && tries < LOCK_TRIES => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            result => return result,
        }
    }
}

/// Which cluster this is, asked without a replication connection.
pub(crate) async fn system(client: &Session) -> Result<SystemIdentity, Error> {
    let sql = "select s.system_identifier, c.timeline_id, pg_catalog.current_database()::text \
               from pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c";
    let row = client.query_one(sql, &[]).await?;
    let identifier: i64 = row.try_get(0)?;
    let timeline: i32 = row.try_get(1)?;
    Ok(SystemIdentity {
        system_identifier: identifier.cast_unsigned(),
        timeline: timeline.cast_unsigned(),
        flush_lsn: position(client).await?,
        dbname: row.try_get(2)?,
    })
}

/// Where the source is; a standby can be one when only its schema is taken.
pub(crate) async fn position(client: &Session) -> Result<Lsn, Error> {
    let sql = "select (case when pg_catalog.pg_is_in_recovery() \
               then pg_catalog.pg_last_wal_replay_lsn() \
               else pg_catalog.pg_current_wal_insert_lsn() end)::text";
    let text: String = client.query_one(sql, &[]).await?.try_get(0)?;
    text.parse().map_err(|_| Error::Protocol { what: format!("LSN {text}") })
}

/// Whether the role may publish every table there is and will be.
pub(crate) async fn is_superuser(client: &Session) -> Result<bool, Error> {
    let sql = "select rolsuper from pg_catalog.pg_roles where rolname = current_user";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// A slot as far as init and teardown care.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    /// The process that holds it, if any.
    pub(crate) active_pid: Option<i32>,
}

/// The slot of this name.
pub(crate) async fn slot(client: &Session, name: &str) -> Result<Option<Slot>, Error> {
    let sql = "select active_pid from pg_catalog.pg_replication_slots where slot_name = $1";
    let row = client.query_opt(sql, &[&name]).await?;
    Ok(match row {
        Some(row) => Some(Slot { active_pid: row.try_get(0)? }),
        None => None,
    })
}

/// Drops the slot, if it is there, waiting up to `wait` for a holder that just died to be noticed.
/// Returns whether it was there.
pub(crate) async fn drop_slot(client: &Session, name: &str, wait: Duration) -> Result<bool, Error> {
    let deadline = Instant::now() + wait;
    loop {
        if slot(client, name).await?.is_none() {
            return Ok(false);
        }
        let sql = "select pg_catalog.pg_drop_replication_slot($1::text::name)";
        match client.execute(sql, &[&name]).await.map_err(Error::from) {
            Ok(_) => return Ok(true),
            // object_in_use
            Err(error) if error.sqlstate() == Some("55006") && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            // Someone else dropped it in between.
            Err(error) if error.sqlstate() == Some("42704") => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
