//! Extensions on both sides.

use std::collections::BTreeSet;

use pgtrail_postgres::quote::quote_ident;

use crate::precheck::facts::{Destination, Installed, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::precheck::names::{count, shorten};

/// Extensions that the destination lacks, or has in another version.
pub(crate) fn extensions(source: &Source, destination: &Destination) -> Finding {
    let name = &destination.name;
    let needed: BTreeSet<&str> = source
        .tables
        .iter()
        .flat_map(|table| table.type_oids())
        .filter_map(|oid| source.extensions.of_type.get(&oid).map(String::as_str))
        .collect();
    let mut missing = Vec::new();
    let mut lacks_needed = false;
    let mut differing = Vec::new();
    let mut remedies = Vec::new();
    for (extension, Installed { version, .. }) in &source.extensions.installed {
        match destination.extensions.get(extension) {
            Some(there) if there.version == *version => {}
            Some(there) => {
                let there = &there.version;
                differing.push(format!("{extension} {there}, the source's is {version}"));
                let sql = format!("alter extension {} update", quote_ident(extension));
                remedies.push(Remedy::destination(name, sql));
            }
            None => {
                lacks_needed |= needed.contains(extension.as_str());
                missing.push(extension.as_str());
                remedies.push(create(source, destination, extension));
            }
        }
    }
    if missing.is_empty() && differing.is_empty() {
        return Finding::pass(count(source.extensions.installed.len(), "extension", "extensions"));
    }
    let mut found = Vec::new();
    if !missing.is_empty() {
        found.push(format!("missing at destination \"{name}\": {}", shorten(&missing)));
    }
    if !differing.is_empty() {
        found.push(format!("another version there: {}", shorten(&differing)));
    }
    let found = found.join("; ");
    let finding = match lacks_needed {
        true => Finding::failure(found, "Columns of selected tables have types of it."),
        false => Finding::notice(
            found,
            "No column of a selected table needs what is missing; indexes, defaults and functions \
             at the destination may. An older version may not read every value of a newer one.",
        ),
    };
    finding.mend_all(remedies)
}

/// How the destination gets an extension that it lacks, in the schema where the source has it.
pub(super) fn create(source: &Source, destination: &Destination, extension: &str) -> Remedy {
    let name = &destination.name;
    if !destination.available.contains(extension) {
        return Remedy::shell(format!(
            "install the package of extension {extension} on the machine of destination \"{name}\""
        ));
    }
    let schema = source.extensions.installed.get(extension).map(|found| found.schema.as_str());
    let schema = schema.unwrap_or("public");
    let made = match schema == "public" || schema.starts_with("pg_") {
        true => String::new(),
        false => format!("create schema if not exists {}; ", quote_ident(schema)),
    };
    let sql = format!(
        "{made}create extension if not exists {} with schema {} cascade",
        quote_ident(extension),
        quote_ident(schema)
    );
    Remedy::destination(name, sql).fixable()
}
