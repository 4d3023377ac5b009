//! Which tables the initial copy holds.
//!
//! Asked once, and kept in the log: a table that appears later arrives whole in the stream. For that
//! to be true the question has to be asked under a snapshot that sees all that the slot's exported
//! snapshot saw, or a table could be in neither, rows and all.

use pgtrail_log::{BaseTable, Snapshot};
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::{Session, sqlstate};
use tokio_postgres::types::Type;

use super::Error;
use super::table::current_snapshot;

/// Plain and leaf tables that the publication publishes, the largest (as far as is known) first, so
/// that none of them is left over alone at the end. Views, partitioned parents, unlogged and foreign
/// tables are in no publication.
const PUBLISHED: &str = "\
    select c.oid, n.nspname, c.relname \
    from pg_catalog.pg_get_publication_tables($1) p \
    join pg_catalog.pg_class c on c.oid = p.relid \
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    where c.relkind = 'r' and c.relpersistence = 'p' \
    order by c.relpages desc, n.nspname, c.relname";

/// The tables to copy; none while the session's snapshot still hides a transaction that `exported`
/// shows.
pub(super) async fn plan(
    session: &Session,
    publication: &str,
    selection: &Selection,
    exported: &Snapshot,
) -> Result<Option<Vec<BaseTable>>, Error> {
    let begin = "begin transaction isolation level repeatable read read only";
    session.batch_execute(begin).await.map_err(pgtrail_postgres::Error::from)?;
    let planned = plan_in_transaction(session, publication, selection, exported).await;
    session.batch_execute("rollback").await.map_err(pgtrail_postgres::Error::from)?;
    planned
}

async fn plan_in_transaction(
    session: &Session,
    publication: &str,
    selection: &Selection,
    exported: &Snapshot,
) -> Result<Option<Vec<BaseTable>>, Error> {
    if !current_snapshot(session).await?.covers(exported) {
        return Ok(None);
    }
    let rows = session
        .query_typed(PUBLISHED, &[(&publication, Type::TEXT)])
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
        let table = BaseTable {
            relation: row.try_get(0).map_err(pgtrail_postgres::Error::from)?,
            schema: row.try_get(1).map_err(pgtrail_postgres::Error::from)?,
            name: row.try_get(2).map_err(pgtrail_postgres::Error::from)?,
        };
        if selection.contains(&table.schema, &table.name) {
            tables.push(table);
        }
    }
    Ok(Some(tables))
}
