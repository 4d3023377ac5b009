//! The copy of one table, from lock to finished base.
//!
//! The order of the first three steps is the whole point, and each loses rows otherwise. The lock
//! comes before anything that takes a snapshot: TRUNCATE and rewriting ALTERs are not MVCC, so a
//! snapshot older than one of them reads an empty table. (LOCK TABLE itself takes none.) The snapshot
//! comes before the rows, in the same REPEATABLE READ transaction, and it must see everything that
//! the slot's exported snapshot saw: a transaction that had committed before the slot's consistent
//! point, and still looked in progress, would be in neither base nor stream. While the rows are read
//! the lock is held, so the table's shape is the one that was loaded, and an ALTER of this one table
//! waits.

use std::sync::Arc;

use futures_util::TryStreamExt;
use pgtrail_log::{
    BaseHeader, BaseStart, BaseTable, BaseWriter, CopyFormat, LogWriter, Lsn, Rebase, Snapshot, Xid,
};
use pgtrail_postgres::quote::{ident_list, qualified, quote_literal};
use pgtrail_postgres::schema::{RelationKind, Table, binary_safe, load_table_by_oid};
use pgtrail_postgres::{Session, Throttle, sqlstate};
use tokio::sync::{mpsc, watch};
use tokio_postgres::types::Type;

use super::Error;
use super::parts::{self, Offer, Part};
use super::queue::Queue;
use super::rows::{RowSplitter, Rows};
use crate::ReaderStatus;
use crate::retention::Fullness;

/// How long one try waits for the lock. Whoever holds it (or waits for it) is an ALTER or the like;
/// between two tries the worker copies other tables.
const LOCK_TIMEOUT: &str = "1s";

/// Uncompressed rows of one block: large enough to compress well, small enough to hold some of them
/// per job in memory, and for an applier to load in one go.
const BLOCK_BYTES: usize = 1 << 20;

/// Blocks that wait for being compressed and written, per table. One is enough to keep both sides
/// busy; the second takes up the jitter of a sync.
const BLOCKS_IN_FLIGHT: usize = 2;

/// How a try to copy a table ended.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Its base is complete in the log.
    Copied(BaseHeader),
    /// It is gone, or is no table any more.
    Gone,
    /// Not now, for this reason; a later try may do it.
    NotYet(&'static str),
}

/// What the copy of every table needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) log: Arc<LogWriter>,
    pub(super) status: Arc<ReaderStatus>,
    /// Whether the log has no room.
    pub(super) fullness: watch::Receiver<Fullness>,
    /// The snapshot that the slot exported when it was created.
    pub(super) exported: Arc<Snapshot>,
    /// How fast rows may be read.
    pub(super) throttle: Throttle,
    /// Tables of at least this many pages are read in parts.
    pub(super) split_pages: u64,
    /// Held by every writing thread, so that their end can be waited for.
    pub(super) alive: mpsc::Sender<()>,
}

/// What a base that replaces another needs besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    /// A WAL position, read first.
    pub(crate) floor: Lsn,
    /// A transaction id given out after that. Once all before it have ended, the base holds every
    /// transaction that committed before `floor`.
    pub(crate) before: Xid,
}

/// Tries once to copy the table.
pub(super) async fn copy_table(
    session: &Session,
    context: &Context,
    queue: &Arc<Queue>,
    table: &BaseTable,
    again: Option<Again>,
) -> Result<Attempt, Error> {
    let Some(table) = current_name(session, table).await? else {
        return Ok(Attempt::Gone);
    };
    fail::fail_point!("reader::base::before_lock");
    if let Err(error) = lock(session, &table).await {
        rollback(session).await?;
        return not_locked(error, &table);
    }
    fail::fail_point!("reader::base::after_lock");
    match copy_locked(session, context, queue, &table, again).await {
        Ok(attempt) => {
            rollback(session).await?;
            Ok(attempt)
        }
        Err(error) => {
            // The transaction may be gone with the connection, and the error says more than this.
            let _ = rollback(session).await;
            Err(error)
        }
    }
}

/// The table under the name it has by now.
async fn current_name(session: &Session, table: &BaseTable) -> Result<Option<BaseTable>, Error> {
    let sql = "select n.nspname, c.relname \
         from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where c.oid = $1 and c.relkind = 'r'";
    let row = session
        .query_typed_opt(sql, &[(&table.relation, Type::OID)])
        .await
        .map_err(pgtrail_postgres::Error::from)?;
    row.map(|row| {
        Ok(BaseTable {
            relation: table.relation,
            schema: row.try_get(0).map_err(pgtrail_postgres::Error::from)?,
            name: row.try_get(1).map_err(pgtrail_postgres::Error::from)?,
            size: table.size,
        })
    })
    .transpose()
}

/// Begins the transaction and locks, all in one message; no statement of it takes a snapshot. ONLY,
/// because COPY reads none of the children either.
async fn lock(session: &Session, table: &BaseTable) -> Result<(), pgtrail_postgres::Error> {
    let sql = format!(
        "begin transaction isolation level repeatable read read only; \
         set local lock_timeout = '{LOCK_TIMEOUT}'; \
         lock table only {} in access share mode",
        qualified(&table.schema, &table.name)
    );
    Ok(session.batch_execute(&sql).await?)
}

fn not_locked(error: pgtrail_postgres::Error, table: &BaseTable) -> Result<Attempt, Error> {
    use sqlstate::code;
    match error.sqlstate() {
        Some(code::LOCK_NOT_AVAILABLE | code::DEADLOCK_DETECTED) => {
            Ok(Attempt::NotYet("it is locked"))
        }
        // Renamed, moved or dropped between the look at its name and the lock.
        Some(code::UNDEFINED_TABLE | code::INVALID_SCHEMA_NAME | code::WRONG_OBJECT_TYPE) => {
            Ok(Attempt::NotYet("its name changed"))
        }
        _ => Err(unreadable(error, table)),
    }
}

/// The table's lock is held and no snapshot was taken yet.
async fn copy_locked(
    session: &Session,
    context: &Context,
    queue: &Arc<Queue>,
    table: &BaseTable,
    again: Option<Again>,
) -> Result<Attempt, Error> {
    let snapshot = current_snapshot(session).await?;
    fail::fail_point!("reader::base::after_snapshot");
    if !snapshot.covers(&context.exported) {
        return Ok(Attempt::NotYet("a transaction that the slot has seen is still ending"));
    }
    let rebase = match again {
        Some(again) if snapshot.xmin() < again.before => {
            return Ok(Attempt::NotYet("transactions from before are still open"));
        }
        Some(Again { floor, .. }) => {
            let sql = "select pg_catalog.pg_current_wal_insert_lsn()::text";
            Some(Rebase { floor, ceiling: super::lsn_of(session, sql).await? })
        }
        None => None,
    };
    let loaded = load_table_by_oid(session, session.capabilities(), table.relation).await?;
    let Some(loaded) = loaded.filter(|loaded| loaded.kind == RelationKind::Table) else {
        return Ok(Attempt::Gone);
    };
    if (&loaded.schema, &loaded.name) != (&table.schema, &table.name)
        || !is_all_that_is_locked(session, table).await?
    {
        return Ok(Attempt::NotYet("its name changed"));
    }
    let format = copy_format(session, &loaded).await?;
    let shape = loaded.relation_version();
    let parts = parts_of(session, context, &loaded).await?;
    let start = BaseStart { shape, snapshot, format, rebase };
    fail::fail_point!("reader::base::before_copy");

    let base = match parts.len() {
        0 | 1 => {
            let copy = copy_statement(&loaded, format);
            write_rows(context, start, async |sender| {
                read_blocks(session, context, table, &copy, format, sender).await.map(|()| true)
            })
            .await?
        }
        _ => write_parts(session, context, queue, &loaded, table, start, parts).await?,
    };
    let Some(base) = base else { return Ok(Attempt::NotYet("a part could not be read")) };
    // COPY looked the name up once more, and renaming a schema waits for no table lock.
    if !is_all_that_is_locked(session, table).await? {
        return Ok(Attempt::NotYet("its name changed"));
    }
    fail::fail_point!("reader::base::before_finish");
    let header = in_background(context, move || base.finish()).await??;
    fail::fail_point!("reader::base::after_finish");
    Ok(Attempt::Copied(header))
}

/// Has `read` read the rows, and a thread of its own compress and write them. `None` when not all were
/// read.
async fn write_rows(
    context: &Context,
    start: BaseStart,
    read: impl AsyncFnOnce(mpsc::Sender<Rows>) -> Result<bool, Error>,
) -> Result<Option<BaseWriter>, Error> {
    let (sender, receiver) = mpsc::channel(BLOCKS_IN_FLIGHT);
    let (log, status) = (Arc::clone(&context.log), Arc::clone(&context.status));
    let writing = in_background(context, move || write_blocks(&log, &status, start, receiver));
    let (base, read) = tokio::join!(writing, read(sender));
    // A log that cannot be written makes the reading end, too: its error comes first.
    let base = base??;
    Ok(read?.then_some(base))
}

/// The parts to read the table in.
async fn parts_of(session: &Session, context: &Context, table: &Table) -> Result<Vec<Part>, Error> {
    if !session.capabilities().tid_ranges || table.sent_columns().next().is_none() {
        return Ok(Vec::new());
    }
    // Other access methods may have other ideas of where a row lies.
    let sql = "select pg_catalog.pg_relation_size(c.oid) \
         / pg_catalog.current_setting('block_size')::bigint \
         from pg_catalog.pg_class c join pg_catalog.pg_am a on a.oid = c.relam \
         where c.oid = $1 and a.amname = 'heap'";
    let row = session
        .query_typed_opt(sql, &[(&table.oid, Type::OID)])
        .await
        .map_err(pgtrail_postgres::Error::from)?;
    let pages: i64 = match row {
        Some(row) => row.try_get(0).map_err(pgtrail_postgres::Error::from)?,
        None => 0,
    };
    Ok(parts::split(u64::try_from(pages).unwrap_or(0), context.split_pages))
}

/// Leads the reading of a table in parts.
async fn write_parts(
    session: &Session,
    context: &Context,
    queue: &Arc<Queue>,
    loaded: &Table,
    table: &BaseTable,
    start: BaseStart,
    parts: Vec<Part>,
) -> Result<Option<BaseWriter>, Error> {
    let sql = "select pg_catalog.pg_export_snapshot()";
    let row = session.query_typed_one(sql, &[]).await.map_err(pgtrail_postgres::Error::from)?;
    let snapshot: String = row.try_get(0).map_err(pgtrail_postgres::Error::from)?;
    let columns = ident_list(loaded.sent_columns().map(|column| column.name.as_str()));
    let format = start.format;
    write_rows(context, start, async |sender| {
        let offer = Offer::new(table.clone(), snapshot, columns, format, parts, sender);
        let offer = Arc::new(offer);
        // Whatever ends this, the offer ends with it, and with the offer the writing.
        let _offered = queue.offer(&offer);
        read_parts(session, context, &offer).await?;
        Ok(offer.settled().await)
    })
    .await
}

/// Reads parts until nobody needs to.
async fn read_parts(session: &Session, context: &Context, offer: &Arc<Offer>) -> Result<(), Error> {
    while let Some((claim, sender)) = offer.claim() {
        let copy = copy_part(offer, claim.part);
        read_blocks(session, context, &offer.table, &copy, offer.format, sender).await?;
        // COPY looked the name up, and renaming a schema waits for no table lock.
        if !is_all_that_is_locked(session, &offer.table).await? {
            return Ok(());
        }
        claim.complete();
    }
    Ok(())
}

/// Helps with a table that another job leads. `false`: the lock cannot be had, now or later.
pub(super) async fn help(
    session: &Session,
    context: &Context,
    offer: &Arc<Offer>,
) -> Result<bool, Error> {
    let sql = format!(
        "begin transaction isolation level repeatable read read only; \
         set transaction snapshot {}; \
         lock table only {} in access share mode nowait",
        quote_literal(&offer.snapshot),
        qualified(&offer.table.schema, &offer.table.name)
    );
    let helped = match session.batch_execute(&sql).await {
        Ok(()) if is_all_that_is_locked(session, &offer.table).await? => {
            read_parts(session, context, offer).await.map(|()| true)
        }
        Ok(()) => Ok(false),
        // Somebody waits for the leader, the leader is through, or the name means another table.
        Err(error) if error.as_db_error().is_some() => Ok(false),
        Err(error) => Err(Error::Source(error.into())),
    };
    match helped {
        Ok(helped) => rollback(session).await.map(|()| helped),
        Err(error) => {
            let _ = rollback(session).await;
            Err(error)
        }
    }
}

fn write_blocks(
    log: &LogWriter,
    status: &ReaderStatus,
    start: BaseStart,
    mut blocks: mpsc::Receiver<Rows>,
) -> Result<BaseWriter, pgtrail_log::Error> {
    let relation = start.shape.relation;
    let mut base = log.begin_base(start)?;
    status.base_table_begun(relation);
    while let Some(rows) = blocks.blocking_recv() {
        fail::fail_point!("reader::base::before_append");
        base.append(&rows.bytes, rows.count)?;
        status.add_base(relation, rows.count, rows.bytes.len() as u64);
    }
    Ok(base)
}

async fn read_blocks(
    session: &Session,
    context: &Context,
    table: &BaseTable,
    copy: &str,
    format: CopyFormat,
    sender: mpsc::Sender<Rows>,
) -> Result<(), Error> {
    let failed = |error: tokio_postgres::Error| unreadable(error.into(), table);
    let malformed = |source| Error::Malformed { table: shown(table), source };
    let mut stream = std::pin::pin!(session.copy_out(copy).await.map_err(failed)?);
    let mut splitter = RowSplitter::new(format, BLOCK_BYTES);
    let mut blocks = Vec::new();
    while let Some(chunk) = stream.try_next().await.map_err(failed)? {
        splitter.push(chunk, &mut blocks).map_err(malformed)?;
        for rows in blocks.drain(..) {
            context.throttle.pass(rows.count, rows.bytes.len() as u64).await;
            // An error means that nobody watches the disk any more: the reader is ending.
            let _ = context.fullness.clone().wait_for(|now| *now != Fullness::DiskFull).await;
            if sender.send(rows).await.is_err() {
                // The writing side has failed and knows why.
                return Ok(());
            }
        }
    }
    if let Some(rows) = splitter.finish().map_err(malformed)? {
        context.throttle.pass(rows.count, rows.bytes.len() as u64).await;
        let _ = sender.send(rows).await;
    }
    Ok(())
}

/// Runs what blocks on the log's disk on a thread where that hurts nobody.
async fn in_background<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let alive = context.alive.clone();
    let task = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(alive);
        result
    });
    task.await.map_err(|_| Error::Task)
}

/// Binary where every copied type may travel so: smaller, and cheaper at both ends.
async fn copy_format(session: &Session, table: &Table) -> Result<CopyFormat, Error> {
    let types: Vec<u32> = table.sent_columns().map(|column| column.data_type.oid).collect();
    let safe = binary_safe(session, session.capabilities(), &types).await?;
    let all_safe = types.iter().all(|oid| safe.get(oid).copied().unwrap_or(false));
    Ok(if all_safe { CopyFormat::Binary } else { CopyFormat::Text })
}

/// Columns are named, in the order of the shape. Without any, COPY leaves the generated ones out by
/// itself, which is right for a table that has no others.
fn copy_statement(table: &Table, format: CopyFormat) -> String {
    let columns = ident_list(table.sent_columns().map(|column| column.name.as_str()));
    let list = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
    format!("copy {}{list} to stdout (format {})", table.qualified(), format_name(format))
}

/// ONLY, because COPY of a table reads none of its children either.
fn copy_part(offer: &Offer, part: Part) -> String {
    format!(
        "copy (select {} from only {} where {}) to stdout (format {})",
        offer.columns,
        qualified(&offer.table.schema, &offer.table.name),
        part.condition(),
        format_name(offer.format)
    )
}

fn format_name(format: CopyFormat) -> &'static str {
    match format {
        CopyFormat::Binary => "binary",
        CopyFormat::Text => "text",
    }
}

/// The snapshot that every further query of the transaction sees. In REPEATABLE READ the first query
/// takes it; let this be that query.
pub(super) async fn current_snapshot(session: &Session) -> Result<Snapshot, Error> {
    let sql = session.capabilities().snapshot_query();
    let row = session.query_typed_one(&sql, &[]).await.map_err(pgtrail_postgres::Error::from)?;
    let text: &str = row.try_get(0).map_err(pgtrail_postgres::Error::from)?;
    Ok(text.parse()?)
}

/// Whether this table, and no other user table, is locked by this transaction.
async fn is_all_that_is_locked(session: &Session, table: &BaseTable) -> Result<bool, Error> {
    let sql = "select coalesce(pg_catalog.bool_and(c.oid = $1), false) \
         from pg_catalog.pg_locks l \
         join pg_catalog.pg_database d on d.oid = l.database \
         join pg_catalog.pg_class c on c.oid = l.relation \
         where l.locktype = 'relation' and l.granted \
         and l.pid = pg_catalog.pg_backend_pid() \
         and d.datname = pg_catalog.current_database() \
         and c.relkind in ('r', 'p') \
         and c.relnamespace <> 'pg_catalog'::pg_catalog.regnamespace";
    let row = session
        .query_typed_one(sql, &[(&table.relation, Type::OID)])
        .await
        .map_err(pgtrail_postgres::Error::from)?;
    Ok(row.try_get(0).map_err(pgtrail_postgres::Error::from)?)
}

fn unreadable(source: pgtrail_postgres::Error, table: &BaseTable) -> Error {
    let table = shown(table);
    match source.sqlstate() {
        Some(sqlstate::code::INSUFFICIENT_PRIVILEGE) => Error::Unreadable { table, source },
        Some(_) => Error::Table { table, source },
        None => Error::Source(source),
    }
}

/// The table's name as people write it.
fn shown(table: &BaseTable) -> String {
    format!("{}.{}", table.schema, table.name)
}

async fn rollback(session: &Session) -> Result<(), Error> {
    Ok(session.batch_execute("rollback").await.map_err(pgtrail_postgres::Error::from)?)
}
