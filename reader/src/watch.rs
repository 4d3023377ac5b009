//! The side connection: what the stream does not say about slot, publication and types.
//!
//! Owns the questions asked of the source beside the stream, the watch that repeats some of them, and
//! the one note the reader leaves there.
//! The invariant: a publication that no longer publishes all it must is a halt, never a quiet stream.
//! A dropped one breaks the slot for good on some versions and is skipped in silence on others.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pgtrail_log::{LogWriter, Lsn, Snapshot, Xid};
use pgtrail_postgres::schema::binary::binary_safe;
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::sequence::{Sequence, SequencePosition, load_sequences, sequence_positions};
use pgtrail_postgres::{ConnInfo, Session, SessionSettings, connect};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::relations::TypeName;
use crate::xid::NextXid;
use crate::{Error, ReaderStatus};

/// How often slot and publication are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often the source's next transaction id is read: far less than 2^31 ids fit in between.
const XID_EVERY_LOOKS: u32 = 60;

/// A session beside the stream.
pub(crate) struct Side {
    session: Session,
}

/// The slot as the source shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) plugin: Option<String>,
    pub(crate) database: Option<String>,
    /// Who streams from it.
    pub(crate) holder: Option<String>,
    pub(crate) confirmed_flush_lsn: Option<Lsn>,
    pub(crate) wal_status: Option<String>,
    /// WAL that may still be written before the slot is in danger, and the limit it counts from.
    pub(crate) safe_wal_size: Option<i64>,
    pub(crate) max_slot_wal_keep_size: Option<i64>,
    pub(crate) two_phase: bool,
    pub(crate) invalidated: Option<String>,
}

/// The publication as the source shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Publication {
    pub(crate) oid: u32,
    pub(crate) all_tables: bool,
    /// Which operations it leaves out.
    pub(crate) left_out: Vec<&'static str>,
    pub(crate) via_root: bool,
    /// Whether a member has a row filter or column list.
    pub(crate) filtered: bool,
    /// Selected tables it publishes by list, by oid; empty with `all_tables`.
    pub(crate) members: BTreeMap<u32, Member>,
}

/// A table that a publication lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) is_partition: bool,
}

impl Side {
    pub(crate) async fn connect(conninfo: &ConnInfo) -> Result<Side, Error> {
        Ok(Side { session: connect(conninfo, SessionSettings::default()).await? })
    }

    pub(crate) fn capabilities(&self) -> &pgtrail_postgres::Capabilities {
        self.session.capabilities()
    }

    /// Whether this server can be a source at all.
    pub(crate) async fn check_server(&self) -> Result<(), Error> {
        if self.capabilities().pgoutput_protocol == 0 {
            return Err(Error::TooOld { version: self.capabilities().version() });
        }
        let sql = "select pg_catalog.current_setting('wal_level')";
        let wal_level: String = get(&self.one(sql).await?, 0)?;
        match wal_level.as_str() {
            "logical" => Ok(()),
            _ => Err(Error::NotLogical { wal_level }),
        }
    }

    /// How far the log of this pipeline has been, as its reader noted here.
    pub(crate) async fn noted_log_end(&self, pipeline: &str) -> Result<Option<Lsn>, Error> {
        let sql = "select log_end::text from pgtrail.pipeline where name = $1";
        let rows = self.query(sql, &[(&pipeline, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let noted: Option<String> = get(row, 0)?;
        noted
            .map(|text| text.parse().map_err(|_| unexpected("pgtrail.pipeline.log_end")))
            .transpose()
    }

    /// Notes how far the log is: a log that was restored from an older copy is known by it.
    pub(crate) async fn note_log_end(&self, pipeline: &str, log_end: Lsn) -> Result<(), Error> {
        let sql = "update pgtrail.pipeline set log_end = $2::text::pg_catalog.pg_lsn \
                   where name = $1 and log_end is distinct from $2::text::pg_catalog.pg_lsn";
        let log_end = log_end.to_string();
        self.query(sql, &[(&pipeline, Type::TEXT), (&log_end, Type::TEXT)]).await?;
        Ok(())
    }

    /// The source's next full transaction id.
    pub(crate) async fn next_xid(&self) -> Result<Xid, Error> {
        let text: String = get(&self.one(&self.capabilities().snapshot_query()).await?, 0)?;
        let snapshot: Snapshot = text.parse().map_err(|_| unexpected("the current snapshot"))?;
        Ok(snapshot.xmax())
    }

    /// Where the source's WAL ends for those who write it.
    pub(crate) async fn insert_lsn(&self) -> Result<Lsn, Error> {
        let sql = "select pg_catalog.pg_current_wal_insert_lsn()::text";
        let text: String = get(&self.one(sql).await?, 0)?;
        text.parse().map_err(|_| unexpected("the WAL's insert position"))
    }

    pub(crate) async fn sequences(&self) -> Result<Vec<Sequence>, Error> {
        Ok(load_sequences(&self.session).await?)
    }

    pub(crate) async fn sequence_positions(
        &self,
        sequences: &[&Sequence],
    ) -> Result<Vec<SequencePosition>, Error> {
        Ok(sequence_positions(&self.session, sequences).await?)
    }

    /// The names of the built-in types.
    pub(crate) async fn built_in_types(&self) -> Result<Vec<(u32, TypeName)>, Error> {
        // 16384 is FirstNormalObjectId. Row types of system tables are left out: no column has them.
        let sql = "select t.oid, n.nspname::text, t.typname::text \
                   from pg_catalog.pg_type t \
                   join pg_catalog.pg_namespace n on n.oid = t.typnamespace \
                   where t.oid < 16384 and t.typrelid = 0";
        let rows = self.query(sql, &[]).await?;
        let types = rows
            .iter()
            .map(|row| Ok((get(row, 0)?, TypeName { schema: get(row, 1)?, name: get(row, 2)? })));
        types.collect()
    }

    pub(crate) async fn slot(&self, name: &str) -> Result<Option<Slot>, Error> {
        // Going through jsonb, columns that this version does not have are null.
        let sql = "select s.plugin::text, s.database::text, \
                     case when s.active_pid is not null then pg_catalog.format('process %s%s%s', \
                       s.active_pid, \
                       case when a.application_name <> '' \
                         then pg_catalog.format(' (%s)', a.application_name) end, \
                       case when a.client_addr is not null \
                         then pg_catalog.format(' from %s', pg_catalog.host(a.client_addr)) end) \
                     end, \
                     s.confirmed_flush_lsn::text, \
                     j ->> 'wal_status', \
                     (j ->> 'safe_wal_size')::bigint, \
                     pg_catalog.pg_size_bytes(nullif( \
                       pg_catalog.current_setting('max_slot_wal_keep_size', true), '-1')), \
                     coalesce((j ->> 'two_phase')::boolean, false), \
                     coalesce(j ->> 'invalidation_reason', \
                       case when (j ->> 'conflicting')::boolean \
                         then 'conflict with recovery' end) \
                   from pg_catalog.pg_replication_slots s \
                   left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid, \
                   lateral (select pg_catalog.to_jsonb(s) as j) as o \
                   where s.slot_name::text = $1";
        let rows = self.query(sql, &[(&name, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let confirmed: Option<String> = get(row, 3)?;
        let confirmed_flush_lsn = confirmed
            .map(|text| text.parse().map_err(|_| unexpected("confirmed_flush_lsn")))
            .transpose()?;
        Ok(Some(Slot {
            plugin: get(row, 0)?,
            database: get(row, 1)?,
            holder: get(row, 2)?,
            confirmed_flush_lsn,
            wal_status: get(row, 4)?,
            safe_wal_size: get(row, 5)?,
            max_slot_wal_keep_size: get(row, 6)?,
            two_phase: get(row, 7)?,
            invalidated: get(row, 8)?,
        }))
    }

    pub(crate) async fn publication(
        &self,
        name: &str,
        selection: &Selection,
    ) -> Result<Option<Publication>, Error> {
        let sql = "select p.oid, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, \
                     coalesce((j ->> 'pubtruncate')::boolean, true), \
                     coalesce((j ->> 'pubviaroot')::boolean, false), \
                     exists (select 1 from pg_catalog.pg_publication_rel r \
                       where r.prpubid = p.oid \
                         and (pg_catalog.to_jsonb(r) ->> 'prqual' is not null \
                           or pg_catalog.to_jsonb(r) ->> 'prattrs' is not null)) \
                   from pg_catalog.pg_publication p, \
                   lateral (select pg_catalog.to_jsonb(p) as j) as o \
                   where p.pubname::text = $1";
        let rows = self.query(sql, &[(&name, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let all_tables: bool = get(row, 1)?;
        let mut left_out = Vec::new();
        for (index, operation) in [(2, "insert"), (3, "update"), (4, "delete"), (5, "truncate")] {
            if !get::<bool>(row, index)? {
                left_out.push(operation);
            }
        }
        let members = match all_tables {
            true => BTreeMap::new(),
            false => self.members(name, selection).await?,
        };
        Ok(Some(Publication {
            oid: get(row, 0)?,
            all_tables,
            left_out,
            via_root: get(row, 6)?,
            filtered: get(row, 7)?,
            members,
        }))
    }

    async fn members(
        &self,
        publication: &str,
        selection: &Selection,
    ) -> Result<BTreeMap<u32, Member>, Error> {
        let sql = "select c.oid, n.nspname::text, c.relname::text, c.relispartition \
                   from pg_catalog.pg_get_publication_tables($1) t \
                   join pg_catalog.pg_class c on c.oid = t.relid \
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace";
        let rows = self.query(sql, &[(&publication, Type::TEXT)]).await?;
        let mut members = BTreeMap::new();
        for row in &rows {
            let (schema, name): (String, String) = (get(row, 1)?, get(row, 2)?);
            if selection.contains(&schema, &name) {
                let name = format!("{schema}.{name}");
                members.insert(get(row, 0)?, Member { name, is_partition: get(row, 3)? });
            }
        }
        Ok(members)
    }

    /// Of these tables, those that are still there, with whether they are partitions now.
    async fn still_there(&self, tables: &[u32]) -> Result<Vec<(u32, bool)>, Error> {
        let sql = "select oid, relispartition from pg_catalog.pg_class where oid = any($1)";
        let rows = self.query(sql, &[(&tables, Type::OID_ARRAY)]).await?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }

    /// The types of all columns of published tables, selected or not: the server encodes them all.
    pub(crate) async fn published_types(
        &self,
        publication: &str,
        all_tables: bool,
    ) -> Result<Vec<u32>, Error> {
        let rows = if all_tables {
            let sql = "select distinct a.atttypid \
                       from pg_catalog.pg_attribute a \
                       join pg_catalog.pg_class c on c.oid = a.attrelid \
                       where c.relkind in ('r', 'p') and c.relpersistence = 'p' \
                         and c.oid >= 16384 and a.attnum > 0 and not a.attisdropped";
            self.query(sql, &[]).await?
        } else {
            let sql = "select distinct a.atttypid \
                       from pg_catalog.pg_get_publication_tables($1) t \
                       join pg_catalog.pg_attribute a on a.attrelid = t.relid \
                       where a.attnum > 0 and not a.attisdropped";
            self.query(sql, &[(&publication, Type::TEXT)]).await?
        };
        rows.iter().map(|row| get(row, 0)).collect()
    }

    /// Of these types, those that travel well in binary.
    pub(crate) async fn binary_types(&self, types: &[u32]) -> Result<HashSet<u32>, Error> {
        let safe = binary_safe(&self.session, self.capabilities(), types).await?;
        Ok(safe.into_iter().filter_map(|(oid, safe)| safe.then_some(oid)).collect())
    }

    /// Which table the WAL record at `lsn` changes, if this server has pg_walinspect and lets us.
    pub(crate) async fn table_changed_at(&self, lsn: Lsn) -> Option<String> {
        let sql = "select n.nspname::text from pg_catalog.pg_proc p \
                   join pg_catalog.pg_namespace n on n.oid = p.pronamespace \
                   where p.proname = 'pg_get_wal_record_info' limit 1";
        let schema: String = get(self.query(sql, &[]).await.ok()?.first()?, 0).ok()?;
        let sql = format!(
            "select t.nspname::text || '.' || c.relname::text \
             from {}.pg_get_wal_record_info($1::text::pg_catalog.pg_lsn) r, \
             lateral pg_catalog.regexp_match(r.block_ref, 'rel (\\d+)/\\d+/(\\d+)') m(ids) \
             join pg_catalog.pg_class c on c.oid = pg_catalog.pg_filenode_relation( \
               case when m.ids[1] = '1663' then 0 else m.ids[1]::oid end, m.ids[2]::oid) \
             join pg_catalog.pg_namespace t on t.oid = c.relnamespace",
            pgtrail_postgres::quote::quote_ident(&schema)
        );
        let rows = self.query(&sql, &[(&lsn.to_string(), Type::TEXT)]).await.ok()?;
        get(rows.first()?, 0).ok()
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        let rows = self.session.query_typed(sql, parameters).await;
        rows.map_err(|error| Error::Postgres(error.into()))
    }

    async fn one(&self, sql: &str) -> Result<Row, Error> {
        let rows = self.query(sql, &[]).await?;
        rows.into_iter().next().ok_or(unexpected("an empty answer"))
    }
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Error> {
    row.try_get(index).map_err(|error| Error::Postgres(error.into()))
}

fn unexpected(what: &'static str) -> Error {
    Error::Postgres(pgtrail_postgres::Error::Protocol { what: what.to_owned() })
}

/// Repeats the questions that matter until one has an answer that ends the stream.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) pipeline: String,
    pub(crate) log: Arc<LogWriter>,
    pub(crate) slot: String,
    pub(crate) publication: String,
    pub(crate) selection: Selection,
    pub(crate) next_xid: Arc<NextXid>,
    pub(crate) status: Arc<ReaderStatus>,
}

impl Watch {
    /// Ends only with an error.
    pub(crate) async fn run(self, side: Arc<Side>, mut known: Publication) -> Error {
        let mut looks = 0;
        let mut noted = None;
        let mut may_note = true;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            looks += 1;
            // Only a log that has grown: a note is WAL, and would be the cause of the next.
            let mark = self.log.mark();
            if may_note && noted != Some(mark.seq) {
                if let Err(error) = side.note_log_end(&self.pipeline, mark.end_lsn).await {
                    tracing::warn!(%error, "cannot note the log's end in pgtrail.pipeline");
                    may_note = false;
                }
                noted = Some(mark.seq);
            }
            match self.look(&side, &known, looks).await {
                Ok(now) => known = now,
                Err(error) => return error,
            }
        }
    }

    async fn look(
        &self,
        side: &Side,
        known: &Publication,
        looks: u32,
    ) -> Result<Publication, Error> {
        let slot = side.slot(&self.slot).await?;
        let slot = slot.ok_or_else(|| Error::SlotMissing { slot: self.slot.clone() })?;
        check_slot_alive(&self.slot, &slot)?;
        self.status.set_notice(danger(&slot));
        let publication = side.publication(&self.publication, &self.selection).await?;
        let now = check_publication(&self.publication, publication, Some(known.oid))?;
        check_members(side, &self.publication, known, &now).await?;
        if looks.is_multiple_of(XID_EVERY_LOOKS) {
            self.next_xid.observe(side.next_xid().await?);
        }
        Ok(now)
    }
}

/// The source still has the WAL the slot needs.
pub(crate) fn check_slot_alive(name: &str, slot: &Slot) -> Result<(), Error> {
    if slot.wal_status.as_deref() == Some("lost") || slot.invalidated.is_some() {
        return Err(Error::SlotLost { slot: name.to_owned(), reason: slot.invalidated.clone() });
    }
    Ok(())
}

/// Whether the source is about to give up the slot, in words.
fn danger(slot: &Slot) -> Option<String> {
    if slot.wal_status.as_deref() == Some("unreserved") {
        return Some("the source may drop WAL the slot still needs at any moment".to_owned());
    }
    let (left, limit) = (slot.safe_wal_size?, slot.max_slot_wal_keep_size?);
    (left < limit / 5)
        .then(|| format!("{left} bytes of WAL are left before the source gives up the slot"))
}

/// The publication is there, is the same, and publishes all operations of whole rows.
pub(crate) fn check_publication(
    name: &str,
    found: Option<Publication>,
    known_oid: Option<u32>,
) -> Result<Publication, Error> {
    let missing = |what| Error::PublicationMissing { publication: name.to_owned(), what };
    let changed = |what| Error::PublicationChanged { publication: name.to_owned(), what };
    let found = found.ok_or_else(|| missing("does not exist"))?;
    if known_oid.is_some_and(|known| known != found.oid) {
        return Err(missing("was dropped and created again"));
    }
    if !found.left_out.is_empty() {
        return Err(changed(format!("no longer publishes {}", found.left_out.join(", "))));
    }
    if found.via_root {
        return Err(changed("publishes via partition roots".to_owned()));
    }
    if found.filtered {
        return Err(changed("has row filters or column lists".to_owned()));
    }
    Ok(found)
}

/// No table that was published is left out now, except one that is gone or was detached.
pub(crate) async fn check_members(
    side: &Side,
    name: &str,
    known: &Publication,
    now: &Publication,
) -> Result<(), Error> {
    if now.all_tables {
        return Ok(());
    }
    if known.all_tables {
        let what = "no longer publishes all tables".to_owned();
        return Err(Error::PublicationChanged { publication: name.to_owned(), what });
    }
    let left: Vec<u32> =
        known.members.keys().filter(|oid| !now.members.contains_key(oid)).copied().collect();
    if left.is_empty() {
        return Ok(());
    }
    for (oid, is_partition) in side.still_there(&left).await? {
        let Some(member) = known.members.get(&oid) else { continue };
        if member.is_partition && !is_partition {
            tracing::warn!(table = member.name, "detached partition is no longer published");
            continue;
        }
        let what = format!("no longer publishes {}", member.name);
        return Err(Error::PublicationChanged { publication: name.to_owned(), what });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication() -> Publication {
        Publication {
            oid: 5,
            all_tables: true,
            left_out: Vec::new(),
            via_root: false,
            filtered: false,
            members: BTreeMap::new(),
        }
    }

    fn check(found: Option<Publication>, expected: &str) {
        let error = check_publication("p", found, Some(5)).expect_err("refused");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_publication_that_misses_anything_is_refused() {
        assert!(check_publication("p", Some(publication()), Some(5)).is_ok());
        assert!(check_publication("p", Some(publication()), None).is_ok());
        check(None, "publication \"p\" does not exist");
        check(
            Some(Publication { oid: 6, ..publication() }),
            "publication \"p\" was dropped and created again",
        );
        check(
            Some(Publication { left_out: vec!["delete", "truncate"], ..publication() }),
            "publication \"p\" no longer publishes delete, truncate",
        );
        check(
            Some(Publication { via_root: true, ..publication() }),
            "publication \"p\" publishes via partition roots",
        );
        check(
            Some(Publication { filtered: true, ..publication() }),
            "publication \"p\" has row filters or column lists",
        );
    }

    fn slot() -> Slot {
        Slot {
            plugin: Some("pgoutput".to_owned()),
            database: Some("d".to_owned()),
            holder: None,
            confirmed_flush_lsn: Some(Lsn::new(1)),
            wal_status: Some("reserved".to_owned()),
            safe_wal_size: None,
            max_slot_wal_keep_size: None,
            two_phase: false,
            invalidated: None,
        }
    }

    #[test]
    fn a_lost_or_invalidated_slot_is_refused() {
        assert!(check_slot_alive("s", &slot()).is_ok());
        let lost = Slot { wal_status: Some("lost".to_owned()), ..slot() };
        assert!(matches!(check_slot_alive("s", &lost), Err(Error::SlotLost { .. })));
        let idle = Slot { invalidated: Some("idle_timeout".to_owned()), ..slot() };
        let error = check_slot_alive("s", &idle).expect_err("refused");
        assert_eq!(error.to_string(), "replication slot \"s\" is lost (idle_timeout)");
    }

    #[test]
    fn danger_is_told_before_the_slot_is_lost() {
        assert_eq!(danger(&slot()), None);
        let near = Slot { safe_wal_size: Some(19), max_slot_wal_keep_size: Some(100), ..slot() };
        assert!(danger(&near).is_some());
        assert_eq!(danger(&Slot { safe_wal_size: Some(20), ..near }), None);
        let unreserved = Slot { wal_status: Some("unreserved".to_owned()), ..slot() };
        assert!(danger(&unreserved).is_some());
    }
}
