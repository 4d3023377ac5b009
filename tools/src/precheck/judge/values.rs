//! Whether values mean the same on both sides.

use std::collections::{BTreeMap, BTreeSet};

use super::{extensions, transfer};
use crate::config::Config;
use crate::precheck::facts::{Destination, Server, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::precheck::names::{count, full_name, shorten};

/// The types of selected columns that the destination does not have: schema and name, and oid at the
/// source.
pub(super) fn missing_types(
    source: &Source,
    destination: &Destination,
) -> BTreeMap<(String, String), u32> {
    let used = source.tables.iter().flat_map(|table| table.data_types());
    used.map(|wanted| ((wanted.schema.clone(), wanted.name.clone()), wanted.oid))
        .filter(|(name, _)| !destination.types.contains(name))
        .collect()
}

/// Types of selected columns that the destination does not have.
pub(crate) fn types(config: &Config, source: &Source, destination: &Destination) -> Finding {
    let mut missing = missing_types(source, destination);
    if config.makes_schema() {
        // Its own types, and its extensions, are made with the schema.
        missing.retain(|(schema, _), _| schema == "pg_catalog");
    }
    if missing.is_empty() {
        return Finding::pass("all are there");
    }
    let names: Vec<String> =
        missing.keys().map(|(schema, name)| format!("{schema}.{name}")).collect();
    let of_extensions: BTreeSet<&String> =
        missing.values().filter_map(|oid| source.extensions.of_type.get(oid)).collect();
    let is_own = |((schema, _), oid): (&(String, String), &u32)| {
        schema != "pg_catalog" && !source.extensions.of_type.contains_key(oid)
    };
    let has_own = missing.iter().any(is_own);
    let name = &destination.name;
    let finding = Finding::failure(
        format!(
            "{} of selected columns not at destination \"{name}\": {}",
            count(names.len(), "type", "types"),
            shorten(&names)
        ),
        "No column there can hold such values as what they are. A built-in type that is missing \
         came with a newer PostgreSQL.",
    );
    let finding = finding.mend_all(
        of_extensions.iter().map(|extension| extensions::create(source, destination, extension)),
    );
    if has_own {
        return finding.mend(transfer::of_everything(config, name));
    }
    match of_extensions.is_empty() {
        true => finding.mend(Remedy::configuration(
            "objects.exclude: such tables, or a destination of the source's version",
        )),
        false => finding,
    }
}

/// Columns that have another type at the destination.
pub(crate) fn column_types(source: &Source, destination: &Destination) -> Finding {
    let mut differing = Vec::new();
    let mut remedies = Vec::new();
    for table in &source.tables {
        let Some(target) = destination.table_for(table) else { continue };
        for column in table.sent_columns() {
            let Some(there) = target.column(&column.name) else { continue };
            let (one, other) = (&column.data_type, &there.data_type);
            let same = one.schema == other.schema && one.name == other.name;
            if same && column.typmod == there.typmod {
                continue;
            }
            differing.push(format!("{}.{} ({} there)", full_name(table), column.name, other.name));
            remedies.push(
                Remedy::destination(
                    &destination.name,
                    format!(
                        "alter table {} alter column {} type {}",
                        target.qualified(),
                        pgtrail_postgres::quote::quote_ident(&there.name),
                        one.sql()
                    ),
                )
                .then("with the source's length or precision"),
            );
        }
    }
    if differing.is_empty() {
        return Finding::pass("the same on both sides");
    }
    Finding::notice(
        format!(
            "{} another type or length at the destination: {}",
            count(differing.len(), "column has", "columns have"),
            shorten(&differing)
        ),
        "Such tables are applied row by row. A value that does not fit there halts the applier.",
    )
    .mend_all(remedies)
}

/// Types that travel as text.
pub(crate) fn binary_types(_: &Config, source: &Source) -> Finding {
    if !source.server.capabilities.binary {
        return Finding::pass("this version sends everything as text");
    }
    if source.text_types.is_empty() {
        return Finding::pass("all types travel in binary");
    }
    let names: Vec<&str> = source.text_types.iter().map(String::as_str).collect();
    Finding::notice(
        format!(
            "{} cannot travel in binary: {}",
            count(names.len(), "type", "types"),
            shorten(&names)
        ),
        "The whole stream is sent as text then: right, but slower. Tables with such columns are \
         copied as text.",
    )
    .mend(Remedy::configuration("objects.exclude: leave such tables to a pipeline of their own"))
}

/// Character sets.
pub(crate) fn encoding(source: &Source, destination: &Destination) -> Finding {
    let (one, other) = (&source.server.encoding, &destination.server.encoding);
    let dump = || {
        let database = pgtrail_postgres::quote::quote_ident(&destination.server.database);
        Remedy::destination(
            &destination.name,
            format!("create database {database} encoding 'UTF8' template template0"),
        )
        .then("anew: a database's encoding cannot be changed")
    };
    if one == "SQL_ASCII" || other == "SQL_ASCII" {
        return Finding::warning(
            format!("encoding {one} at the source, {other} at the destination"),
            "SQL_ASCII says nothing of what its bytes mean: they are passed on as they are, and \
             what is not UTF-8 halts reader or applier.",
        )
        .mend(dump());
    }
    if one == other || other == "UTF8" {
        return Finding::pass(format!("{one} to {other}"));
    }
    Finding::warning(
        format!("encoding {one} at the source, {other} at the destination"),
        "A character that the destination's encoding does not have halts the applier.",
    )
    .mend(dump())
}

/// Sort orders and their versions.
pub(crate) fn collation(source: &Source, destination: &Destination) -> Finding {
    const WHY: &str = "Values are the same; ORDER BY, range partitions and comparisons of text may \
                       not be. An index built under another version of a collation is unreliable.";
    let (one, other) = (&source.server, &destination.server);
    let mut found = Vec::new();
    let mut remedies = Vec::new();
    if describe_collation(one) != describe_collation(other) {
        let (one, other) = (describe_collation(one), describe_collation(other));
        found.push(format!("{one} at the source, {other} at the destination"));
    } else if one.collation_version != other.collation_version {
        let version = |server: &Server| {
            server.collation_version.clone().unwrap_or_else(|| "unknown".to_owned())
        };
        found.push(format!("version {} and {}", version(one), version(other)));
    }
    let aged = |server: &Server| {
        server.collation_version.is_some()
            && server.actual_collation_version.is_some()
            && server.collation_version != server.actual_collation_version
    };
    let refresh = |server: &Server| {
        let database = pgtrail_postgres::quote::quote_ident(&server.database);
        format!("reindex database {database}; alter database {database} refresh collation version")
    };
    if aged(one) {
        found.push("the source's libraries changed since its database was made".to_owned());
        remedies.push(Remedy::source(refresh(one)));
    }
    if aged(other) {
        found.push("the destination's libraries changed since its database was made".to_owned());
        remedies.push(Remedy::destination(&destination.name, refresh(other)));
    }
    if found.is_empty() {
        return Finding::pass(describe_collation(one));
    }
    if remedies.is_empty() {
        let template = format!(
            "create database … lc_collate {} lc_ctype {} template template0",
            pgtrail_postgres::quote::quote_literal(&one.collate),
            pgtrail_postgres::quote::quote_literal(&one.ctype)
        );
        remedies.push(Remedy::destination(&destination.name, template).then("where order matters"));
    }
    Finding::notice(found.join("; "), WHY).mend_all(remedies)
}

fn describe_collation(server: &Server) -> String {
    match (server.collation_provider.as_str(), &server.icu_locale) {
        ("i", Some(locale)) => format!("ICU {locale}"),
        ("b", Some(locale)) => format!("builtin {locale}"),
        _ if server.collate == server.ctype => server.collate.clone(),
        _ => format!("{} (ctype {})", server.collate, server.ctype),
    }
}

/// How money is shown.
pub(crate) fn lc_monetary(source: &Source, destination: &Destination) -> Finding {
    let uses_money = source
        .tables
        .iter()
        .flat_map(|table| &table.columns)
        .any(|column| column.base_type.name.trim_start_matches('_') == "money");
    let value = |server: &Server| server.setting("lc_monetary").unwrap_or("unknown").to_owned();
    let (one, other) = (value(&source.server), value(&destination.server));
    if !uses_money {
        return Finding::pass("no money columns");
    }
    if one == other {
        return Finding::pass(one);
    }
    let database = pgtrail_postgres::quote::quote_ident(&destination.server.database);
    let locale = pgtrail_postgres::quote::quote_literal(&one);
    Finding::notice(
        format!("money columns, and lc_monetary is {one} at the source, {other} there"),
        "The amounts arrive as they are stored. Each side shows them in its own currency, and \
         where the two differ in decimal places, as another amount.",
    )
    .mend(Remedy::destination(
        &destination.name,
        format!("alter database {database} set lc_monetary = {locale}"),
    ))
}
