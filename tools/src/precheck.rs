//! What must be so before a pipeline is set up: each check a pure judgement over facts read from
//! the servers.

use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::schema::{Persistence, RelationKind, Table};
use pgtrail_postgres::selection::Selection;
use pgtrail_postgres::{Error, Session};

use crate::config::Config;
use crate::failure::Failure;
use crate::source::GivenIdentity;

/// At most this many names in one message.
const NAMES_SHOWN: usize = 10;

/// What the source says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SourceFacts {
    pub(crate) wal_level: String,
    pub(crate) in_recovery: bool,
    pub(crate) max_slots: i32,
    pub(crate) used_slots: i64,
    pub(crate) max_senders: i32,
    pub(crate) used_senders: i64,
    pub(crate) role: String,
    pub(crate) is_superuser: bool,
    pub(crate) may_replicate: bool,
    pub(crate) may_create: bool,
}

impl SourceFacts {
    /// Asks the source.
    pub(crate) async fn read(client: &Session) -> Result<SourceFacts, Error> {
        let row = client.query_one(include_str!("source/facts.sql"), &[]).await?;
        Ok(SourceFacts {
            wal_level: row.try_get("wal_level")?,
            in_recovery: row.try_get("in_recovery")?,
            max_slots: row.try_get("max_slots")?,
            used_slots: row.try_get("used_slots")?,
            max_senders: row.try_get("max_senders")?,
            used_senders: row.try_get("used_senders")?,
            role: row.try_get("role")?,
            is_superuser: row.try_get("is_superuser")?,
            may_replicate: row.try_get("may_replicate")?,
            may_create: row.try_get("may_create")?,
        })
    }

    /// Whether a slot can be made and read there.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.in_recovery {
            return Err(Failure::halt("PGT-0502", "the source is a standby").hint(
                "Name the primary in source.conninfo, or add target_session_attrs=primary to it.",
            ));
        }
        if self.wal_level != "logical" {
            let found = &self.wal_level;
            return Err(Failure::halt(
                "PGT-0502",
                format!("wal_level of the source is \"{found}\", it must be \"logical\""),
            )
            .hint(
                "Run \"alter system set wal_level = 'logical'\" there and restart that server.",
            ));
        }
        let full = |what: &str, setting: &str, max: i32| {
            Failure::halt("PGT-0503", format!("all {max} {what} of the source are in use")).hint(
                format!("Raise {setting} there (needs a restart), or drop one that nobody uses."),
            )
        };
        if self.used_slots >= i64::from(self.max_slots) {
            return Err(full("replication slots", "max_replication_slots", self.max_slots));
        }
        if self.used_senders >= i64::from(self.max_senders) {
            return Err(full("walsender processes", "max_wal_senders", self.max_senders));
        }
        if !self.may_replicate {
            return Err(self.lacks("may not use replication", "alter role {} replication"));
        }
        if !self.may_create {
            return Err(self.lacks(
                "may not create objects in the source database",
                "grant create on database … to {}",
            ));
        }
        Ok(())
    }

    fn lacks(&self, what: &str, remedy: &str) -> Failure {
        let role = pgtrail_postgres::quote::quote_ident(&self.role);
        Failure::halt("PGT-0504", format!("role {role} {what}"))
            .hint(format!("Run as a superuser there: {}", remedy.replace("{}", &role)))
    }
}

/// The tables that can be replicated, and a note on each that cannot.
pub(crate) fn replicable(tables: Vec<Table>) -> (Vec<Table>, Vec<String>) {
    let mut notes = Vec::new();
    let kept = tables.into_iter().filter(|table| {
        let why = match (table.kind, table.persistence) {
            (RelationKind::Table | RelationKind::Partitioned, Persistence::Permanent) => {
                return true;
            }
            (RelationKind::Table | RelationKind::Partitioned, _) => "it is unlogged",
            _ => "its rows are not in this database",
        };
        notes.push(format!("{}.{} is left out: {why}", table.schema, table.name));
        false
    });
    (kept.collect(), notes)
}

/// Whether every name in `[objects]` means something, and every partition of a selected table is
/// selected too.
pub(crate) fn check_selection(
    config: &Config,
    schemas: &[String],
    selected: &[Table],
    all: &[Table],
) -> Result<(), Failure> {
    let known = |names: Vec<String>| format!("The source has: {}.", shorten(&names));
    for schema in &config.objects.schemas {
        if !schemas.contains(schema) {
            return Err(Failure::usage(format!(
                "objects.schemas: no schema \"{schema}\" at the source"
            ))
            .hint(known(schemas.to_vec())));
        }
    }
    let listed = config.objects.tables.iter().map(|table| ("objects.tables", table));
    let excluded = config.objects.exclude.iter().map(|table| ("objects.exclude", table));
    for (key, name) in listed.chain(excluded) {
        if !all.iter().any(|table| table.schema == name.schema && table.name == name.name) {
            let names = all.iter().filter(|table| table.schema == name.schema).map(full_name);
            return Err(Failure::usage(format!("{key}: no table {name} at the source"))
                .hint(known(names.collect())));
        }
    }
    let selection = config.selection();
    if selected.is_empty() && !selection.is_everything() {
        return Err(Failure::usage("[objects] selects no table"));
    }
    check_partitions(&selection, selected, all)
}

/// A partition outside the selection would be published through its root and then dropped: rows of
/// a selected table would be missing without a word.
fn check_partitions(
    selection: &Selection,
    selected: &[Table],
    all: &[Table],
) -> Result<(), Failure> {
    let is_root = |oid: u32| {
        selected.iter().any(|root| root.oid == oid && root.kind == RelationKind::Partitioned)
    };
    let torn = all.iter().find(|table| {
        table.is_partition
            && !selection.contains(&table.schema, &table.name)
            && table.parents.iter().any(|parent| is_root(*parent))
    });
    let Some(partition) = torn else { return Ok(()) };
    Err(Failure::usage(format!(
        "[objects] selects a partitioned table but not its partition {}",
        full_name(partition)
    ))
    .hint("List the partition in objects.tables, or its schema in objects.schemas."))
}

/// Whether tables that would need `replica identity full` may have it.
pub(crate) fn check_keyless(lacking: &[GivenIdentity<'_>]) -> Result<(), Failure> {
    let keyless: Vec<String> = lacking
        .iter()
        .filter(|given| given.index.is_none())
        .map(|given| full_name(given.table))
        .collect();
    if keyless.is_empty() {
        return Ok(());
    }
    let what =
        if keyless.len() == 1 { "1 table has" } else { &format!("{} tables have", keyless.len()) };
    Err(Failure::halt(
        "PGT-0506",
        format!("{what} no key, and objects.keyless is \"refuse\": {}", shorten(&keyless)),
    )
    .hint(
        "Give each a primary key, list it in objects.exclude, or set objects.keyless = \"full\".",
    ))
}

/// Whether the destination has a place for every row: tables and columns by name.
pub(crate) fn check_destination(
    name: &str,
    source: &[Table],
    destination: &[Table],
    mapping: &Mapping,
) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for table in source.iter().filter(|table| table.kind == RelationKind::Table) {
        let (schema, relation) = mapping.relation(&table.schema, &table.name);
        let found = destination.iter().find(|other| {
            other.schema == schema && other.name == relation && other.kind != RelationKind::Foreign
        });
        let Some(found) = found else {
            missing.push(format!("{schema}.{relation}"));
            continue;
        };
        for column in table.sent_columns() {
            let wanted = mapping.column(&table.schema, &table.name, &column.name);
            if !found.sent_columns().any(|other| other.name == wanted) {
                missing.push(format!("{schema}.{relation}.{wanted}"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::halt("PGT-0507", format!("destination \"{name}\" has no {}", shorten(&missing)))
        .hint(
            "Tables and columns must exist on both sides: \"pg_dump --schema-only\" of the source, \
         restored at the destination, makes them. What should not take part goes into \
         objects.exclude.",
        ))
}

/// Whether the copy would meet rows.
pub(crate) fn check_empty(name: &str, filled: &[String]) -> Result<(), Failure> {
    if filled.is_empty() {
        return Ok(());
    }
    Err(Failure::halt(
        "PGT-0508",
        format!("tables at destination \"{name}\" have rows already: {}", shorten(filled)),
    )
    .hint(
        "Empty them, or set stages = [\"changes\"] if they hold the source's rows of now and \
         nothing writes there meanwhile.",
    ))
}

/// The first names of a list and how many there are beyond.
pub(crate) fn shorten(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMES_SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// As people write it, unquoted.
pub(crate) fn full_name(table: &Table) -> String {
    format!("{}.{}", table.schema, table.name)
}

/// Something of this pipeline is there that init did not expect.
pub(crate) fn exists(what: impl Into<String>) -> Failure {
    Failure::halt("PGT-0509", what)
        .hint("Run \"pgtrail teardown\" to remove what is left of it, then \"pgtrail init\" again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> SourceFacts {
        SourceFacts {
            wal_level: "logical".to_owned(),
            in_recovery: false,
            max_slots: 10,
            used_slots: 0,
            max_senders: 10,
            used_senders: 0,
            role: "app".to_owned(),
            is_superuser: false,
            may_replicate: true,
            may_create: true,
        }
    }

    #[track_caller]
    fn refuses(facts: &SourceFacts, code: &str, part: &str) {
        let failure = facts.check().expect_err("a refusal");
        assert_eq!(failure.code(), Some(code));
        assert!(failure.to_string().contains(part), "{failure}");
        assert!(failure.advice().is_some(), "says what to do");
    }

    #[test]
    fn each_lack_of_the_source_has_its_own_answer() {
        assert_eq!(facts().check(), Ok(()));
        refuses(&SourceFacts { wal_level: "replica".into(), ..facts() }, "PGT-0502", "\"replica\"");
        refuses(&SourceFacts { in_recovery: true, ..facts() }, "PGT-0502", "standby");
        refuses(&SourceFacts { used_slots: 10, ..facts() }, "PGT-0503", "all 10 replication slots");
        refuses(&SourceFacts { used_senders: 12, ..facts() }, "PGT-0503", "walsender");
        refuses(&SourceFacts { may_replicate: false, ..facts() }, "PGT-0504", "\"app\"");
        refuses(&SourceFacts { may_create: false, ..facts() }, "PGT-0504", "create");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
        assert!(shorten(&names).ends_with("t9 and 2 more"));
        assert_eq!(shorten(&names[..2]), "t0, t1");
    }
}
