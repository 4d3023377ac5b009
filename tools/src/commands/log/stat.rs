//! `pgtrail log stat`

use std::fmt::Write as _;
use std::path::Path;

use pgtrail_log::{BaseHeader, CopyFormat, DurableMark, Identity, LogFollower, SequenceValues};
use serde_json::{Value, json};

use super::{OpenLog, Which};
use crate::cli::Global;
use crate::config::units::show_size;
use crate::render::{show_time, to_stdout};
use crate::status::directory_bytes;

/// Show whose log it is, how far it reaches, and what it holds
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pgtrail log stat
  pgtrail log stat --dir /backup/orders --json")]
pub struct Stat {
    #[command(flatten)]
    which: Which,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Stat {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.which.dir(global)?;
        let log = OpenLog::open(&dir)?;
        let facts = Facts::of(&log.follower, &dir)?;
        to_stdout(|out| {
            if self.json {
                writeln!(out, "{}", facts.json())?;
            } else {
                write!(out, "{}", facts.text())?;
            }
            Ok(())
        })
    }
}

struct Facts {
    identity: Identity,
    mark: DurableMark,
    bases: Vec<BaseHeader>,
    sequences: Option<SequenceValues>,
    bytes: u64,
}

impl Facts {
    fn of(follower: &LogFollower, dir: &Path) -> anyhow::Result<Facts> {
        Ok(Facts {
            identity: follower.identity().clone(),
            mark: follower.mark()?,
            bases: follower.bases()?,
            sequences: follower.sequences()?.map(|(_, values)| values),
            bytes: directory_bytes(dir),
        })
    }

    fn json(&self) -> Value {
        let bases: Vec<Value> = self.bases.iter().map(base_json).collect();
        json!({
            "pipeline": self.identity.pipeline,
            "system_identifier": self.identity.system_identifier.to_string(),
            "database": self.identity.database,
            "slot": self.identity.slot,
            "publication": self.identity.publication,
            "incarnation": self.identity.incarnation.to_string(),
            "created": show_time(self.identity.created),
            "consistent_point": self.identity.consistent_point.to_string(),
            "durable_seq": self.mark.seq,
            "durable_position": self.mark.position.to_string(),
            "end_lsn": self.mark.end_lsn.to_string(),
            "relations": self.mark.relations,
            "initial_complete": self.mark.initial_complete,
            "sequences": self.sequences.as_ref().map(|sequences| sequences.values.len()),
            "sequences_as_of": self.sequences.as_ref().map(|_| self.mark.sequences.as_of.to_string()),
            "bytes": self.bytes,
            "bases": bases,
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let identity = &self.identity;
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{name:<18} {value}");
        };
        line("pipeline", &identity.pipeline);
        line("source database", &identity.database);
        line("system identifier", &identity.system_identifier);
        line("slot, publication", &format!("{}, {}", identity.slot, identity.publication));
        line("incarnation", &identity.incarnation);
        line("created", &show_time(identity.created));
        line("begins at", &identity.consistent_point);
        line("ends at", &self.mark.end_lsn);
        line("last transaction", &self.mark.position);
        line("last block", &self.mark.seq);
        line("relation versions", &self.mark.relations);
        let initial = if self.mark.initial_complete { "complete" } else { "not complete yet" };
        line("initial copy", &initial);
        if let Some(sequences) = &self.sequences {
            let count = sequences.values.len();
            line("sequences", &format!("{count}, as of {}", self.mark.sequences.as_of));
        }
        line("size", &show_size(self.bytes));
        for base in &self.bases {
            let rows = format!("{} rows, {}", base.rows, show_size(base.raw_bytes));
            let purged = if base.purged { ", rows purged" } else { "" };
            let again = if base.rebase.is_some() { ", copied again" } else { "" };
            let _ = writeln!(
                text,
                "base {:<13} {}.{}: {rows}, snapshot {}{again}{purged}",
                base.id, base.shape.schema, base.shape.name, base.snapshot
            );
        }
        text
    }
}

/// A base as `log stat` and `log dump --base` show it.
pub(super) fn base_json(base: &BaseHeader) -> Value {
    let format = match base.format {
        CopyFormat::Text => "text",
        CopyFormat::Binary => "binary",
    };
    json!({
        "id": base.id,
        "schema": base.shape.schema,
        "table": base.shape.name,
        "rows": base.rows,
        "bytes": base.raw_bytes,
        "blocks": base.blocks,
        "format": format,
        "snapshot": base.snapshot.to_string(),
        "purged": base.purged,
        "floor": base.rebase.map(|rebase| rebase.floor.to_string()),
        "ceiling": base.rebase.map(|rebase| rebase.ceiling.to_string()),
    })
}
