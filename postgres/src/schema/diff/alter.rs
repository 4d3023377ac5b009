//! How an object becomes its newer self, where both are there.

mod data_type;
mod table;

use std::collections::BTreeSet;

use super::create::{firing_words, option_changes, sequence_options};
use super::side::Side;
use super::steps::Planner;
use crate::quote::{quote_ident, quote_literal};
use crate::schema::snapshot::object::Extension;
use crate::schema::snapshot::relation::{Constraint, Index, Sequence, Statistics, View};
use crate::schema::snapshot::routine::Routine;
use crate::schema::snapshot::{Body, Object};

/// What it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Nothing.
    Same,
    /// These statements.
    Change(Vec<String>),
    /// It is dropped and made again, with what needs it.
    Remake,
    /// There is no way.
    Unsupported(String),
}

impl Outcome {
    fn of(statements: Vec<String>) -> Outcome {
        if statements.is_empty() { Outcome::Same } else { Outcome::Change(statements) }
    }
}

impl Planner<'_> {
    /// Names, schemas, owners, privileges and comments aside.
    pub(super) fn alter(&mut self, old: &Object, new: &Object) -> Outcome {
        let remake_unless = |same: bool| if same { Outcome::Same } else { Outcome::Remake };
        let same = |a: &str, b: &str| self.texts.same(a, b);
        let name = self.to.identity(new);
        let options = |kind: &str, a: &Option<Vec<String>>, b: &Option<Vec<String>>| {
            let changes = option_changes(a.as_deref(), b.as_deref());
            changes.map(|changes| format!("alter {kind} {name} {changes}"))
        };
        match (&old.body, &new.body) {
            (Body::Schema(_), Body::Schema(_)) => Outcome::Same,
            (Body::Extension(a), Body::Extension(b)) => self.alter_extension(a, b, new),
            (Body::Enum(a), Body::Enum(b)) => self.alter_enum(a, b, new),
            (Body::Composite(a), Body::Composite(b)) => self.alter_composite(a, b, new),
            (Body::Domain(a), Body::Domain(b)) => self.alter_domain(a, b, new),
            (Body::Range(a), Body::Range(b)) => {
                let mut b = b.clone();
                if a.multirange.is_none() {
                    b.multirange = None;
                }
                let mut a = a.clone();
                if b.multirange.is_none() {
                    a.multirange = None;
                }
                remake_unless(self.same_debug(&a, &b))
            }
            (Body::Routine(a), Body::Routine(b)) => self.alter_routine(a, b),
            (Body::Table(a), Body::Table(b)) => self.alter_table(a, new, b),
            (Body::View(a), Body::View(b)) => self.alter_view(a, new, b),
            (Body::Sequence(a), Body::Sequence(b)) => self.alter_sequence(a, new, b),
            (Body::Index(a), Body::Index(b)) => self.alter_index(a, b),
            (Body::Constraint(a), Body::Constraint(b)) => self.alter_constraint(a, b, new),
            (Body::Default(a), Body::Default(b)) => {
                if same(&a.expression, &b.expression) {
                    Outcome::Same
                } else {
                    Outcome::Change(self.maker.create(new))
                }
            }
            (Body::Statistics(a), Body::Statistics(b)) => self.alter_statistics(a, b, &name),
            (Body::Trigger(a), Body::Trigger(b)) => {
                if a.copy_of.is_none() && !same(&a.definition, &b.definition) {
                    return Outcome::Remake;
                }
                let firing = (a.enabled != b.enabled)
                    .then(|| self.maker.firing(new, "trigger", b.enabled, a.enabled));
                Outcome::of(firing.flatten().into_iter().collect())
            }
            (Body::Rule(a), Body::Rule(b)) => {
                if !same(&a.definition, &b.definition) {
                    return Outcome::Remake;
                }
                let firing = (a.enabled != b.enabled)
                    .then(|| self.maker.firing(new, "rule", b.enabled, a.enabled));
                Outcome::of(firing.flatten().into_iter().collect())
            }
            (Body::Policy(a), Body::Policy(b)) => remake_unless(
                (a.permissive, a.command) == (b.permissive, b.command)
                    && self.same_roles(&a.roles, &b.roles)
                    && self
                        .texts
                        .same_option(a.using_expression.as_deref(), b.using_expression.as_deref())
                    && self
                        .texts
                        .same_option(a.check_expression.as_deref(), b.check_expression.as_deref()),
            ),
            (Body::EventTrigger(_), Body::EventTrigger(_)) if !self.options.event_triggers => {
                Outcome::Same
            }
            (Body::EventTrigger(a), Body::EventTrigger(b)) => {
                if (&a.event, &a.tags, &a.function) != (&b.event, &b.tags, &b.function) {
                    return Outcome::Remake;
                }
                let words = firing_words(b.enabled);
                let firing =
                    (a.enabled != b.enabled).then(|| format!("alter event trigger {name} {words}"));
                Outcome::of(firing.into_iter().collect())
            }
            (Body::ForeignDataWrapper(a), Body::ForeignDataWrapper(b)) => {
                let function = |word: &str, a: &Option<String>, b: &Option<String>| {
                    (a != b).then(|| match b {
                        Some(function) => {
                            format!("alter foreign data wrapper {name} {word} {function}")
                        }
                        None => format!("alter foreign data wrapper {name} no {word}"),
                    })
                };
                let changes = [
                    function("handler", &a.handler, &b.handler),
                    function("validator", &a.validator, &b.validator),
                    options("foreign data wrapper", &a.options, &b.options),
                ];
                Outcome::of(changes.into_iter().flatten().collect())
            }
            (Body::Server(a), Body::Server(b)) => {
                if (&a.wrapper, &a.server_type) != (&b.wrapper, &b.server_type) {
                    return Outcome::Remake;
                }
                let version = (a.version != b.version).then(|| {
                    let version = b.version.as_deref().map_or("null".to_owned(), quote_literal);
                    format!("alter server {name} version {version}")
                });
                let changes = [version, options("server", &a.options, &b.options)];
                Outcome::of(changes.into_iter().flatten().collect())
            }
            (Body::UserMapping(a), Body::UserMapping(b)) => {
                Outcome::of(options("user mapping", &a.options, &b.options).into_iter().collect())
            }
            // What is left of them is privileges.
            (Body::DefaultPrivileges(_), Body::DefaultPrivileges(_)) => Outcome::Same,
            (Body::Collation(a), Body::Collation(b)) => {
                let locale = |c: &crate::schema::snapshot::object::Collation| {
                    c.locale.clone().or_else(|| c.collate.clone())
                };
                remake_unless(
                    (a.provider, a.deterministic, locale(a), &a.rules)
                        == (b.provider, b.deterministic, locale(b), &b.rules)
                        && (a.provider != 'c' || a.ctype == b.ctype),
                )
            }
            (Body::OperatorFamily(_), Body::OperatorFamily(_)) if self.texts.loose => {
                remake_unless(family_members(self.from, old) == family_members(self.to, new))
            }
            // Majors differ in whether a member belongs to the class or to the family.
            (Body::OperatorClass(a), Body::OperatorClass(b)) if self.texts.loose => remake_unless(
                (&a.family, &a.data_type, a.is_default, &a.storage)
                    == (&b.family, &b.data_type, b.is_default, &b.storage),
            ),
            (a, b) => remake_unless(a == b || same(&format!("{a:?}"), &format!("{b:?}"))),
        }
    }

    /// Whether two values print the same, renames aside.
    fn same_debug<T: std::fmt::Debug>(&self, a: &T, b: &T) -> bool {
        self.texts.same(&format!("{a:?}"), &format!("{b:?}"))
    }

    fn same_roles(&self, a: &[Option<String>], b: &[Option<String>]) -> bool {
        let known = |role: &&Option<String>| role.as_deref().is_none_or(|r| !self.is_missing(r));
        let sorted = |roles: &[Option<String>]| {
            let mut roles: Vec<Option<String>> = roles.iter().filter(known).cloned().collect();
            roles.sort();
            roles
        };
        sorted(a) == sorted(b)
    }

    fn alter_extension(&mut self, a: &Extension, b: &Extension, new: &Object) -> Outcome {
        let mut statements = Vec::new();
        let name = quote_ident(&new.name);
        if !self.texts.same(&a.target_schema, &b.target_schema) {
            let schema = quote_ident(&b.target_schema);
            statements.push(format!("alter extension {name} set schema {schema}"));
        }
        if a.version != b.version {
            if self.options.matching == super::Matching::Oid {
                let version = quote_literal(&b.version);
                statements.push(format!("alter extension {name} update to {version}"));
            } else {
                self.note(new, format!("version {} here, {} at the source", a.version, b.version));
            }
        }
        Outcome::of(statements)
    }

    fn alter_routine(&self, a: &Routine, b: &Routine) -> Outcome {
        let same = |a: &str, b: &str| self.texts.same(a, b);
        let declared = a.routine == b.routine
            && same(&a.arguments, &b.arguments)
            && same(a.result.as_deref().unwrap_or(""), b.result.as_deref().unwrap_or(""));
        if !declared {
            return Outcome::Remake;
        }
        if same(&a.definition, &b.definition) {
            return Outcome::Same;
        }
        Outcome::Change(vec![b.definition.trim_end().to_owned()])
    }

    fn alter_view(&self, a: &View, new: &Object, b: &View) -> Outcome {
        let column = |column: &crate::schema::snapshot::relation::Column| {
            (column.attnum, column.data_type.clone(), column.collation.clone())
        };
        let by_number = self.options.matching == super::Matching::Oid;
        let fits = b.columns.len() >= a.columns.len()
            && a.columns.iter().zip(&b.columns).all(|(a, b)| {
                self.same_debug(&column(a), &column(b)) && (by_number || a.name == b.name)
            });
        let query = self.texts.same(&a.definition, &b.definition);
        let as_before = query && fits && a.columns.len() == b.columns.len();
        if b.materialized {
            return self.alter_materialized(as_before, a, new, b);
        }
        if !fits {
            return Outcome::Remake;
        }
        if as_before && a.options == b.options {
            return Outcome::Same;
        }
        // OR REPLACE takes all options anew.
        Outcome::Change(self.maker.view(new, b))
    }

    fn alter_materialized(&self, as_before: bool, a: &View, new: &Object, b: &View) -> Outcome {
        if !as_before || a.access_method != b.access_method {
            return Outcome::Remake;
        }
        let name = self.to.qualified(new);
        let mut statements = Vec::new();
        let parameters = [
            ("", a.options.as_deref(), b.options.as_deref()),
            ("toast.", a.toast_options.as_deref(), b.toast_options.as_deref()),
        ];
        for (prefix, a, b) in parameters {
            let actions = table::parameter_changes(prefix, a, b);
            statements.extend(
                actions
                    .into_iter()
                    .map(|action| format!("alter materialized view {name} {action}")),
            );
        }
        Outcome::of(statements)
    }

    fn alter_sequence(&self, a: &Sequence, new: &Object, b: &Sequence) -> Outcome {
        let name = self.to.qualified(new);
        let owner = |side: &super::side::Side<'_>, sequence: &Sequence| {
            let table = side.relation(sequence.owner_table?)?;
            Some((table.id, side.column_by_number(table, sequence.owner_column?)))
        };
        let (old_owner, new_owner) = (owner(self.from, a), owner(self.to, b));
        let moved = match (&old_owner, &new_owner) {
            (Some((old_table, old_column)), Some((new_table, new_column))) => {
                self.pairs.to.get(old_table) != Some(new_table)
                    || !self.texts.same(old_column, new_column)
            }
            (None, None) => false,
            _ => true,
        };
        if a.identity.is_some() != b.identity.is_some() || (moved && b.identity.is_some()) {
            // A default goes before its sequence is the column's identity, and the other way.
            return Outcome::Remake;
        }
        let mut statements = Vec::new();
        let options = |s: &Sequence| (sequence_options(s), s.data_type.clone());
        if options(a) != options(b) {
            // START is what a restart begins with; the value goes on.
            statements.push(format!(
                "alter sequence {name} as {} {}",
                b.data_type,
                sequence_options(b)
            ));
        }
        let known =
            self.from.capabilities.unlogged_sequences && self.to.capabilities.unlogged_sequences;
        if known && a.unlogged != b.unlogged {
            let word = if b.unlogged { "unlogged" } else { "logged" };
            statements.push(format!("alter sequence {name} set {word}"));
        }
        if let (Some(a), Some(b), Some((table, column))) =
            (a.identity, b.identity, self.maker.owning_column(b))
            && a != b
        {
            let words = super::create::identity_words(b);
            let table = self.to.qualified(table);
            statements
                .push(format!("alter table {table} alter column {column} set generated {words}"));
        }
        if moved {
            let target = match self.maker.owning_column(b) {
                Some((table, column)) => format!("{}.{column}", self.to.qualified(table)),
                None => "none".to_owned(),
            };
            statements.push(format!("alter sequence {name} owned by {target}"));
        }
        Outcome::of(statements)
    }

    fn alter_index(&self, a: &Index, b: &Index) -> Outcome {
        if b.constraint.is_some() && a.constraint.is_some() {
            return Outcome::Same;
        }
        let attached = match (a.attached_to, b.attached_to) {
            (Some(a), Some(b)) => {
                let id = |oid| crate::schema::snapshot::ObjectId {
                    class: crate::schema::snapshot::Class::Relation,
                    oid,
                };
                self.pairs.to.get(&id(a)) == Some(&id(b))
            }
            // It became independent with its table, or becomes a part later.
            (Some(_), None) | (None, _) => true,
        };
        let same = a.is_unique == b.is_unique
            && a.constraint.is_some() == b.constraint.is_some()
            && attached
            && (a.valid || !b.valid)
            && self.texts.same(&a.definition, &b.definition);
        if same { Outcome::Same } else { Outcome::Remake }
    }

    fn alter_constraint(&self, a: &Constraint, b: &Constraint, new: &Object) -> Outcome {
        let name = quote_ident(&new.name);
        let parent = self.to.parent_name(new);
        let domain =
            new.parent.is_some_and(|parent| parent.class == crate::schema::snapshot::Class::Type);
        let words = if domain { "domain" } else { "table" };
        if self.texts.same(&a.definition, &b.definition) {
            return Outcome::Same;
        }
        if !b.local && b.inherited {
            // It changes with the one above.
            return Outcome::Same;
        }
        let checked = a.definition.trim_end_matches(" NOT VALID");
        if b.validated && !a.validated && self.texts.same(checked, &b.definition) {
            return Outcome::Change(vec![format!(
                "alter {words} {parent} validate constraint {name}"
            )]);
        }
        let bare = |constraint: &Constraint| {
            constraint.definition.replace(" DEFERRABLE", "").replace(" INITIALLY DEFERRED", "")
        };
        if b.variety == 'f' && a.validated == b.validated && self.texts.same(&bare(a), &bare(b)) {
            let deferrable = match (b.deferrable, b.deferred) {
                (true, true) => "deferrable initially deferred",
                (true, false) => "deferrable initially immediate",
                _ => "not deferrable",
            };
            return Outcome::Change(vec![format!(
                "alter table {parent} alter constraint {name} {deferrable}"
            )]);
        }
        Outcome::Remake
    }

    fn alter_statistics(&self, a: &Statistics, b: &Statistics, name: &str) -> Outcome {
        if !self.texts.same(&a.definition, &b.definition) {
            return Outcome::Remake;
        }
        let known =
            self.from.capabilities.statistics_targets && self.to.capabilities.statistics_targets;
        let target = (known && a.target != b.target)
            .then(|| format!("alter statistics {name} set statistics {}", b.target.unwrap_or(-1)));
        Outcome::of(target.into_iter().collect())
    }
}

/// All members of a family, those of its classes included.
fn family_members(side: &Side<'_>, family: &Object) -> BTreeSet<String> {
    let holders = side.objects().iter().filter_map(|object| match &object.body {
        Body::OperatorFamily(holder) if object.id == family.id => Some(&holder.members),
        Body::OperatorClass(holder) => {
            object.needs.iter().any(|need| need.id == family.id).then_some(&holder.members)
        }
        _ => None,
    });
    holders.flatten().cloned().collect()
}
