//! Copying tables again while the stream goes on.
//!
//! Owns the requests, from the question to the finished base. A request is in the log before it is
//! answered, so it outlives this process; a base that replaces another carries two places. Before its
//! *floor* every transaction is in it: the floor is a WAL position read before all transactions then open
//! had ended, and only after that the snapshot is taken. At or after its *ceiling* none is: that position
//! is read after the snapshot. What lies between, an applier tells apart by the snapshot. The invariant:
//! nothing at or after a floor leaves the log before every destination has the base.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pgtrail_log::{BaseTable, LogWriter, Lsn, TableSize, Xid};
use pgtrail_postgres::Session;
use pgtrail_postgres::selection::TablePattern;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::sleep;
use tokio_postgres::types::Type;

use crate::base::{self, Again, BaseConfig};
use crate::error::Chain;
use crate::retention::{Floors, Fullness};
use crate::retry::Retry;
use crate::{Error, ReaderStatus};

/// Somebody wants tables copied again.
#[derive(Debug)]
pub struct ResyncRequest {
    /// As they are called at the source.
    pub tables: Vec<TablePattern>,
    /// Told the tables that are now waiting (of a partitioned one its leaves), or why none is.
    pub answer: oneshot::Sender<Result<Vec<String>, String>>,
}

/// See the module's documentation.
pub(crate) struct Rebasing {
    pub(crate) log: Arc<LogWriter>,
    pub(crate) config: BaseConfig,
    pub(crate) status: Arc<ReaderStatus>,
    pub(crate) fullness: watch::Receiver<Fullness>,
    pub(crate) floors: Floors,
    /// True while nothing is left to copy.
    pub(crate) copied: watch::Sender<bool>,
}

impl Rebasing {
    /// Runs until told to stop. Ends by itself only with an error.
    pub(crate) async fn run(
        &self,
        mut requests: mpsc::Receiver<ResyncRequest>,
        mut stop: watch::Receiver<bool>,
        retry: Retry,
    ) -> Result<(), Error> {
        let more = Notify::new();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            () = self.accept(&mut requests, &more) => Ok(()),
            error = self.work(&more, retry) => Err(error),
        }
    }

    /// Takes requests in. Ends never: without anybody who could ask, nobody does.
    async fn accept(&self, requests: &mut mpsc::Receiver<ResyncRequest>, more: &Notify) {
        while let Some(ResyncRequest { tables, answer }) = requests.recv().await {
            let accepted = self.take(&tables).await;
            more.notify_one();
            // Who asked may be gone; the request stands.
            let _ = answer.send(accepted.map_err(|error| Chain(&error).to_string()));
        }
        std::future::pending().await
    }

    async fn take(&self, wanted: &[TablePattern]) -> Result<Vec<String>, Error> {
        let session = base::open_session(&self.config).await?;
        let published = published(&session, &self.config.publication).await?;
        let mut found = BTreeMap::new();
        for pattern in wanted {
            let named = |leaf: &&Leaf| {
                leaf.names.iter().any(|(schema, name)| pattern.matches(schema, name))
            };
            let selected =
                |leaf: &&Leaf| self.config.selection.contains(&leaf.table.schema, &leaf.table.name);
            let matching = published.iter().filter(named).filter(selected);
            let matching: Vec<&Leaf> = matching.collect();
            if matching.is_empty() {
                return Err(Error::NotReplicated {
                    table: format!("{}.{}", pattern.schema, pattern.name),
                });
            }
            found
                .extend(matching.into_iter().map(|leaf| (leaf.table.relation, leaf.table.clone())));
        }
        // Not before the copy has the next word: a sender of `true` would end a run that stops here.
        self.copied.send_replace(false);
        for table in found.values() {
            self.log.request_rebase(table)?;
        }
        Ok(found.values().map(shown).collect())
    }

    async fn work(&self, more: &Notify, mut retry: Retry) -> Error {
        retry.connected();
        loop {
            let waiting = self.log.rebase_requests();
            self.status.set_rebases(waiting.iter().map(shown).collect());
            let Some(table) = waiting.first() else {
                self.copied.send_replace(true);
                more.notified().await;
                continue;
            };
            self.copied.send_replace(false);
            let began = Instant::now();
            let error = match self.copy(table).await {
                Ok(()) => {
                    retry.worked(began.elapsed(), true);
                    continue;
                }
                Err(Error::Base(error)) if error.is_of_table() => {
                    let reason = error.chain();
                    tracing::error!(
                        table = shown(table),
                        reason,
                        "table cannot be copied again, and goes on as it is"
                    );
                    self.status.table_failed(&shown(table), &reason);
                    match self.log.drop_rebase_request(table.relation) {
                        Ok(()) => continue,
                        Err(error) => return error.into(),
                    }
                }
                Err(error) => error,
            };
            retry.worked(began.elapsed(), false);
            let Some(pause) = retry.after(&error, Instant::now()) else { return error };
            tracing::warn!(%error, "copying a table again was interrupted, will be tried again");
            sleep(pause).await;
        }
    }

    /// Copies one table.
    async fn copy(&self, table: &BaseTable) -> Result<(), Error> {
        let session = base::open_session(&self.config).await?;
        // Held before it is asked for: the source's WAL is not behind what has arrived of it.
        self.floors.hold(table.relation, self.log.mark().end_lsn);
        let again = Again { floor: insert_lsn(&session).await?, before: next_xid(&session).await? };
        tracing::info!(table = shown(table), floor = %again.floor, "copying a table again");
        let copied = base::copy_again(
            Arc::clone(&self.log),
            &self.config,
            &session,
            table,
            again,
            Arc::clone(&self.status),
            self.fullness.clone(),
        );
        let copied = copied.await;
        // The base's header holds the floor by now, or the next try takes another.
        self.floors.release(table.relation);
        if !copied? {
            tracing::info!(table = shown(table), "table is gone, and not copied again");
            self.log.drop_rebase_request(table.relation)?;
        }
        self.status.table_works(&shown(table));
        Ok(())
    }
}

/// A published table, with its own name and those of the partitioned tables it is part of.
struct Leaf {
    table: BaseTable,
    names: Vec<(String, String)>,
}

async fn published(session: &Session, publication: &str) -> Result<Vec<Leaf>, Error> {
    let sql = "with recursive up as ( \
           select p.relid as leaf, p.relid as above \
           from pg_catalog.pg_get_publication_tables($1) p \
           union all \
           select u.leaf, i.inhparent from up u \
           join pg_catalog.pg_inherits i on i.inhrelid = u.above \
           join pg_catalog.pg_class c on c.oid = i.inhparent and c.relkind = 'p') \
         select c.oid, n.nspname::text, c.relname::text, \
           pg_catalog.array_agg(an.nspname::text order by a.oid), \
           pg_catalog.array_agg(a.relname::text order by a.oid) \
         from up \
         join pg_catalog.pg_class c on c.oid = up.leaf \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         join pg_catalog.pg_class a on a.oid = up.above \
         join pg_catalog.pg_namespace an on an.oid = a.relnamespace \
         where c.relkind = 'r' \
         group by c.oid, n.nspname, c.relname";
    let rows = session.query_typed(sql, &[(&publication, Type::TEXT)]).await;
    let rows = rows.map_err(pgtrail_postgres::Error::from)?;
    let leaf = |row: &tokio_postgres::Row| {
        let (relation, schema, name) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (schemas, names): (Vec<String>, Vec<String>) = (row.try_get(3)?, row.try_get(4)?);
        let names = schemas.into_iter().zip(names).collect();
        Ok(Leaf { table: BaseTable { relation, schema, name, size: TableSize::default() }, names })
    };
    let leaves: Result<_, tokio_postgres::Error> = rows.iter().map(leaf).collect();
    Ok(leaves.map_err(pgtrail_postgres::Error::from)?)
}

async fn insert_lsn(session: &Session) -> Result<Lsn, Error> {
    let sql = "select pg_catalog.pg_current_wal_insert_lsn()::text";
    Ok(base::lsn_of(session, sql).await?)
}

/// An id that nobody had before, taken and given up at once: every one that was given out until now is
/// lower. A snapshot's xmax would not do. It is one more than the newest id that has *ended*.
async fn next_xid(session: &Session) -> Result<Xid, Error> {
    let sql = "select pg_catalog.txid_current()";
    let row = session.query_typed_one(sql, &[]).await.map_err(pgtrail_postgres::Error::from)?;
    let xid: i64 = row.try_get(0).map_err(pgtrail_postgres::Error::from)?;
    Ok(Xid::new(xid.cast_unsigned()))
}

fn shown(table: &BaseTable) -> String {
    format!("{}.{}", table.schema, table.name)
}
