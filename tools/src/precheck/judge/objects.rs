//! What will become of each kind of object.

use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::quote::{qualified, quote_ident};
use pgtrail_postgres::schema::{Persistence, RelationKind, Table};
use pgtrail_postgres::sequence::Sequence;

use crate::config::{Config, Keyless};
use crate::precheck::facts::{Destination, Other, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::precheck::names::{count, full_name, shorten};
use crate::source::{GivenIdentity, lacking_identity};
use crate::standing::Standing;

/// Tables whose updates and deletes could not be replicated.
pub(crate) fn replica_identity(config: &Config, source: &Source) -> Finding {
    let lacking = lacking_identity(&source.tables);
    if lacking.is_empty() {
        return Finding::pass("every table has one");
    }
    let names = |given: &[&GivenIdentity<'_>]| {
        shorten(&given.iter().map(|given| full_name(given.table)).collect::<Vec<_>>())
    };
    let remedies = lacking.iter().map(|given| Remedy::source(given.statement()).fixable());
    let keyless: Vec<&GivenIdentity<'_>> =
        lacking.iter().filter(|given| given.index.is_none()).collect();
    if config.objects.keyless == Keyless::Refuse && !keyless.is_empty() {
        let what = count(keyless.len(), "table has", "tables have");
        return Finding::failure(
            format!("{what} no key, and objects.keyless is \"refuse\": {}", names(&keyless)),
            "Without a replica identity the source does not say which row was changed or deleted.",
        )
        .code("PGT-0506")
        .mend_all(remedies)
        .mend(Remedy::configuration("objects.keyless = \"full\", or objects.exclude += […]"));
    }
    let all: Vec<&GivenIdentity<'_>> = lacking.iter().collect();
    let full = match keyless.len() {
        0 => String::new(),
        number => format!(", {number} of them FULL"),
    };
    let what = count(lacking.len(), "table", "tables");
    Finding::notice(
        format!("init gives {what} a replica identity{full}: {}", names(&all)),
        "FULL writes the whole old row to the WAL with every update and delete, and finds rows at \
         the destination by all their columns. teardown takes back what init gave, not what --fix \
         or you gave.",
    )
    .mend_all(remedies)
}

fn excluding(tables: &[&Table]) -> Remedy {
    let names: Vec<String> =
        tables.iter().map(|table| format!("\"{}\"", full_name(table))).collect();
    Remedy::configuration(format!("objects.exclude += [{}]", names.join(", ")))
}

/// Unlogged tables.
pub(crate) fn unlogged_tables(_: &Config, source: &Source) -> Finding {
    let unlogged: Vec<&Table> = source
        .left_out
        .iter()
        .filter(|table| {
            table.persistence == Persistence::Unlogged && table.kind != RelationKind::Foreign
        })
        .collect();
    let set = unlogged
        .iter()
        .map(|table| Remedy::source(format!("alter table {} set logged", table.qualified())));
    left_out(&unlogged, "unlogged", "Their changes are not in the WAL; they are left out.", set)
}

/// Foreign tables.
pub(crate) fn foreign_tables(_: &Config, source: &Source) -> Finding {
    let foreign: Vec<&Table> =
        source.left_out.iter().filter(|table| table.kind == RelationKind::Foreign).collect();
    const WHY: &str = "Their rows are another server's; they are left out.";
    left_out(&foreign, "foreign", WHY, std::iter::once(excluding(&foreign)))
}

fn left_out(
    tables: &[&Table],
    kind: &str,
    why: &'static str,
    remedies: impl Iterator<Item = Remedy>,
) -> Finding {
    if tables.is_empty() {
        return Finding::pass("none");
    }
    let names: Vec<String> = tables.iter().map(|table| full_name(table)).collect();
    let what = count(names.len(), "table is", "tables are");
    Finding::notice(format!("{what} left out, being {kind}: {}", shorten(&names)), why)
        .mend_all(remedies)
}

fn others<'s>(source: &'s Source, kind: &str) -> Vec<&'s Other> {
    source.others.iter().filter(|other| other.kind == kind).collect()
}

/// Temporary tables.
pub(crate) fn temporary_tables(_: &Config, source: &Source) -> Finding {
    let temporary = others(source, "temporary table");
    if temporary.is_empty() {
        return Finding::pass("none");
    }
    let names: Vec<&str> = temporary.iter().map(|table| table.name.as_str()).collect();
    Finding::notice(
        format!(
            "{} of running sessions left out: {}",
            count(names.len(), "temporary table", "temporary tables"),
            shorten(&names)
        ),
        "They are of one session, are not in the WAL, and end with it.",
    )
}

/// Materialized views.
pub(crate) fn materialized_views(_: &Config, source: &Source) -> Finding {
    let views = others(source, "materialized view");
    if views.is_empty() {
        return Finding::pass("none");
    }
    let names: Vec<String> =
        views.iter().map(|view| format!("{}.{}", view.schema, view.name)).collect();
    let what = count(names.len(), "materialized view", "materialized views");
    Finding::notice(
        format!("{what} not replicated: {}", shorten(&names)),
        "Neither their rows nor REFRESH reach the destination: make and refresh them there.",
    )
    .mend_all(views.iter().map(|view| {
        let name = qualified(&view.schema, &view.name);
        Remedy::shell(format!("at the destination: refresh materialized view {name}"))
    }))
}

/// Large objects.
pub(crate) fn large_objects(_: &Config, source: &Source) -> Finding {
    if source.large_objects == 0 {
        return Finding::pass("none");
    }
    let number = usize::try_from(source.large_objects).unwrap_or(usize::MAX);
    Finding::warning(
        format!("{} at the source", count(number, "large object", "large objects")),
        "Logical decoding does not have them: neither those there are nor later ones reach the \
         destination, only the oid columns that point to them.",
    )
    .mend(
        Remedy::source("update TABLE set bytes = lo_get(oid_column)")
            .then("a bytea column instead travels like any other; or accept this warning"),
    )
}

/// Tables that belong to extensions.
pub(crate) fn extension_tables(_: &Config, source: &Source) -> Finding {
    if source.extensions.installed.contains_key("timescaledb") {
        return Finding::warning(
            "TimescaleDB is installed at the source",
            "Each chunk is replicated as the table it is; a chunk made later has no table at the \
             destination, and the applier halts at its first row.",
        )
        .mend(Remedy::configuration("objects.exclude: list the hypertables and their chunks"));
    }
    let members: Vec<(&Table, &String)> = source
        .tables
        .iter()
        .filter_map(|table| Some((table, source.extensions.of_table.get(&table.oid)?)))
        .collect();
    if members.is_empty() {
        return Finding::pass("none");
    }
    let names: Vec<String> = members
        .iter()
        .map(|(table, extension)| format!("{} ({extension})", full_name(table)))
        .collect();
    let tables: Vec<&Table> = members.iter().map(|(table, _)| *table).collect();
    let what = count(names.len(), "table belongs", "tables belong");
    Finding::warning(
        format!("{what} to extensions: {}", shorten(&names)),
        "They are replicated as any other table. Rows that the extension's own scripts write, at \
         the source and again at the destination, collide.",
    )
    .mend(excluding(&tables))
}

/// Whether the selected sequences can follow.
pub(crate) fn sequences(config: &Config, source: &Source, destination: &Destination) -> Finding {
    let selection = config.selection();
    let used: Vec<&Sequence> =
        source.sequences.iter().filter(|sequence| sequence.is_selected(&selection)).collect();
    if used.is_empty() {
        return Finding::pass("no selected table uses one");
    }
    let name = |sequence: &Sequence| format!("{}.{}", sequence.schema, sequence.name);
    let sql = |sequence: &Sequence| qualified(&sequence.schema, &sequence.name);
    let (mut hidden, mut fixed, mut missing, mut remedies) = (vec![], vec![], vec![], vec![]);
    let (reads, writes) = (quote_ident(&source.server.role), quote_ident(&destination.server.role));
    for sequence in &used {
        if !sequence.is_readable {
            hidden.push(name(sequence));
            let grant = format!("grant select on sequence {} to {reads}", sql(sequence));
            remedies.push(Remedy::source(grant).fixable());
        }
        let target = Mapping::identity().relation(&sequence.schema, &sequence.name);
        match destination.sequences.get(&target) {
            None if config.makes_schema() => {}
            None => missing.push(name(sequence)),
            Some(there) if there.is_settable && there.is_readable => {}
            Some(there) => {
                fixed.push(name(there));
                let grant = format!("grant select, update on sequence {} to {writes}", sql(there));
                remedies.push(Remedy::destination(&destination.name, grant).fixable());
            }
        }
    }
    let mut found = Vec::new();
    for (what, names) in [
        ("may not be read", &hidden),
        ("may not be set", &fixed),
        ("are not at the destination", &missing),
    ] {
        if !names.is_empty() {
            found.push(format!("{what}: {}", shorten(names)));
        }
    }
    let number = count(used.len(), "sequence", "sequences");
    if remedies.is_empty() {
        return match missing.is_empty() {
            true => Finding::pass(format!("{number} will follow")),
            false => Finding::notice(
                format!("of {number} some {}", found.join("; ")),
                "A sequence that serves no column there needs none.",
            ),
        };
    }
    Finding::warning(
        format!("of {number} some {}", found.join("; ")),
        "After a switch-over a sequence that did not follow gives out numbers that are taken.",
    )
    .mend_all(remedies)
}

/// What is left of an earlier pipeline of this name.
pub(crate) fn leftovers(config: &Config, source: &Source) -> Finding {
    match &source.standing {
        Ok(Standing::Nothing) => Finding::pass("nothing of this pipeline is there"),
        Ok(Standing::Complete) => {
            Finding::pass(format!("pipeline \"{}\" is set up already", config.name))
        }
        Ok(Standing::CutShort) => Finding::notice(
            "an earlier init was cut short",
            "init removes what that one left before it begins.",
        )
        .mend(Remedy::shell("pgtrail init")),
        Err(failure) => Finding::failure(
            failure.to_string(),
            "A slot, a publication and a log that do not belong together cannot be continued.",
        )
        .code("PGT-0509")
        .mend(Remedy::shell("pgtrail teardown").then("and pgtrail init again")),
    }
}
