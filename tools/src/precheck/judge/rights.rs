//! What the roles may do: too little, and more than needed.

use std::collections::BTreeSet;

use pgtrail_postgres::quote::quote_ident;
use pgtrail_postgres::schema::{Firing, RelationKind, Table};

use crate::config::Config;
use crate::precheck::facts::{Destination, Privileges, Server, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::precheck::names::{count, full_name, shorten};
use crate::precheck::place::Whose;
use crate::source::lacking_identity;
use crate::standing::Standing;

const CODE: &str = "PGT-0504";

/// REPLICATION.
pub(crate) fn replication_right(source: &Source) -> Finding {
    if source.server.may_replicate {
        return Finding::pass("may use replication");
    }
    let role = quote_ident(&source.server.role);
    Finding::failure(
        format!("role {role} may not use replication"),
        "Changes are read through a replication slot.",
    )
    .code(CODE)
    .mend(
        Remedy::source(format!("alter role {role} replication"))
            .then("or, at a managed service, grant the service's replication role"),
    )
}

/// Rights on objects of the source.
pub(crate) fn source_privileges(source: &Source) -> Finding {
    let server = &source.server;
    let role = quote_ident(&server.role);
    let mut missing = Vec::new();
    let mut remedies = Vec::new();
    let has_all = server.may_use_own_schema && source.is_publication_given;
    if !server.may_create && !has_all && source.standing != Ok(Standing::Complete) {
        missing.push("create objects in the source database".to_owned());
        let database = quote_ident(&server.database);
        remedies.push(
            Remedy::source(format!("grant create on database {database} to {role}")).fixable(),
        );
    }
    missing.extend(lacking(source, &mut remedies, Remedy::source, Needs::READ));
    if missing.is_empty() {
        return Finding::pass("enough");
    }
    Finding::failure(
        format!("role {role} may not {}", missing.join(", nor ")),
        "init makes a publication and schema pgtrail; the reader reads the existing rows.",
    )
    .code(CODE)
    .mend_all(remedies)
}

/// Ownership, which publications and replica identities need.
pub(crate) fn source_ownership(_: &Config, source: &Source) -> Finding {
    let server = &source.server;
    if server.is_superuser || source.standing == Ok(Standing::Complete) {
        return Finding::pass("enough");
    }
    let lacking: BTreeSet<u32> =
        lacking_identity(&source.tables).iter().map(|given| given.table.oid).collect();
    let is_needed = |table: &&Table| !source.is_publication_given || lacking.contains(&table.oid);
    let foreign: Vec<(&Table, &Privileges)> = source
        .tables
        .iter()
        .filter(is_needed)
        .filter_map(|table| Some((table, source.privileges.get(&table.oid)?)))
        .filter(|(_, privileges)| !privileges.owns)
        .collect();
    if foreign.is_empty() {
        return Finding::pass(match source.is_publication_given {
            true => "not needed: the publication is there",
            false => "counts as the owner of the tables",
        });
    }
    let role = quote_ident(&server.role);
    let names: Vec<String> = foreign.iter().map(|(table, _)| full_name(table)).collect();
    let owners: BTreeSet<&str> = foreign.iter().map(|(_, p)| p.owner.as_str()).collect();
    let grants = owners
        .into_iter()
        .map(|owner| Remedy::source(format!("grant {} to {role}", quote_ident(owner))).fixable());
    Finding::failure(
        format!(
            "role {role} does not own {}: {}",
            count(foreign.len(), "table", "tables"),
            shorten(&names)
        ),
        "Only a table's owner may put it into a publication or change its replica identity. \
         Reader and applier need no ownership: init alone may run as another role.",
    )
    .code(CODE)
    .mend_all(grants)
    .mend(
        Remedy::shell(format!("pgtrail grants --role {}", server.role))
            .then("prints how a superuser makes the publication for it instead"),
    )
}

/// More than a source's role needs.
pub(crate) fn excess_privileges(whose: &Whose<'_>, server: &Server) -> Finding {
    let mut excess = Vec::new();
    if server.is_superuser {
        excess.push("superuser");
    } else {
        if server.may_create_roles {
            excess.push("createrole");
        }
        if server.bypasses_row_security {
            excess.push("bypassrls");
        }
    }
    if excess.is_empty() {
        return Finding::pass("none");
    }
    let role = quote_ident(&server.role);
    Finding::notice(
        format!("role {role} has {}", excess.join(", ")),
        "It works. Whoever gets hold of this login gets more than replication needs.",
    )
    .mend(Remedy::shell(match whose {
        Whose::Source => "pgtrail grants --role NEW_ROLE",
        Whose::Destination(_) => "pgtrail grants --role SOURCE_ROLE --destination-role NEW_ROLE",
    }))
}

/// Rights at a destination.
pub(crate) fn destination_privileges(
    config: &Config,
    source: &Source,
    destination: &Destination,
) -> Finding {
    let server = &destination.server;
    let role = quote_ident(&server.role);
    let name = &destination.name;
    let mut missing = Vec::new();
    let mut remedies = Vec::new();
    let may_make_own_schema = server.may_create && !server.has_own_schema;
    if !server.may_use_own_schema && !may_make_own_schema {
        missing.push("make or use schema pgtrail".to_owned());
        let sql = match server.has_own_schema {
            true => format!(
                "grant create, usage on schema pgtrail to {role}; grant select, insert, update, \
                 delete on all tables in schema pgtrail to {role}"
            ),
            false => format!("create schema pgtrail authorization {role}"),
        };
        remedies.push(Remedy::destination(name, sql));
    }
    if config.makes_schema() && !server.may_create && source.standing != Ok(Standing::Complete) {
        missing.push("create objects in the database".to_owned());
        let database = quote_ident(&server.database);
        remedies.push(
            Remedy::destination(name, format!("grant create on database {database} to {role}"))
                .fixable(),
        );
    }
    let targets: Vec<&Table> =
        source.tables.iter().filter_map(|table| destination.table_for(table)).collect();
    let at = |sql: String| Remedy::destination(name, sql);
    missing.extend(lacking_on(
        &targets,
        |oid| destination.privileges.get(&oid),
        &role,
        &mut remedies,
        at,
        Needs::WRITE,
    ));
    if missing.is_empty() {
        return Finding::pass("enough");
    }
    Finding::failure(
        format!("role {role} at destination \"{name}\" may not {}", missing.join(", nor ")),
        "The applier keeps its position in schema pgtrail and writes the tables.",
    )
    .code(CODE)
    .mend_all(remedies)
}

/// Which rights on tables are looked for.
#[derive(Clone, Copy)]
struct Needs {
    listed: &'static str,
    held: fn(&Privileges) -> bool,
}

impl Needs {
    const READ: Needs = Needs { listed: "select", held: |p| p.may_select };
    const WRITE: Needs = Needs {
        listed: "select, insert, update, delete, truncate",
        held: |p| p.may_select && p.may_insert && p.may_update && p.may_delete && p.may_truncate,
    };
}

fn lacking(
    source: &Source,
    remedies: &mut Vec<Remedy>,
    at: impl Fn(String) -> Remedy,
    needs: Needs,
) -> Option<String> {
    let role = quote_ident(&source.server.role);
    let tables: Vec<&Table> = source.tables.iter().collect();
    lacking_on(&tables, |oid| source.privileges.get(&oid), &role, remedies, at, needs)
}

fn lacking_on<'p>(
    tables: &[&Table],
    privileges: impl Fn(u32) -> Option<&'p Privileges>,
    role: &str,
    remedies: &mut Vec<Remedy>,
    at: impl Fn(String) -> Remedy,
    needs: Needs,
) -> Option<String> {
    let mut names = Vec::new();
    let mut schemas = BTreeSet::new();
    let mut grants = Vec::new();
    for table in tables {
        let Some(held) = privileges(table.oid) else { continue };
        if !held.uses_schema {
            schemas.insert(table.schema.as_str());
        }
        // Rows are the leaves'.
        if table.kind != RelationKind::Table || ((needs.held)(held) && held.uses_schema) {
            continue;
        }
        names.push(full_name(table));
        if !(needs.held)(held) {
            grants.push(at(format!("grant {} on {} to {role}", needs.listed, table.qualified())));
        }
    }
    for schema in schemas {
        let schema = quote_ident(schema);
        remedies.push(at(format!("grant usage on schema {schema} to {role}")).fixable());
    }
    remedies.extend(grants.into_iter().map(Remedy::fixable));
    if names.is_empty() {
        return None;
    }
    let what = count(names.len(), "table", "tables");
    Some(format!("{} on {what}: {}", needs.listed, shorten(&names)))
}

/// Policies that hide rows from the role.
pub(crate) fn row_security(whose: &Whose<'_>, server: &Server, hidden: &[&Table]) -> Finding {
    if hidden.is_empty() {
        return Finding::pass("hides nothing from the role");
    }
    let names: Vec<String> = hidden.iter().map(|table| full_name(table)).collect();
    let role = quote_ident(&server.role);
    Finding::failure(
        format!(
            "row level security holds for role {role} on {}: {}",
            count(hidden.len(), "table", "tables"),
            shorten(&names)
        ),
        "Policies would hide or refuse rows. pgtrail turns row_security off, and the server then \
         refuses the statement instead.",
    )
    .mend(whose.remedy(format!("alter role {role} bypassrls")))
}

/// What the publication will cover.
pub(crate) fn publication(config: &Config, source: &Source) -> Finding {
    if !config.selection().is_everything() {
        return Finding::pass(format!("lists {}", count(source.tables.len(), "table", "tables")));
    }
    if source.is_publication_given {
        return Finding::pass("is there, made for this pipeline");
    }
    if source.server.is_superuser || source.standing == Ok(Standing::Complete) {
        return Finding::pass("for all tables");
    }
    Finding::notice(
        "will list the tables there are now",
        "Only a superuser can publish \"for all tables\". Tables made at the source later are not \
         part of the pipeline.",
    )
    .mend(
        Remedy::source(format!("alter role {} superuser", quote_ident(&source.server.role)))
            .then("for init alone, if tables made later are to take part"),
    )
}

/// Whether changes of the schema follow.
pub(crate) fn ddl_capture(_: &Config, source: &Source) -> Finding {
    let rights = match source.server.is_superuser {
        true => "",
        false => ", and this role could not make the event triggers it would need",
    };
    Finding::notice(
        format!("DDL is not replicated{rights}"),
        "A change to a table at the source must be made at the destination too, before rows of the \
         new shape arrive; else the applier halts, and goes on once it is made.",
    )
    .mend(Remedy::shell("run ALTER TABLE … ADD COLUMN at the destination first, DROP COLUMN last"))
}

/// Whether triggers and foreign keys rest while changes are applied.
pub(crate) fn replica_role(source: &Source, destination: &Destination) -> Finding {
    let server = &destination.server;
    if server.may_be_replica {
        return Finding::pass("may set session_replication_role");
    }
    let role = quote_ident(&server.role);
    let name = &destination.name;
    let targets: Vec<&Table> =
        source.tables.iter().filter_map(|table| destination.table_for(table)).collect();
    let fires = |table: &&&Table| {
        table.triggers.iter().any(|trigger| trigger.firing == Firing::Origin)
            || table.rules.iter().any(|rule| rule.firing == Firing::Origin)
    };
    let mut fired: Vec<String> = targets
        .iter()
        .filter(fires)
        .map(|table| format!("{} (triggers or rules)", full_name(table)))
        .collect();
    fired.extend(
        destination
            .cascades
            .iter()
            .map(|(schema, table, key)| format!("{schema}.{table} (foreign key {key} cascades)")),
    );
    let mend = match server.capabilities.grant_set {
        true => Remedy::destination(
            name,
            format!("grant set on parameter session_replication_role to {role}"),
        )
        .fixable(),
        false => Remedy::destination(name, format!("alter role {role} superuser"))
            .then("before PostgreSQL 15 only a superuser may set session_replication_role"),
    };
    const WHY: &str = "Triggers, rules and foreign keys act a second time on what the source's did \
                       already: rows double or vanish and the applier halts. The copy also loads \
                       one table at a time.";
    let found = format!("role {role} may not set session_replication_role");
    if fired.is_empty() {
        return Finding::notice(format!("{found}; no trigger or cascade acts on the tables"), WHY)
            .mend(mend);
    }
    let finding = Finding::warning(format!("{found}, and these act: {}", shorten(&fired)), WHY);
    finding.mend(mend)
}
