//! `pgtrail log dump`: one line a record, fit for grep and diff.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pgtrail_log::{
    Body, Change, ChangeRecord, Identity, LogFollower, LoggedTransaction, Lsn, OldTuple, Position,
    RelationVersion, RelationVersionId, TransactionHeader, Tuple,
};
use serde_json::{Map, Value, json};

use super::stat::base_json;
use super::{OpenLog, Which, value};
use crate::cli::Global;
use crate::config::TableName;
use crate::render::{show_time, to_stdout};

/// Print the changes in the log, one line a record
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Records come in commit order. Column values are shown only with --values.

Examples:
  pgtrail log dump --limit 20 --values
  pgtrail log dump --table sales.orders --from 16/B374D848
  pgtrail log dump --json --follow | jq 'select(.op == \"delete\")'
  pgtrail log dump --dir /backup/orders --base")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Dump {
    #[command(flatten)]
    which: Which,
    /// One JSON object a line; docs/cli-json.md has the fields
    #[arg(long)]
    json: bool,
    /// Show column values
    #[arg(long)]
    values: bool,
    /// Begin with the transaction that committed at LSN or the first after it
    #[arg(long, value_name = "LSN", conflicts_with = "after")]
    from: Option<Lsn>,
    /// Begin after the transaction that committed at LSN
    #[arg(long, value_name = "LSN")]
    after: Option<Lsn>,
    /// Only changes of this table; may be given several times
    #[arg(long = "table", value_name = "SCHEMA.TABLE", value_parser = TableName::parse)]
    tables: Vec<TableName>,
    /// Stop after N records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Go on as the log grows, until interrupted
    #[arg(long)]
    follow: bool,
    /// List the bases (the copied tables) before the changes
    #[arg(long)]
    base: bool,
}

/// How often a followed log is looked at while nothing comes.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

impl Dump {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let log = OpenLog::open(&self.which.dir(global)?)?;
        to_stdout(|out| {
            if self.base {
                self.bases(&log.follower, out)?;
            }
            self.changes(&log.follower, out)
        })
    }

    fn bases(&self, follower: &LogFollower, out: &mut dyn Write) -> anyhow::Result<()> {
        for base in follower.bases()? {
            if !self.selects(&base.shape) {
                continue;
            }
            if self.json {
                let mut line = base_json(&base);
                line["op"] = "base".into();
                writeln!(out, "{line}")?;
            } else {
                writeln!(
                    out,
                    "base {} {}.{} rows={} bytes={} snapshot={}",
                    base.id,
                    base.shape.schema,
                    base.shape.name,
                    base.rows,
                    base.raw_bytes,
                    base.snapshot
                )?;
            }
        }
        Ok(())
    }

    fn changes(&self, follower: &LogFollower, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut printer = Printer {
            dump: self,
            follower,
            out,
            relations: HashMap::new(),
            left: self.limit.unwrap_or(u64::MAX),
        };
        let mut cursor = match self.start(follower.identity()) {
            Some(position) => follower.cursor_after(Some(position))?,
            None => follower.cursor_from_first()?,
        };
        while printer.left > 0 {
            let Some(block) = cursor.next_block()? else {
                if !self.follow {
                    break;
                }
                printer.out.flush()?;
                std::thread::sleep(FOLLOW_INTERVAL);
                follower.catch_up()?;
                continue;
            };
            for transaction in block.transactions() {
                printer.transaction(&transaction?)?;
            }
        }
        Ok(())
    }

    /// The place to begin after; `None` for the first record there is.
    fn start(&self, identity: &Identity) -> Option<Position> {
        let (lsn, ordinal) = match (self.after, self.from) {
            (Some(after), _) => (after, u64::MAX),
            (None, Some(from)) => (Lsn::new(from.as_u64().saturating_sub(1)), u64::MAX),
            (None, None) => return None,
        };
        // An LSN alone names its place in the newest stretch of history that has reached it.
        let epoch = identity.epochs.iter().rev().find(|start| start.begins_at <= lsn);
        let epoch = epoch.or(identity.epochs.first()).map(|start| start.epoch).unwrap_or_default();
        Some(Position { epoch, commit_lsn: lsn, ordinal })
    }

    fn selects(&self, relation: &RelationVersion) -> bool {
        self.tables.is_empty()
            || self
                .tables
                .iter()
                .any(|table| table.pattern.matches(&relation.schema, &relation.name))
    }
}

struct Printer<'a> {
    dump: &'a Dump,
    follower: &'a LogFollower,
    out: &'a mut dyn Write,
    relations: HashMap<RelationVersionId, Arc<RelationVersion>>,
    left: u64,
}

impl Printer<'_> {
    fn transaction(&mut self, transaction: &LoggedTransaction) -> anyhow::Result<()> {
        match &transaction.body {
            Body::Inline(records) => {
                for record in records.clone() {
                    self.record(transaction, &record?)?;
                }
            }
            Body::Pending(reference) => {
                for n in 0..reference.chunks {
                    for record in self.follower.pending_chunk(reference, n)? {
                        self.record(transaction, &record)?;
                    }
                    if self.left == 0 {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        transaction: &LoggedTransaction,
        record: &ChangeRecord,
    ) -> anyhow::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        let relations = self.relations_of(&record.change)?;
        if !self.dump.tables.is_empty() && !relations.iter().any(|r| self.dump.selects(r)) {
            return Ok(());
        }
        let position = Position { ordinal: record.ordinal, ..transaction.position };
        let line = Line { header: &transaction.header, position, record, relations: &relations };
        if self.dump.json {
            writeln!(self.out, "{}", line.json(self.dump.values))?;
        } else {
            writeln!(self.out, "{}", line.text(self.dump.values))?;
        }
        self.left -= 1;
        Ok(())
    }

    fn relations_of(&mut self, change: &Change) -> anyhow::Result<Vec<Arc<RelationVersion>>> {
        let ids: &[RelationVersionId] = match change {
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. } => std::slice::from_ref(relation),
            Change::Truncate { relations, .. } => relations,
            Change::Message { .. } => &[],
        };
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(known) = self.relations.get(id) {
                found.push(Arc::clone(known));
                continue;
            }
            let relation = self.follower.relation(*id).context("look up a record's relation")?;
            self.relations.insert(*id, Arc::clone(&relation));
            found.push(relation);
        }
        Ok(found)
    }
}

/// A record with all that its line says.
struct Line<'a> {
    header: &'a TransactionHeader,
    position: Position,
    record: &'a ChangeRecord,
    relations: &'a [Arc<RelationVersion>],
}

impl Line<'_> {
    fn op(&self) -> &'static str {
        match &self.record.change {
            Change::Insert { .. } => "insert",
            Change::Update { .. } => "update",
            Change::Delete { .. } => "delete",
            Change::Truncate { .. } => "truncate",
            Change::Message { .. } => "message",
        }
    }

    fn names(&self) -> Vec<String> {
        self.relations.iter().map(|r| format!("{}.{}", r.schema, r.name)).collect()
    }

    fn text(&self, values: bool) -> String {
        let header = self.header;
        let mut line = format!(
            "{} {} xid={} {}",
            self.position,
            show_time(header.commit_time),
            header.xid,
            self.op()
        );
        if !self.relations.is_empty() {
            line.push(' ');
            line.push_str(&self.names().join(","));
        }
        if let Some(origin) = &header.origin {
            line.push_str(&format!(" origin={origin}"));
        }
        match &self.record.change {
            Change::Insert { new, .. } => line.push_str(&self.image("new", new, values)),
            Change::Update { old, new, .. } => {
                line.push_str(&self.old_image(old, values));
                line.push_str(&self.image("new", new, values));
            }
            Change::Delete { old, .. } => line.push_str(&self.old_image(old, values)),
            Change::Truncate { cascade, restart_identity, .. } => {
                line.push_str(if *cascade { " cascade" } else { "" });
                line.push_str(if *restart_identity { " restart identity" } else { "" });
            }
            Change::Message { prefix, content } => {
                line.push_str(&format!(" prefix={prefix:?} bytes={}", content.len()));
            }
        }
        line
    }

    fn old_image(&self, old: &OldTuple, values: bool) -> String {
        match old {
            OldTuple::Absent => String::new(),
            OldTuple::Key(tuple) => self.image("key", tuple, values),
            OldTuple::Full(tuple) => self.image("old", tuple, values),
        }
    }

    fn image(&self, kind: &str, tuple: &Tuple, values: bool) -> String {
        if !values {
            return format!(" {kind}={} bytes", tuple.as_bytes().len());
        }
        let columns = self.relations.first().map_or(&[][..], |r| r.columns.as_slice());
        let shown = columns
            .iter()
            .zip(tuple.iter())
            .filter(|(column, _)| kind != "key" || column.is_key)
            .map(|(column, datum)| format!("{}={}", column.name, value::to_text(&datum, column)));
        format!(" {kind}({})", shown.collect::<Vec<_>>().join(" "))
    }

    fn json(&self, values: bool) -> Value {
        let header = self.header;
        let mut line = Map::new();
        line.insert("op".into(), self.op().into());
        line.insert("position".into(), self.position.to_string().into());
        line.insert("commit_lsn".into(), header.commit_lsn.to_string().into());
        line.insert("end_lsn".into(), header.end_lsn.to_string().into());
        line.insert("ordinal".into(), self.position.ordinal.into());
        line.insert("xid".into(), header.xid.as_u64().into());
        line.insert("commit_time".into(), show_time(header.commit_time).into());
        if let Some(origin) = &header.origin {
            line.insert("origin".into(), origin.as_str().into());
        }
        if let (Some(relation), false) =
            (self.relations.first(), matches!(self.record.change, Change::Truncate { .. }))
        {
            line.insert("schema".into(), relation.schema.as_str().into());
            line.insert("table".into(), relation.name.as_str().into());
        }
        match &self.record.change {
            Change::Insert { new, .. } => self.json_image(&mut line, "new", new, values),
            Change::Update { old, new, .. } => {
                self.json_old(&mut line, old, values);
                self.json_image(&mut line, "new", new, values);
            }
            Change::Delete { old, .. } => self.json_old(&mut line, old, values),
            Change::Truncate { cascade, restart_identity, .. } => {
                let tables = self
                    .relations
                    .iter()
                    .map(|relation| json!({ "schema": relation.schema, "table": relation.name }));
                line.insert("tables".into(), tables.collect());
                line.insert("cascade".into(), (*cascade).into());
                line.insert("restart_identity".into(), (*restart_identity).into());
            }
            Change::Message { prefix, content } => {
                line.insert("prefix".into(), prefix.as_str().into());
                line.insert("bytes".into(), content.len().into());
                if values {
                    let content = String::from_utf8_lossy(content).into_owned();
                    line.insert("content".into(), content.into());
                }
            }
        }
        Value::Object(line)
    }

    fn json_old(&self, line: &mut Map<String, Value>, old: &OldTuple, values: bool) {
        match old {
            OldTuple::Absent => {}
            OldTuple::Key(tuple) => self.json_image(line, "key", tuple, values),
            OldTuple::Full(tuple) => self.json_image(line, "old", tuple, values),
        }
    }

    fn json_image(&self, line: &mut Map<String, Value>, kind: &str, tuple: &Tuple, values: bool) {
        line.insert(format!("{kind}_bytes"), tuple.as_bytes().len().into());
        if !values {
            return;
        }
        let columns = self.relations.first().map_or(&[][..], |r| r.columns.as_slice());
        let shown: Map<String, Value> = columns
            .iter()
            .zip(tuple.iter())
            .filter(|(column, _)| kind != "key" || column.is_key)
            .map(|(column, datum)| (column.name.clone(), value::to_json(&datum)))
            .collect();
        line.insert(kind.to_owned(), Value::Object(shown));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pgtrail_log::{Column, Epoch, ReplicaIdentity, Timestamp, Xid};

    use super::*;

    fn relation() -> Arc<RelationVersion> {
        let column = |name: &str, is_key| Column {
            name: name.to_owned(),
            type_oid: 25,
            type_schema: "pg_catalog".to_owned(),
            type_name: "text".to_owned(),
            typmod: -1,
            is_key,
        };
        Arc::new(RelationVersion {
            relation: 16384,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: vec![column("id", true), column("note", false)],
        })
    }

    fn tuple(bytes: &'static [u8]) -> Tuple {
        Tuple::parse(Bytes::from_static(bytes)).expect("a tuple")
    }

    fn check(change: Change, text: &str, values: &str, json: &Value) {
        let header = TransactionHeader {
            xid: Xid::new(7),
            commit_lsn: Lsn::new(0x10),
            end_lsn: Lsn::new(0x20),
            commit_time: Timestamp(0),
            origin: None,
            record_count: 1,
        };
        let record = ChangeRecord { ordinal: 3, subxid: None, change };
        let position = Position { epoch: Epoch::FIRST, commit_lsn: header.commit_lsn, ordinal: 3 };
        let relations = [relation()];
        let line = Line { header: &header, position, record: &record, relations: &relations };
        let prefix = "0/10.3 2000-01-01T00:00:00.000000Z xid=7 ";
        assert_eq!(line.text(false), format!("{prefix}{text}"));
        assert_eq!(line.text(true), format!("{prefix}{values}"));
        let shown = line.json(true);
        assert_eq!(shown["commit_lsn"], "0/10");
        for (key, value) in json.as_object().expect("an object") {
            assert_eq!(&shown[key], value, "{key}");
        }
    }

    const NEW: &[u8] = b"\x00\x02t\x00\x00\x00\x01au";

    #[test]
    fn prints_an_update_with_the_images_that_were_sent() {
        check(
            Change::Update {
                relation: RelationVersionId(1),
                old: OldTuple::Key(tuple(b"\x00\x02t\x00\x00\x00\x01bn")),
                new: tuple(NEW),
            },
            "update public.t key=9 bytes new=9 bytes",
            "update public.t key(id='b') new(id='a' note=unchanged)",
            &json!({
                "op": "update", "schema": "public", "table": "t", "key": { "id": "b" },
                "new": { "id": "a", "note": { "unchanged": true } },
            }),
        );
    }

    #[test]
    fn prints_a_truncate_with_all_its_tables() {
        check(
            Change::Truncate {
                relations: vec![RelationVersionId(1)],
                cascade: true,
                restart_identity: false,
            },
            "truncate public.t cascade",
            "truncate public.t cascade",
            &json!({
                "op": "truncate",
                "cascade": true,
                "tables": [{ "schema": "public", "table": "t" }],
            }),
        );
    }
}
