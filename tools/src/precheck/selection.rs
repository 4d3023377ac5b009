//! What `[objects]` selects: whether it means something, and what of it can be replicated.

use std::collections::HashSet;

use pgtrail_postgres::schema::{Persistence, RelationKind, Table};

use super::facts::{Listed, Source};
use super::finding::{Finding, Remedy};
use super::names::shorten;
use crate::config::{Config, TableName};

/// The tables that can be replicated, and those that cannot.
pub(crate) fn replicable(tables: Vec<Table>) -> (Vec<Table>, Vec<Table>) {
    tables.into_iter().partition(|table| {
        table.persistence == Persistence::Permanent && table.kind != RelationKind::Foreign
    })
}

const WHY_NAMES: &str = "A name that is misspelled would leave its table out without a word.";

/// Whether every name in `[objects]` means something.
pub(crate) fn judge(config: &Config, source: &Source) -> Finding {
    let objects = &config.objects;
    let known = |names: &[String]| {
        Remedy::configuration(format!("objects: the source has {}", shorten(names)))
    };
    if let Some(schema) = objects.schemas.iter().find(|name| !source.schemas.contains(name)) {
        let found = format!("objects.schemas: no schema \"{schema}\" at the source");
        return Finding::failure(found, WHY_NAMES).usage().mend(known(&source.schemas));
    }
    let there: HashSet<(&str, &str)> =
        source.all.iter().map(|table| (table.schema.as_str(), table.name.as_str())).collect();
    let is_unknown = |table: &&TableName| !there.contains(&(&table.schema, &table.name));
    let listed = objects.tables.iter().map(|table| ("objects.tables", table));
    let excluded = objects.exclude.iter().map(|table| ("objects.exclude", table));
    if let Some((key, name)) = listed.chain(excluded).find(|(_, table)| is_unknown(table)) {
        let beside = source.all.iter().filter(|table| table.schema == name.schema);
        let names: Vec<String> = beside.map(Listed::full_name).collect();
        let found = format!("{key}: no table {name} at the source");
        return Finding::failure(found, WHY_NAMES).usage().mend(known(&names));
    }
    if source.tables.is_empty() && source.left_out.is_empty() && !config.selection().is_everything()
    {
        let found = "[objects] selects no table";
        return Finding::failure(found, WHY_NAMES).usage().mend(known(&source.schemas));
    }
    Finding::pass(format!("{} of {} tables", source.tables.len(), source.all.len()))
}

/// Whether every partition of a selected table is selected too.
pub(crate) fn judge_partitions(config: &Config, source: &Source) -> Finding {
    let selection = config.selection();
    let roots: HashSet<u32> = source
        .tables
        .iter()
        .filter(|table| table.kind == RelationKind::Partitioned)
        .map(|table| table.oid)
        .collect();
    let torn: Vec<&Listed> = source
        .all
        .iter()
        .filter(|table| {
            table.is_partition
                && !selection.contains(&table.schema, &table.name)
                && table.parents.iter().any(|parent| roots.contains(parent))
        })
        .collect();
    let Some(first) = torn.first() else {
        return Finding::pass("every partition tree is selected whole");
    };
    let names: Vec<String> = torn.iter().map(|table| table.full_name()).collect();
    let found = match torn.len() {
        1 => format!(
            "[objects] selects a partitioned table but not its partition {}",
            first.full_name()
        ),
        _ => format!(
            "[objects] selects partitioned tables but not their partitions: {}",
            shorten(&names)
        ),
    };
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    Finding::failure(found, "Rows of the partition would be missing at the destination.")
        .usage()
        .mend(Remedy::configuration(format!("objects.tables += [{}]", quoted.join(", "))))
}
