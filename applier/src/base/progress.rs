//! The rows of `pgtrail.base_load`: how far each base is loaded, and whose rows a table holds.
//!
//! Every function here runs inside a transaction that holds the seat. The invariant: a table has rows of
//! a base exactly as far as that base's row here says, and rows of a base that was given up go in the
//! same transaction as its row.

use std::collections::{HashMap, HashSet};

use pgtrail_postgres::Session;
use pgtrail_postgres::quote::qualified;
use tokio_postgres::types::{ToSql, Type};

use super::view::Chosen;
use crate::Error;
use crate::seat::Seat;
use crate::target::Target;

/// How far a base is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub next_block: u64,
    pub done: bool,
}

pub(super) async fn read(session: &Session, seat: &Seat) -> Result<HashMap<u64, Progress>, Error> {
    let sql = "select base_id, next_block, done from pgtrail.base_load \
         where pipeline = $1 and destination = $2";
    let mut progress = HashMap::new();
    for row in session.query_typed(sql, &names(seat)).await? {
        let id: i64 = row.try_get(0)?;
        let next_block: i64 = row.try_get(1)?;
        let (next_block, done) = (next_block.cast_unsigned(), row.try_get(2)?);
        progress.insert(id.cast_unsigned(), Progress { next_block, done });
    }
    Ok(progress)
}

/// Holds the checkpoint row until the end of this transaction: whoever takes the seat meanwhile waits
/// for it before looking how far we are.
pub(crate) async fn keep_seat(session: &Session, seat: &Seat) -> Result<(), Error> {
    let sql = "select from pgtrail.checkpoint \
         where pipeline = $1 and destination = $2 and fence = $3 for share";
    let [pipeline, destination] = names(seat);
    let mine =
        session.query_typed(sql, &[pipeline, destination, (&seat.fence, Type::INT8)]).await?;
    if mine.is_empty() { Err(Error::Fenced) } else { Ok(()) }
}

/// Notes that a base is being loaded, before its first row: into an empty table, from which the rows of
/// an older base of the same relation, given up before it was complete, are gone. With `keep` rows may
/// be there, and stay.
pub(super) async fn begin(
    session: &Session,
    seat: &Seat,
    target: &Target,
    base: &Chosen,
    keep: bool,
) -> Result<(), Error> {
    let relation = i64::from(base.start.shape.relation);
    let id = base.id.cast_signed();
    let sql = "delete from pgtrail.base_load \
         where pipeline = $1 and destination = $2 and not done \
         and source_relation = $3 and base_id < $4 \
         returning table_schema, table_name";
    let [pipeline, destination] = names(seat);
    let given_up = session
        .query_typed(sql, &[pipeline, destination, (&relation, Type::INT8), (&id, Type::INT8)])
        .await?;
    for row in given_up {
        clear(session, row.try_get(0)?, row.try_get(1)?).await?;
    }
    let sql = format!("select from {} limit 1", target.only());
    if !keep && !session.query_typed(&sql, &[]).await?.is_empty() {
        return Err(Error::NotEmpty { relation: target.relation() });
    }
    let sql = "insert into pgtrail.base_load (pipeline, destination, base_id, relation, \
         source_relation, table_schema, table_name) values ($1, $2, $3, $4, $5, $6, $7)";
    let [pipeline, destination] = names(seat);
    session
        .execute_typed(
            sql,
            &[
                pipeline,
                destination,
                (&id, Type::INT8),
                (&target.relation(), Type::TEXT),
                (&relation, Type::INT8),
                (&target.table.schema, Type::TEXT),
                (&target.table.name, Type::TEXT),
            ],
        )
        .await?;
    Ok(())
}

/// Moves a base's progress on.
pub(super) async fn advance(
    session: &Session,
    seat: &Seat,
    id: u64,
    from: u64,
    to: Progress,
) -> Result<(), Error> {
    fail::fail_point!("applier::base::before_progress");
    let sql = "update pgtrail.base_load set next_block = $5, done = $6, updated_at = now() \
         where pipeline = $1 and destination = $2 and base_id = $3 and next_block = $4";
    let [pipeline, destination] = names(seat);
    let (id, from, next) = (id.cast_signed(), from.cast_signed(), to.next_block.cast_signed());
    let mine = session
        .execute_typed(
            sql,
            &[
                pipeline,
                destination,
                (&id, Type::INT8),
                (&from, Type::INT8),
                (&next, Type::INT8),
                (&to.done, Type::BOOL),
            ],
        )
        .await?;
    if mine == 1 { Ok(()) } else { Err(Error::Fenced) }
}

/// Takes out the rows of bases that were given up and that no newer base replaces: their tables are
/// gone at the source. `bases` are the numbers of all bases of a complete initial set.
pub(super) async fn sweep(
    session: &Session,
    seat: &Seat,
    bases: &HashSet<u64>,
) -> Result<(), Error> {
    let unfinished = read(session, seat).await?.into_iter().filter(|(_, progress)| !progress.done);
    let left: Vec<u64> = unfinished.map(|(id, _)| id).filter(|id| !bases.contains(id)).collect();
    if left.is_empty() {
        return Ok(());
    }
    session.batch_execute("begin").await?;
    keep_seat(session, seat).await?;
    for id in left {
        let sql = "delete from pgtrail.base_load \
             where pipeline = $1 and destination = $2 and base_id = $3 and not done \
             returning table_schema, table_name";
        let [pipeline, destination] = names(seat);
        let id = id.cast_signed();
        let rows = session.query_typed(sql, &[pipeline, destination, (&id, Type::INT8)]).await?;
        for row in rows {
            clear(session, row.try_get(0)?, row.try_get(1)?).await?;
        }
    }
    session.batch_execute("commit").await?;
    Ok(())
}

/// Empties a table that was empty before the base. TRUNCATE leaves nothing to vacuum, but refuses a
/// table that foreign keys refer to, and needs a privilege of its own.
async fn clear(
    session: &Session,
    schema: Option<String>,
    name: Option<String>,
) -> Result<(), Error> {
    let (Some(schema), Some(name)) = (schema, name) else { return Ok(()) };
    let sql = "select c.relkind = 'r', \
         c.relkind = 'r' and pg_catalog.has_table_privilege(c.oid, 'truncate') and not exists (\
         select from pg_catalog.pg_constraint f where f.contype = 'f' and f.confrelid = c.oid) \
         from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'f')";
    let rows = session.query_typed(sql, &[(&schema, Type::TEXT), (&name, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let only = if row.try_get(0)? { "only " } else { "" };
    let verb = if row.try_get(1)? { "truncate" } else { "delete from" };
    session.batch_execute(&format!("{verb} {only}{}", qualified(&schema, &name))).await?;
    tracing::info!(schema, table = name, "rows of a base that was given up are removed");
    Ok(())
}

fn names(seat: &Seat) -> [(&(dyn ToSql + Sync), Type); 2] {
    [(&seat.pipeline, Type::TEXT), (&seat.destination, Type::TEXT)]
}
