//! What is at the destination already, and what must be.
//!
//! With the stage "schema" pgtrail makes the tables, and none may be there; without it they must be
//! there, and empty when rows are to be copied.

use std::collections::HashSet;

use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::schema::{RelationKind, Table, TableColumn, TypeKind};

use super::transfer;
use crate::config::Config;
use crate::precheck::facts::{Destination, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::precheck::names::{count, full_name, shorten};
use crate::standing::Standing;

const WHY_MISSING: &str = "Every table and column that takes part must exist on both sides: stages \
                           has no \"schema\".";

/// Whether the destination has a place for every row: tables and columns by name.
pub(crate) fn missing_objects(
    config: &Config,
    source: &Source,
    destination: &Destination,
) -> Finding {
    if config.makes_schema() {
        return Finding::pass("pgtrail makes them");
    }
    let mapping = Mapping::identity();
    let mut missing = Vec::new();
    let mut tables = Vec::new();
    let mut columns = Vec::new();
    for table in source.tables.iter().filter(|table| table.kind == RelationKind::Table) {
        let (schema, relation) = mapping.relation(&table.schema, &table.name);
        let found = destination.table_for(table);
        let Some(found) = found.filter(|found| found.kind != RelationKind::Foreign) else {
            let namesake = destination.namesakes.get(&(schema.clone(), relation.clone()));
            let there = namesake.map(|kind| format!(" ({kind} has its name)")).unwrap_or_default();
            missing.push(format!("{schema}.{relation}{there}"));
            tables.push(table);
            continue;
        };
        for column in table.sent_columns() {
            let wanted = mapping.column(&table.schema, &table.name, &column.name);
            if !found.sent_columns().any(|other| other.name == wanted) {
                missing.push(format!("{schema}.{relation}.{wanted}"));
                columns.push(found.qualified());
            }
        }
    }
    if missing.is_empty() {
        return Finding::pass("every table and column is there");
    }
    columns.dedup();
    let name = &destination.name;
    let found = format!("destination \"{name}\" has no {}", shorten(&missing));
    let finding = Finding::failure(found, WHY_MISSING).code("PGT-0507");
    let finding = match tables.is_empty() {
        true => finding,
        false => finding.mend(transfer::of_tables(config, source, destination, &tables)),
    };
    finding.mend_all(columns.iter().map(|table| {
        Remedy::destination(name, format!("alter table {table} add column …"))
            .then("as the source has it, or list the table in objects.exclude")
    }))
}

/// Whether the copy would meet rows.
pub(crate) fn existing_rows(
    config: &Config,
    source: &Source,
    destination: &Destination,
) -> Finding {
    if source.standing == Ok(Standing::Complete) {
        return Finding::pass("the pipeline is set up");
    }
    let keeps = config.keeps_existing(&destination.name);
    if config.makes_schema() && !keeps {
        return existing_tables(source, destination);
    }
    if !config.copies() {
        return Finding::pass("not copied");
    }
    if keeps {
        return kept_rows(source, destination);
    }
    if destination.filled.is_empty() {
        return Finding::pass("the tables are empty");
    }
    let name = &destination.name;
    let filled: HashSet<&String> = destination.filled.iter().collect();
    let tables: Vec<String> = source
        .tables
        .iter()
        .filter_map(|table| destination.table_for(table))
        .filter(|table| filled.contains(&format!("{}.{}", table.schema, table.name)))
        .map(Table::qualified)
        .collect();
    Finding::failure(
        format!(
            "tables at destination \"{name}\" have rows already: {}",
            shorten(&destination.filled)
        ),
        "The copy would collide with them, or double them where there is no key.",
    )
    .code("PGT-0508")
    .mend(Remedy::destination(name, format!("truncate {}", tables.join(", "))))
    .mend(Remedy::configuration(
        "stages = [\"changes\"], if they hold the source's rows of now and nothing writes there \
         meanwhile",
    ))
}

/// With `on_existing = "keep"`: whether rows would double.
fn kept_rows(source: &Source, destination: &Destination) -> Finding {
    let filled: HashSet<&String> = destination.filled.iter().collect();
    let without_key: Vec<String> = source
        .tables
        .iter()
        .filter_map(|table| destination.table_for(table))
        .filter(|table| table.unique_indexes.is_empty())
        .map(full_name)
        .filter(|name| filled.contains(name))
        .collect();
    if without_key.is_empty() {
        return Finding::pass(match filled.len() {
            0 => "the tables are empty".to_owned(),
            n => format!("{} with rows; they are kept", count(n, "table", "tables")),
        });
    }
    Finding::warning(
        format!(
            "tables at destination \"{}\" have rows and no unique key: {}",
            destination.name,
            shorten(&without_key)
        ),
        "Nothing tells which of their rows the source has as well: the copy adds all of the source's.",
    )
    .mend(Remedy::configuration("objects.exclude, or give them the source's key first"))
}

/// With `on_existing = "keep"`: how the tables that stay differ from the source's.
pub(crate) fn kept_tables(config: &Config, source: &Source, destination: &Destination) -> Finding {
    if !config.keeps_existing(&destination.name) || source.standing == Ok(Standing::Complete) {
        return Finding::pass("nothing is kept");
    }
    let mapping = Mapping::identity();
    let (mut missing, mut differing, mut kept) = (Vec::new(), Vec::new(), 0);
    for table in source.tables.iter().filter(|table| table.kind == RelationKind::Table) {
        let (schema, relation) = mapping.relation(&table.schema, &table.name);
        let Some(found) = destination.table_for(table) else {
            let namesake = destination.namesakes.get(&(schema.clone(), relation.clone()));
            missing.extend(namesake.map(|kind| format!("{schema}.{relation} ({kind} there)")));
            continue;
        };
        kept += 1;
        for column in &table.columns {
            let name = mapping.column(&table.schema, &table.name, &column.name);
            let full = format!("{schema}.{relation}.{name}");
            match found.column(&name) {
                None if table.sent_columns().any(|sent| sent.name == column.name) => {
                    missing.push(full);
                }
                None => differing.push(format!("{full} (not there)")),
                Some(there) => {
                    differing.extend(difference(column, there).map(|how| format!("{full} ({how})")))
                }
            }
        }
        let known = |name: &String| {
            table
                .columns
                .iter()
                .any(|column| mapping.column(&table.schema, &table.name, &column.name) == *name)
        };
        let more = found.columns.iter().map(|column| &column.name).filter(|name| !known(name));
        differing.extend(more.map(|name| format!("{schema}.{relation}.{name} (only there)")));
    }
    let name = &destination.name;
    if !missing.is_empty() {
        return Finding::failure(
            format!("tables that are kept at destination \"{name}\" lack {}", shorten(&missing)),
            "What is kept is not altered, and rows of the source have no place there.",
        )
        .code("PGT-0507")
        .mend(
            Remedy::destination(name, "alter table … add column …").then("as the source has it"),
        );
    }
    if !differing.is_empty() {
        return Finding::notice(
            format!("columns at destination \"{name}\" differ: {}", shorten(&differing)),
            "What is kept is not altered. Values are converted where PostgreSQL assigns them; one \
             that does not fit halts the applier.",
        );
    }
    Finding::pass(match kept {
        0 => "none of the tables is there".to_owned(),
        n => format!("{} kept, with the source's columns", count(n, "table", "tables")),
    })
}

/// How the destination's column is otherwise than the source's.
fn difference(source: &TableColumn, there: &TableColumn) -> Option<String> {
    let differs = [
        (source.data_type.sql() != there.data_type.sql()).then(|| there.data_type.sql()),
        (source.data_type.sql() == there.data_type.sql() && source.typmod != there.typmod)
            .then(|| "another length or precision".to_owned()),
        (source.not_null != there.not_null)
            .then(|| if there.not_null { "not null" } else { "nullable" }.to_owned()),
        (source.generated != there.generated).then(|| match there.generated {
            Some(_) => "generated".to_owned(),
            None => "not generated".to_owned(),
        }),
        (source.identity != there.identity).then(|| match there.identity {
            Some(_) => "another identity".to_owned(),
            None => "no identity".to_owned(),
        }),
    ];
    let all: Vec<String> = differs.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Whether names are taken that pgtrail is to make.
fn existing_tables(source: &Source, destination: &Destination) -> Finding {
    let found: Vec<&Table> =
        source.tables.iter().filter_map(|table| destination.table_for(table)).collect();
    if found.is_empty() {
        return Finding::pass("none of the tables is there");
    }
    let name = &destination.name;
    let names: Vec<String> =
        found.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
    let qualified: Vec<String> = found.iter().map(|table| table.qualified()).collect();
    Finding::failure(
        format!("tables are at destination \"{name}\" already: {}", shorten(&names)),
        "stages has \"schema\": pgtrail makes them, and what is there is somebody's.",
    )
    .code("PGT-0412")
    .mend(Remedy::destination(name, format!("drop table {}", qualified.join(", "))))
    .mend(Remedy::configuration("stages = [\"copy\", \"changes\"], if these are the tables to use"))
}

/// Columns of the destination that nothing would fill.
pub(crate) fn extra_columns(source: &Source, destination: &Destination) -> Finding {
    let mapping = Mapping::identity();
    let mut extra = Vec::new();
    let mut remedies = Vec::new();
    for table in &source.tables {
        let Some(found) = destination.table_for(table) else { continue };
        for column in &found.columns {
            let filled = column.has_default
                || column.generated.is_some()
                || column.identity.is_some()
                || column.data_type.kind == TypeKind::Domain;
            let sent = table
                .sent_columns()
                .any(|sent| mapping.column(&table.schema, &table.name, &sent.name) == column.name);
            if column.not_null && !filled && !sent {
                extra.push(format!("{}.{}.{}", found.schema, found.name, column.name));
                let name = pgtrail_postgres::quote::quote_ident(&column.name);
                remedies.push(Remedy::destination(
                    &destination.name,
                    format!("alter table {} alter column {name} drop not null", found.qualified()),
                ));
            }
        }
    }
    if extra.is_empty() {
        return Finding::pass("none that refuses rows");
    }
    Finding::failure(
        format!(
            "{} at destination \"{}\" not in the source, refusing nulls, without default: {}",
            count(extra.len(), "column", "columns"),
            destination.name,
            shorten(&extra)
        ),
        "No row of the source could be written: the applier would halt.",
    )
    .mend_all(remedies)
}
