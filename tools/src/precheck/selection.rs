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

const WHY_PATTERNS: &str = "It does nothing as long as nothing at the source looks like it: a slip of \
                            the pen would select too little, or leave out too little.";

/// An entry of `[objects]` that nothing at the source answers to.
struct Unanswered {
    key: &'static str,
    entry: String,
    what: &'static str,
    is_literal: bool,
    /// What is there instead.
    beside: Vec<String>,
}

/// Whether every name in `[objects]` means something.
pub(crate) fn judge(config: &Config, source: &Source) -> Finding {
    let unanswered = unanswered(config, source);
    let known = |names: &[String]| {
        Remedy::configuration(format!("objects: the source has {}", shorten(names)))
    };
    if let Some(name) = unanswered.iter().find(|entry| entry.is_literal) {
        let Unanswered { key, entry, what, .. } = name;
        let found = match *what {
            "schema" => format!("{key}: no schema \"{entry}\" at the source"),
            what => format!("{key}: no {what} {entry} at the source"),
        };
        return Finding::failure(found, WHY_NAMES).usage().mend(known(&name.beside));
    }
    if source.tables.is_empty() && source.left_out.is_empty() && !config.selection().is_everything()
    {
        let found = "[objects] selects no table";
        return Finding::failure(found, WHY_NAMES).usage().mend(known(&source.schemas));
    }
    if !unanswered.is_empty() {
        let names: Vec<String> =
            unanswered.iter().map(|found| format!("{} \"{}\"", found.key, found.entry)).collect();
        let found = format!("nothing at the source looks like {}", shorten(&names));
        return Finding::warning(found, WHY_PATTERNS).mend(known(&source.schemas));
    }
    Finding::pass(format!("{} of {} tables", source.tables.len(), source.all.len()))
}

fn unanswered(config: &Config, source: &Source) -> Vec<Unanswered> {
    let objects = &config.objects;
    let schemas = objects
        .schemas
        .iter()
        .filter(|schema| !source.schemas.iter().any(|there| schema.pattern.matches(there)));
    let schemas = schemas.map(|schema| Unanswered {
        key: "objects.schemas",
        entry: schema.pattern.as_literal().unwrap_or_else(|| schema.to_string()),
        what: "schema",
        is_literal: schema.pattern.is_literal(),
        beside: source.schemas.clone(),
    });
    let listed = objects.tables.iter().map(|table| ("objects.tables", table));
    let excluded = objects.exclude.iter().map(|table| ("objects.exclude", table));
    let is_unknown = |(_, table): &(&str, &TableName)| {
        !source.all.iter().any(|there| table.pattern.matches(&there.schema, &there.name))
    };
    let tables = listed.chain(excluded).filter(is_unknown).map(|(key, table)| {
        let beside = source.all.iter().filter(|there| table.pattern.schema.matches(&there.schema));
        Unanswered {
            key,
            entry: table.to_string(),
            what: "table",
            is_literal: table.pattern.is_literal(),
            beside: beside.map(Listed::full_name).collect(),
        }
    });
    schemas.chain(tables).collect()
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
