//! The SQL that makes roles with no more rights than the configured selection needs.
//!
//! A superuser runs it once at each side. What only owners and superusers may do (the publication,
//! replica identities, schema pgtrail) is done by that SQL, so that the roles need not be either.

use std::collections::BTreeSet;

use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::quote::{qualified, quote_ident, quote_literal};
use pgtrail_postgres::schema::{RelationKind, Table};
use pgtrail_postgres::sequence::Sequence;

use crate::config::Config;
use crate::precheck::facts::{Destination, Source};
use crate::publication::{Coverage, publication_sql};
use crate::source::lacking_identity;
use crate::standing::Standing;

/// The statements for one side, in order, and what they cannot give.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Grants {
    /// Without semicolons.
    pub(crate) statements: Vec<String>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

impl Grants {
    fn run(&mut self, sql: impl Into<String>) {
        self.statements.push(sql.into());
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn role(&mut self, role: &str, attributes: &str) {
        let (name, literal) = (quote_ident(role), quote_literal(role));
        self.run(format!(
            "do $do$ begin if not exists (select from pg_catalog.pg_roles where rolname = {literal}) \
             then create role {name}; end if; end $do$"
        ));
        self.run(format!("alter role {name} {attributes}"));
        self.note(format!(
            "give role {name} a password (psql: \\password) unless pg_hba.conf needs none"
        ));
    }

    fn own_schema(&mut self, role: &str) {
        self.run(format!(
            "create schema if not exists pgtrail authorization {}",
            quote_ident(role)
        ));
        let role = quote_ident(role);
        self.run(format!("grant create, usage on schema pgtrail to {role}"));
        // What other pipelines of this database made there.
        self.run(format!(
            "grant select, insert, update, delete on all tables in schema pgtrail to {role}"
        ));
    }

    fn tables(&mut self, role: &str, privileges: &str, tables: &[&Table]) {
        let role = quote_ident(role);
        let schemas: BTreeSet<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
        for schema in schemas {
            self.run(format!("grant usage on schema {} to {role}", quote_ident(schema)));
        }
        for table in tables.iter().filter(|table| table.kind == RelationKind::Table) {
            self.run(format!("grant {privileges} on {} to {role}", table.qualified()));
        }
    }

    fn sequences<'a>(
        &mut self,
        role: &str,
        privileges: &str,
        sequences: impl Iterator<Item = &'a Sequence>,
    ) {
        let role = quote_ident(role);
        let sequences: Vec<&Sequence> = sequences.collect();
        let schemas: BTreeSet<&str> = sequences.iter().map(|found| found.schema.as_str()).collect();
        for schema in schemas {
            self.run(format!("grant usage on schema {} to {role}", quote_ident(schema)));
        }
        for sequence in sequences {
            let name = qualified(&sequence.schema, &sequence.name);
            self.run(format!("grant {privileges} on sequence {name} to {role}"));
        }
    }

    fn bypass(&mut self, role: &str, is_needed: bool) {
        if is_needed {
            self.run(format!("alter role {} bypassrls", quote_ident(role)));
        }
    }

    /// A script for psql.
    pub(crate) fn script(&self, title: &str) -> String {
        let mut text = format!("-- {title}\n");
        for note in &self.notes {
            text.push_str(&format!("-- Note: {note}.\n"));
        }
        text.push_str("begin;\n");
        for statement in &self.statements {
            text.push_str(statement);
            text.push_str(";\n");
        }
        text.push_str("commit;\n");
        text
    }
}

/// For the source.
pub(crate) fn of_source(config: &Config, source: &Source, role: &str) -> Grants {
    let mut grants = Grants::default();
    let database = quote_ident(&source.server.database);
    if !config.replicates() {
        // The schema alone is read from the catalogs, which everybody may read.
        grants.role(role, "login");
        grants.run(format!("grant connect on database {database} to {}", quote_ident(role)));
        return grants;
    }
    grants.role(role, "login replication");
    grants.run(format!("grant connect on database {database} to {}", quote_ident(role)));
    let tables: Vec<&Table> = source.tables.iter().collect();
    grants.tables(role, "select", &tables);
    let sequences = source.sequences.iter().filter(|found| found.is_selected(&config.selection()));
    grants.sequences(role, "select", sequences);
    grants.bypass(role, tables.iter().any(|table| table.row_security));
    grants.own_schema(role);
    let is_set_up = source.standing == Ok(Standing::Complete);
    if !is_set_up {
        // Before the publication: with it, a table without an identity refuses updates.
        for given in lacking_identity(&source.tables) {
            grants.run(given.statement());
        }
    }
    if !is_set_up && !source.is_publication_given {
        let everything = config.selection().is_everything();
        let capabilities = &source.server.capabilities;
        let coverage = Coverage::of(&source.tables, everything, capabilities);
        grants.run(publication_sql(&config.publication(), &coverage, capabilities));
        grants.note(
            "only owners can publish tables and only a superuser all of them, so the publication \
             is made here; init takes it as it is and teardown leaves it",
        );
        if everything {
            grants.note(format!(
                "tables made later are published, and need \"grant select\" to {} as well as a \
                 replica identity",
                quote_ident(role)
            ));
        }
    }
    grants
}

/// For a destination.
pub(crate) fn of_destination(
    config: &Config,
    source: &Source,
    destination: &Destination,
    role: &str,
) -> Grants {
    let mut grants = Grants::default();
    let server = &destination.server;
    grants.role(role, "login");
    let name = quote_ident(role);
    grants.run(format!("grant connect on database {} to {name}", quote_ident(&server.database)));
    if config.makes_schema() {
        let database = quote_ident(&server.database);
        grants.run(format!("grant create on database {database} to {name}"));
        grants.note(
            "the role will own what the stage \"schema\" makes, unless the source's owner exists \
             there as well and the role is a member of it",
        );
    }
    let tables: Vec<&Table> =
        source.tables.iter().filter_map(|table| destination.table_for(table)).collect();
    grants.tables(role, "select, insert, update, delete, truncate", &tables);
    let sequences = source
        .sequences
        .iter()
        .filter(|found| found.is_selected(&config.selection()))
        .map(|found| Mapping::identity().relation(&found.schema, &found.name))
        .filter_map(|target| destination.sequences.get(&target));
    grants.sequences(role, "select, update", sequences);
    grants.bypass(role, tables.iter().any(|table| table.row_security));
    grants.own_schema(role);
    if server.capabilities.grant_set {
        grants.run(format!("grant set on parameter session_replication_role to {name}"));
    } else {
        grants.note(
            "before PostgreSQL 15 only a superuser may set session_replication_role: without it \
             triggers fire and foreign keys act on what is applied, which precheck names",
        );
    }
    grants
}
