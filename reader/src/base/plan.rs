//! Which tables the initial copy holds.
//!
//! Asked once, and kept in the log: a table that appears later arrives whole in the stream. For that
//! to be true the question has to be asked under a snapshot that sees all that the slot's exported
//! snapshot saw, or a table could be in neither, rows and all.

use pgtrail_log::{BaseTable, Snapshot, TableSize};
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::{Session, sqlstate};
use tokio_postgres::types::Type;

use super::Error;
use super::table::current_snapshot;

/// Plain and leaf tables that the publication publishes, the largest first, so that none of them is left
/// over alone at the end. Views, partitioned parents, unlogged and foreign tables are in no publication.
fn published(sizes: Sizes) -> String {
    let bytes = match sizes {
        Sizes::Real => "pg_catalog.pg_table_size(c.oid)",
        Sizes::Estimated => "c.relpages::bigint * pg_catalog.current_setting('block_size')::bigint",
    };
    format!(
        "select c.oid, n.nspname, c.relname, coalesce({bytes}, 0), \
         greatest(c.reltuples, 0)::bigint \
         from pg_catalog.pg_get_publication_tables($1) p \
         join pg_catalog.pg_class c on c.oid = p.relid \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where c.relkind = 'r' and c.relpersistence = 'p' \
         order by 4 desc, n.nspname, c.relname"
    )
}

/// Where a table's size is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sizes {
    /// Of its files, which takes its lock for a moment.
    Real,
    /// Of the catalog, which was right at the last VACUUM.
    Estimated,
}

/// How long the real sizes may wait for a table that somebody alters.
const LOCK_TIMEOUT: &str = "1s";

/// The tables to copy; none while the session's snapshot still hides a transaction that `exported`
/// shows.
pub(super) async fn plan(
    session: &Session,
    publication: &str,
    selection: &Selection,
    exported: &Snapshot,
) -> Result<Option<Vec<BaseTable>>, Error> {
    let begin = format!(
        "begin transaction isolation level repeatable read read only; \
         set local lock_timeout = '{LOCK_TIMEOUT}'"
    );
    let mut sizes = Sizes::Real;
    loop {
        session.batch_execute(&begin).await.map_err(pgtrail_postgres::Error::from)?;
        let planned = plan_in_transaction(session, publication, selection, exported, sizes).await;
        session.batch_execute("rollback").await.map_err(pgtrail_postgres::Error::from)?;
        match planned {
            Err(Error::Source(error))
                if sizes == Sizes::Real
                    && error.sqlstate() == Some(sqlstate::code::LOCK_NOT_AVAILABLE) =>
            {
                sizes = Sizes::Estimated;
            }
            planned => return planned,
        }
    }
}

async fn plan_in_transaction(
    session: &Session,
    publication: &str,
    selection: &Selection,
    exported: &Snapshot,
    sizes: Sizes,
) -> Result<Option<Vec<BaseTable>>, Error> {
    if !current_snapshot(session).await?.covers(exported) {
        return Ok(None);
    }
    let rows = session
        .query_typed(&published(sizes), &[(&publication, Type::TEXT)])
        .await
        .map_err(pgtrail_postgres::Error::from)
        .map_err(|error| match error.sqlstate() {
            Some(sqlstate::code::UNDEFINED_OBJECT) => {
                Error::NoPublication { publication: publication.to_owned() }
            }
            _ => Error::Source(error),
        })?;
    let mut tables = Vec::new();
    for row in rows {
        let number = |column: usize| -> Result<u64, Error> {
            let number: i64 = row.try_get(column).map_err(pgtrail_postgres::Error::from)?;
            Ok(u64::try_from(number).unwrap_or(0))
        };
        let table = BaseTable {
            relation: row.try_get(0).map_err(pgtrail_postgres::Error::from)?,
            schema: row.try_get(1).map_err(pgtrail_postgres::Error::from)?,
            name: row.try_get(2).map_err(pgtrail_postgres::Error::from)?,
            size: TableSize { bytes: number(3)?, rows: number(4)? },
        };
        if selection.contains(&table.schema, &table.name) {
            tables.push(table);
        }
    }
    Ok(Some(tables))
}
