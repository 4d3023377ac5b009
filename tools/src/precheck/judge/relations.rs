//! What ties tables to each other, and what acts on them.

use std::collections::{BTreeSet, HashMap, HashSet};

use pgtrail_postgres::schema::{RelationKind, Table};

use crate::config::Config;
use crate::precheck::facts::{Destination, Listed, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::precheck::names::{count, full_name, shorten};
use pgtrail_postgres::quote::quote_ident;

fn by_oid(tables: &[Listed]) -> HashMap<u32, &Listed> {
    tables.iter().map(|table| (table.oid, table)).collect()
}

/// Foreign keys that refer to tables outside the selection.
pub(crate) fn foreign_keys(_: &Config, source: &Source) -> Finding {
    let all = by_oid(&source.all);
    let selected: HashSet<u32> = source.tables.iter().map(|table| table.oid).collect();
    let mut leaving = Vec::new();
    let mut referenced = Vec::new();
    for table in &source.tables {
        for key in &table.foreign_keys {
            let Some(other) = all.get(&key.referenced) else { continue };
            if !selected.contains(&key.referenced) {
                leaving.push(format!("{}.{} -> {}", full_name(table), key.name, other.full_name()));
                referenced.push(format!("\"{}\"", other.full_name()));
            }
        }
    }
    if leaving.is_empty() {
        return Finding::pass("all stay within the selection");
    }
    referenced.sort();
    referenced.dedup();
    Finding::notice(
        format!(
            "{} the selection: {}",
            count(leaving.len(), "foreign key leaves", "foreign keys leave"),
            shorten(&leaving)
        ),
        "The rows they refer to are not brought. With session_replication_role the destination \
         does not check such keys and keeps rows that refer to nothing; without it the rows are \
         refused.",
    )
    .mend(Remedy::configuration(format!("objects.tables += [{}]", referenced.join(", "))))
}

/// Unique indexes over expressions.
pub(crate) fn expression_indexes(_: &Config, source: &Source) -> Finding {
    let with = source
        .tables
        .iter()
        .filter(|table| table.unique_indexes.iter().any(|index| index.has_expressions()))
        .count();
    match with {
        0 => Finding::pass("none"),
        with => Finding::pass(format!(
            "{}; such tables are replicated as any other",
            count(with, "table has one", "tables have some")
        )),
    }
}

/// Inheritance across schemas.
pub(crate) fn inheritance(_: &Config, source: &Source) -> Finding {
    let all = &by_oid(&source.all);
    let crossing = source
        .tables
        .iter()
        .filter(|table| !table.is_partition)
        .flat_map(|table| table.parents.iter().filter_map(move |oid| Some((table, all.get(oid)?))))
        .filter(|(table, parent)| table.schema != parent.schema)
        .count();
    match crossing {
        0 => Finding::pass("none"),
        crossing => Finding::pass(format!(
            "{}; such tables are replicated as any other",
            count(crossing, "table inherits across schemas", "tables inherit across schemas")
        )),
    }
}

/// Triggers and rules that fire while changes are applied.
pub(crate) fn triggers(source: &Source, destination: &Destination) -> Finding {
    let mut acting = Vec::new();
    let mut remedies = Vec::new();
    for table in &source.tables {
        let Some(target) = destination.table_for(table) else { continue };
        for trigger in target.replica_triggers() {
            acting.push(format!("trigger {} on {}", trigger.name, full_name(target)));
            let (table, name) = (target.qualified(), quote_ident(&trigger.name));
            remedies.push(format!("alter table {table} enable trigger {name}"));
        }
        for rule in target.replica_rules() {
            acting.push(format!("rule {} on {}", rule.name, full_name(target)));
            let (table, name) = (target.qualified(), quote_ident(&rule.name));
            remedies.push(format!("alter table {table} enable rule {name}"));
        }
    }
    if acting.is_empty() {
        return Finding::pass("none fires while changes are applied");
    }
    Finding::notice(
        format!(
            "{} while changes are applied: {}",
            count(acting.len(), "fires", "fire"),
            shorten(&acting)
        ),
        "ENABLE ALWAYS and ENABLE REPLICA say so. They run with the applying role's rights. Such \
         tables are applied row by row, which is slow, and a trigger that changes or drops rows \
         makes the sides differ.",
    )
    .mend_all(remedies.into_iter().map(|sql| Remedy::destination(&destination.name, sql)))
}

/// Sequences that TRUNCATE … RESTART IDENTITY would set back, which takes their owner.
pub(crate) fn restart_identity(source: &Source, destination: &Destination) -> Finding {
    let mut found = Vec::new();
    let mut owners = BTreeSet::new();
    for table in &source.tables {
        let Some(target) = destination.table_for(table) else { continue };
        let Some(held) = destination.privileges.get(&target.oid) else { continue };
        if destination.with_sequences.contains(&target.oid) && !held.owns {
            found.push(full_name(target));
            owners.insert(held.owner.as_str());
        }
    }
    if found.is_empty() {
        return Finding::pass("nothing in its way");
    }
    let role = quote_ident(&destination.server.role);
    Finding::notice(
        format!(
            "role {role} does not own {} with sequences: {}",
            count(found.len(), "table", "tables"),
            shorten(&found)
        ),
        "Should the source run TRUNCATE … RESTART IDENTITY on one of them, the destination refuses \
         it and the applier halts. Plain TRUNCATE needs no ownership.",
    )
    .mend_all(owners.into_iter().map(|owner| {
        let sql = format!("grant {} to {role}", quote_ident(owner));
        Remedy::destination(&destination.name, sql)
    }))
}

/// Event triggers at the destination.
pub(crate) fn event_triggers(_: &Source, destination: &Destination) -> Finding {
    if destination.event_triggers.is_empty() {
        return Finding::pass("none");
    }
    let names: Vec<String> = destination
        .event_triggers
        .iter()
        .map(|trigger| format!("{} ({})", trigger.name, trigger.event))
        .collect();
    Finding::notice(
        format!(
            "{} at the destination: {}",
            count(names.len(), "event trigger", "event triggers"),
            shorten(&names)
        ),
        "They fire for what init makes in schema pgtrail; one that refuses it makes init fail.",
    )
    .mend_all(destination.event_triggers.iter().map(|trigger| {
        let name = quote_ident(&trigger.name);
        Remedy::destination(&destination.name, format!("alter event trigger {name} disable"))
    }))
}

/// The tables on which policies hold for the role.
pub(crate) fn hidden<'t>(
    tables: impl Iterator<Item = &'t Table>,
    is_hidden: impl Fn(u32) -> bool,
) -> Vec<&'t Table> {
    tables.filter(|table| table.kind == RelationKind::Table && is_hidden(table.oid)).collect()
}
