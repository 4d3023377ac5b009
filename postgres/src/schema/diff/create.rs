//! The statements that make an object.

mod behaviour;
mod column;
mod foreign;
mod operator;
mod routine;
mod table;
mod text_search;
mod types;

use std::collections::HashSet;

pub(super) use behaviour::firing_words;
pub(super) use column::option_changes;
pub(super) use types::{attribute, storage};

use super::side::Side;
use crate::Capabilities;
use crate::quote::{quote_ident, quote_literal};
use crate::schema::snapshot::object::Collation;
use crate::schema::snapshot::relation::{Constraint, Index, Sequence, View};
use crate::schema::snapshot::{Body, Class, Object, ObjectId};

/// Writes statements for objects of one snapshot, in the words of the destination's version.
pub(super) struct Maker<'a> {
    pub(super) side: &'a Side<'a>,
    pub(super) target: Capabilities,
    /// Checks that are part of the statement that makes their table or domain.
    pub(super) inline: HashSet<ObjectId>,
}

impl Maker<'_> {
    /// The statements that make the object; none when it comes with another one.
    pub(super) fn create(&self, object: &Object) -> Vec<String> {
        let one = |sql: String| vec![sql];
        let name = || self.side.qualified(object);
        match &object.body {
            Body::Schema(_) => one(format!("create schema if not exists {}", name())),
            Body::Extension(extension) => one(format!(
                "create extension if not exists {} with schema {}",
                name(),
                quote_ident(&extension.target_schema)
            )),
            Body::AccessMethod(method) => one(format!(
                "create access method {} type {} handler {}",
                name(),
                if method.variety == 't' { "table" } else { "index" },
                method.handler
            )),
            Body::Language(language) => one(self.language(object, language)),
            Body::Collation(collation) => one(self.collation(object, collation)),
            Body::Enum(kind) => one(self.r#enum(object, kind)),
            Body::Composite(kind) => self.composite(object, kind),
            Body::Domain(domain) => one(self.domain(object, domain)),
            Body::Range(range) => one(self.range(object, range)),
            Body::BaseType(kind) => one(self.base_type(object, kind)),
            Body::Routine(routine) => one(routine.definition.trim_end().to_owned()),
            Body::Aggregate(aggregate) => one(self.aggregate(object, aggregate)),
            Body::Operator(operator) => one(self.operator(object, operator)),
            Body::OperatorFamily(family) => self.operator_family(object, family),
            Body::OperatorClass(class) => one(self.operator_class(object, class)),
            Body::Cast(cast) => one(self.cast(object, cast)),
            Body::Transform(transform) => one(self.transform(object, transform)),
            Body::Conversion(conversion) => one(format!(
                "create {}conversion {} for {} to {} from {}",
                if conversion.is_default { "default " } else { "" },
                name(),
                quote_literal(&conversion.from_encoding),
                quote_literal(&conversion.to_encoding),
                conversion.function
            )),
            Body::TextSearchParser(parser) => one(self.parser(object, parser)),
            Body::TextSearchTemplate(template) => one(self.template(object, template)),
            Body::TextSearchDictionary(dictionary) => one(self.dictionary(object, dictionary)),
            Body::TextSearchConfiguration(configuration) => {
                self.configuration(object, configuration)
            }
            Body::ForeignDataWrapper(wrapper) => one(self.wrapper(object, wrapper)),
            Body::Server(server) => one(self.server(object, server)),
            Body::UserMapping(user) => one(self.user_mapping(object, user)),
            Body::Sequence(sequence) => {
                let mut statements = one(self.sequence(object, sequence));
                statements.extend(self.persistence(object, sequence));
                statements
            }
            Body::Table(table) => self.table(object, table),
            Body::View(view) => self.view(object, view),
            Body::Index(index) => self.index(object, index).into_iter().collect(),
            Body::Default(default) => one(format!(
                "alter {} {}{} alter column {} set default {}",
                self.table_words(object),
                self.only(object),
                self.side.parent_name(object),
                self.column_of_part(object, default.attnum),
                default.expression
            )),
            Body::Constraint(_) if self.inline.contains(&object.id) => Vec::new(),
            Body::Constraint(constraint) => one(self.constraint(object, constraint)),
            Body::Statistics(statistics) => {
                let mut statements =
                    one(format!("create statistics {}{}", name(), statistics.definition));
                statements.extend(
                    statistics.target.filter(|_| self.target.statistics_targets).map(|target| {
                        format!("alter statistics {} set statistics {target}", name())
                    }),
                );
                statements
            }
            Body::Rule(rule) => {
                let mut statements = one(rule.definition.trim_end_matches(';').to_owned());
                statements.extend(self.firing(object, "rule", rule.enabled, 'O'));
                statements
            }
            Body::Trigger(trigger) => self.trigger(object, trigger),
            Body::Policy(policy) => one(self.policy(object, policy)),
            Body::DefaultPrivileges(_) => Vec::new(),
            Body::EventTrigger(trigger) => self.event_trigger(object, trigger),
        }
    }

    /// A stand-in with the object's name, for what the object itself needs; it is made in full later.
    pub(super) fn placeholder(&self, object: &Object) -> Option<String> {
        let name = self.side.qualified(object);
        match &object.body {
            Body::BaseType(kind) if !kind.shell => Some(format!("create type {name}")),
            Body::Range(_) => Some(format!("create type {name}")),
            Body::View(view) if !view.materialized => {
                let columns: Vec<String> = view
                    .columns
                    .iter()
                    .map(|column| {
                        let collation = column.collation.as_ref();
                        let collation =
                            collation.map_or_else(String::new, |c| format!(" collate {c}"));
                        let column_name = self.side.column(object, &column.name);
                        format!("null::{}{collation} as {column_name}", column.data_type)
                    })
                    .collect();
                Some(format!("create view {name} as select {}", columns.join(", ")))
            }
            _ => None,
        }
    }

    fn collation(&self, object: &Object, collation: &Collation) -> String {
        let mut options = Vec::new();
        let provider = match collation.provider {
            'i' => "icu",
            'b' => "builtin",
            'd' => "default",
            _ => "libc",
        };
        options.push(format!("provider = {provider}"));
        if !collation.deterministic {
            options.push("deterministic = false".to_owned());
        }
        let text = |name: &str, value: &Option<String>| {
            value.as_deref().map(|value| format!("{name} = {}", quote_literal(value)))
        };
        match collation.provider {
            'i' | 'b' => {
                let locale = collation.locale.clone().or_else(|| collation.collate.clone());
                options.extend(text("locale", &locale));
                options.extend(text("rules", &collation.rules));
            }
            _ if collation.collate == collation.ctype => {
                options.extend(text("locale", &collation.collate));
            }
            _ => {
                options.extend(text("lc_collate", &collation.collate));
                options.extend(text("lc_ctype", &collation.ctype));
            }
        }
        format!("create collation {} ({})", self.side.qualified(object), options.join(", "))
    }

    fn sequence(&self, object: &Object, sequence: &Sequence) -> String {
        let options = sequence_options(sequence);
        let name = self.side.qualified(object);
        if let Some((table, column)) = self.owning_column(sequence) {
            if let Some(identity) = sequence.identity {
                let kind = identity_words(identity);
                let (table, column) = (self.side.qualified(table), column);
                return format!(
                    "alter table {table} alter column {column} add generated {kind} as identity \
                     (sequence name {name} {options})"
                );
            }
            let table = self.side.qualified(table);
            return format!(
                "create {}sequence {name} as {} {options} owned by {table}.{column}",
                self.unlogged_sequence(sequence),
                sequence.data_type
            );
        }
        format!(
            "create {}sequence {name} as {} {options}",
            self.unlogged_sequence(sequence),
            sequence.data_type
        )
    }

    /// An identity's sequence is made as its table is, and may have become otherwise.
    fn persistence(&self, object: &Object, sequence: &Sequence) -> Option<String> {
        let known = self.target.unlogged_sequences && self.side.capabilities.unlogged_sequences;
        let (table, _) = self.owning_column(sequence)?;
        let Body::Table(table) = &table.body else { return None };
        let word = if sequence.unlogged { "unlogged" } else { "logged" };
        let differs = sequence.identity.is_some() && table.unlogged != sequence.unlogged;
        (known && differs)
            .then(|| format!("alter sequence {} set {word}", self.side.qualified(object)))
    }

    fn unlogged_sequence(&self, sequence: &Sequence) -> &'static str {
        if sequence.unlogged && self.target.unlogged_sequences { "unlogged " } else { "" }
    }

    /// The column a sequence goes with.
    pub(super) fn owning_column(&self, sequence: &Sequence) -> Option<(&Object, String)> {
        let table = self.side.relation(sequence.owner_table?)?;
        let column = self.side.column_by_number(table, sequence.owner_column?);
        Some((table, column))
    }

    /// The view; a view always by way of OR REPLACE, since a stand-in may be there.
    pub(super) fn view(&self, object: &Object, view: &View) -> Vec<String> {
        let name = self.side.qualified(object);
        let columns = view.columns.iter().map(|column| self.side.column(object, &column.name));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let query = view.definition.trim_end().trim_end_matches(';');
        let with = option_list(view.options.as_deref());
        if !view.materialized {
            // A view without columns has no list of them.
            let columns = if columns.is_empty() { columns } else { format!(" ({columns})") };
            return vec![format!(
                "create or replace view {name}{columns}{with} as{}",
                spaced(query)
            )];
        }
        let method = self.access_method(view.access_method.as_deref());
        let with = with_toast(view.options.as_deref(), view.toast_options.as_deref());
        let columns = if columns.is_empty() { columns } else { format!(" ({columns})") };
        let mut statements = vec![format!(
            "create materialized view {name}{columns}{method}{with} as{} with no data",
            spaced(query)
        )];
        statements.extend(self.column_settings(object, &view.columns));
        statements
    }

    pub(super) fn access_method(&self, method: Option<&str>) -> String {
        match method {
            Some(method) if method != "heap" && self.target.table_access_methods => {
                format!(" using {}", quote_ident(method))
            }
            _ => String::new(),
        }
    }

    fn index(&self, object: &Object, index: &Index) -> Option<String> {
        if index.constraint.is_some() {
            return None;
        }
        let only = if index.partitioned { "only " } else { "" };
        let unique = if index.is_unique { "unique " } else { "" };
        Some(format!(
            "create {unique}index {} on {only}{} {}",
            quote_ident(&object.name),
            self.side.parent_name(object),
            index.definition
        ))
    }

    /// Whether the domain's or the table's own statement holds the check.
    pub(super) fn is_inline(&self, object: &Object) -> bool {
        self.inline.contains(&object.id)
    }

    fn constraint(&self, object: &Object, constraint: &Constraint) -> String {
        let parent = self.side.parent_name(object);
        let name = quote_ident(&object.name);
        if object.parent.is_some_and(|parent| parent.class == Class::Type) {
            return format!(
                "alter domain {parent} add constraint {name} {}",
                constraint.definition
            );
        }
        // A check comes down to children, which then count it as inherited; a key of a partitioned
        // table is put together from those of its partitions.
        let only = if matches!(constraint.variety, 'p' | 'u' | 'x') { "only " } else { "" };
        let words = self.table_words(object);
        let definition = self.with_index_options(object, constraint);
        format!("alter {words} {only}{parent} add constraint {name} {definition}")
    }

    /// The index's storage parameters go between the columns and DEFERRABLE.
    fn with_index_options(&self, object: &Object, constraint: &Constraint) -> String {
        let definition = &constraint.definition;
        let index = self.index_of(object);
        let options = index.and_then(|index| index.options.as_deref());
        let Some(options) = options.filter(|_| matches!(constraint.variety, 'p' | 'u')) else {
            return definition.clone();
        };
        let tail = match (constraint.deferrable, constraint.deferred) {
            (true, true) => " DEFERRABLE INITIALLY DEFERRED",
            (true, false) => " DEFERRABLE",
            _ => "",
        };
        let head = definition.strip_suffix(tail).unwrap_or(definition);
        format!("{head}{}{tail}", option_list(Some(options)))
    }

    fn index_of(&self, constraint: &Object) -> Option<&Index> {
        self.side.parts(constraint.parent?).find_map(|part| match &part.body {
            Body::Index(index) if index.constraint == Some(constraint.id.oid) => Some(index),
            _ => None,
        })
    }

    /// ALTER TABLE or ALTER FOREIGN TABLE, for the table the object is a part of.
    pub(super) fn table_words(&self, part: &Object) -> &'static str {
        match self.side.parent(part).map(|parent| &parent.body) {
            Some(Body::Table(table)) if table.variety == 'f' => "foreign table",
            Some(Body::View(_)) => "view",
            _ => "table",
        }
    }

    /// Defaults of a parent are not those of its children.
    fn only(&self, part: &Object) -> &'static str {
        let parent = self.side.parent(part);
        if parent.is_some_and(|parent| matches!(parent.body, Body::View(_))) { "" } else { "only " }
    }

    fn column_of_part(&self, part: &Object, attnum: i16) -> String {
        let parent = self.side.parent(part);
        parent.map_or_else(String::new, |table| self.side.column_by_number(table, attnum))
    }
}

pub(super) fn sequence_options(sequence: &Sequence) -> String {
    format!(
        "start with {} increment by {} minvalue {} maxvalue {} cache {}{}",
        sequence.start,
        sequence.increment,
        sequence.minimum,
        sequence.maximum,
        sequence.cache,
        if sequence.cycle { " cycle" } else { " no cycle" }
    )
}

pub(super) fn identity_words(identity: char) -> &'static str {
    if identity == 'a' { "always" } else { "by default" }
}

fn spaced(query: &str) -> String {
    if query.starts_with(char::is_whitespace) { query.to_owned() } else { format!(" {query}") }
}

/// `name=value` taken apart.
pub(super) fn split_option(option: &str) -> (&str, &str) {
    option.split_once('=').unwrap_or((option, ""))
}

/// Storage parameters in parentheses, without WITH.
pub(super) fn option_items(options: &[String], prefix: &str) -> Vec<String> {
    let item = |option: &String| {
        let (name, value) = split_option(option);
        format!("{prefix}{} = {}", quote_ident(name), quote_literal(value))
    };
    options.iter().map(item).collect()
}

pub(super) fn option_list(options: Option<&[String]>) -> String {
    with_toast(options, None)
}

pub(super) fn with_toast(options: Option<&[String]>, toast: Option<&[String]>) -> String {
    let mut items = option_items(options.unwrap_or_default(), "");
    items.extend(option_items(toast.unwrap_or_default(), "toast."));
    if items.is_empty() { String::new() } else { format!(" with ({})", items.join(", ")) }
}
